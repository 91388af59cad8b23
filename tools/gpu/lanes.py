"""Where the time of windows went: how long each lane was at work, of the windows' whole time."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from moespac_nb.engine.devices import HOST_THREAD, LANES, Operation

Spans = Sequence[tuple[float, float]]


def busy_s(timeline: Iterable[Operation], windows_s: Spans) -> dict[str, float]:
    """Seconds at work by lane, and `window` for all of the time; lanes work side by side, so they overlap."""
    seconds = dict.fromkeys((*LANES, HOST_THREAD), 0.0)
    for each in timeline:
        seconds[each.lane] += sum(
            max(0.0, min(each.end, end) - max(each.start, begin)) for begin, end in windows_s
        )
    return {"window": window_s(windows_s), **seconds}


def window_s(windows_s: Spans) -> float:
    return sum(end - begin for begin, end in windows_s)


def in_ms(seconds: dict[str, float], windows: int) -> dict[str, float]:
    """Milliseconds a window, by columns' names."""
    return {f"{lane}_ms": 1e3 * each / windows for lane, each in seconds.items()}
