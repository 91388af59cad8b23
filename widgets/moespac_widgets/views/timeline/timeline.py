"""Timeline: what ran on each lane and when, policy against policy on one clock; what was waited for."""

from __future__ import annotations

import json
from bisect import bisect_left
from collections.abc import Sequence
from itertools import chain
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from moespac_nb.engine import devices
from moespac_nb.engine.chrome_trace import chrome_trace
from moespac_nb.engine.devices import Operation
from moespac_nb.simulation.result import Result
from moespac_nb.utils.exceptions import InvalidInputError
from moespac_nb.utils.files import atomic_write

from ...base.assets import Words
from ...base.live_view import LiveView, view_trait
from ...base.serialize import pack
from ..replays import Played, names, played, scaled
from ..trace_rounds import SENT_BYTES

if TYPE_CHECKING:
    from moespac_nb.offloading.session import Run

__all__ = ["Timeline", "waits"]

LANES = (*devices.LANES, devices.HOST_THREAD)  # rows of each result, from the top
MOST = 4
BYTES_AN_OPERATION = 11
TICKS = 2**30  # times travel as whole ticks, so many in the longest result


class Timeline(LiveView):
    """Show what ran on each lane and when, for up to four runs on one clock.

    Zoom, pan and hover; step from window to window; save all of it for Perfetto.

    Parameters
    ----------
    *results : Result or Run
        One to four replays that were made with their timelines, or runs of `offload` as they stand now.
    first : int
        The window to begin with where the operations take more than `limit_bytes`; the widget says so.
    step : int, optional
        The window that is marked at first; None takes `first`.
    limit_bytes : int
        The most data to send.
    **view : int or str
        The part that is shown at first, in the names of `view_code`: start_us, span_us, align, row, op.

    Raises
    ------
    MoespacError
        If a result has no timeline, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.simulation.replay import replay
    >>> trace = load_trace("math")[:20]
    >>> view = Timeline(replay(trace, "recency", "25%"), replay(trace, "on-demand", "25%"))
    >>> view.step, view.align
    (0, 'start')
    """

    SCRIPT, TEXTS = "timeline.js", ("timeline", "lanes")

    step = view_trait(0)  # the window
    start_us = view_trait(0)  # the part shown, on the first result's clock
    span_us = view_trait(1)
    align = view_trait("start")
    row = view_trait(-1)  # the chosen operation's: result x lanes + lane
    op = view_trait(-1)  # and its place among that row's

    def __init__(
        self,
        *results: Result | Run,
        first: int = 0,
        step: int | None = None,
        limit_bytes: int = SENT_BYTES,
        **view: int | str,
    ) -> None:
        self._played = all_played = _checked(results, first)
        runs = [result.timeline for result in all_played]
        shown, notices = _shown(all_played, runs, first, limit_bytes)
        end_s = max(end for _, end, _ in shown)
        end_us = max(1, round(1e6 * end_s))
        longest = max(len(ops) for _, _, ops in shown)
        windows = max(result.windows for result in all_played)
        super().__init__(
            data=_packed(all_played, shown, end_s),
            limits={
                "step": (0, windows - 1),
                "start_us": (0, end_us),
                "span_us": (1, end_us),
                "align": ["start", "window"],
                "row": (-1, len(results) * len(LANES) - 1),
                "op": (-1, longest - 1),
            },
            notices=notices + scaled(all_played),
            **{
                "step": first if step is None else step,
                "start_us": min(end_us, int(1e6 * min(begin for begin, _, _ in shown))),
                "span_us": end_us,
                "align": "start",
                **view,
            },
        )

    def to_perfetto(self, path: str | Path) -> Path:
        """Write all results as one Chrome trace, a process for each; Perfetto and chrome://tracing open it.

        Parameters
        ----------
        path : str or Path
            The JSON file to write.

        Returns
        -------
        Path
            The same path.
        """
        events: list[dict[str, Any]] = []
        for number, (result, name) in enumerate(zip(self._played, names(self._played), strict=True), 1):
            trace = chrome_trace(result.timeline, f"{result.label}: {name}")
            events += [{**event, "pid": number} for event in trace["traceEvents"]]
        with atomic_write(Path(path), "the timeline") as file:
            file.write(json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}).encode())
        return Path(path)


def _checked(results: Sequence[Any], first: int) -> list[Played]:
    if not 1 <= len(results) <= MOST:
        raise InvalidInputError(f"there are {len(results)} results; expected: one to {MOST}")
    all_played = [played(result) for result in results]
    for result in all_played:
        if not result.timeline:
            raise InvalidInputError(
                f"the result of {result.policy!r} has no timeline; expected: one of replay(…, timeline=True)"
            )
    fewest = min(result.windows for result in all_played)
    if not 0 <= first < fewest:
        raise InvalidInputError(f"first is {first!r}; expected: 0 to {fewest - 1}, a window of every result")
    return all_played


Shown = tuple[float, float, list[Operation]]  # from, to, what began in between


def _shown(
    results: Sequence[Played], runs: Sequence[list[Operation]], first: int, limit_bytes: int
) -> tuple[list[Shown], list[Words]]:
    """All operations, or those of as many windows as fit, from the first on."""
    most = limit_bytes // BYTES_AN_OPERATION
    if not first and sum(map(len, runs)) <= most:
        # A run's clock goes from when it was made on: what comes before its first operation is nothing.
        return [(min(op.start for op in run), max(op.end for op in run), run) for run in runs], []

    def of(result: Played, run: list[Operation], windows: int) -> tuple[float, float, int, int]:
        """From, to, and which of its operations, by start, those are."""
        from_s = result.windows_s[first][0] if first else 0.0
        to_s = result.windows_s[min(first + windows, result.windows) - 1][1]
        began = attrgetter("start")
        return from_s, to_s, bisect_left(run, from_s, key=began), bisect_left(run, to_s, key=began)

    least, beyond = 1, max(result.windows for result in results) - first + 1
    while beyond - least > 1:  # the most windows that fit; one is always shown
        middle = (least + beyond) // 2
        parts = [of(result, run, middle) for result, run in zip(results, runs, strict=True)]
        fits = sum(end - begin for _, _, begin, end in parts) <= most
        least, beyond = (middle, beyond) if fits else (least, middle)
    parts = [of(result, run, least) for result, run in zip(results, runs, strict=True)]
    shown = [(from_s, to_s, run[a:b]) for (from_s, to_s, a, b), run in zip(parts, runs, strict=True)]
    windows = max(result.windows for result in results)
    following = min(first + least, windows)
    values = {"first": first, "last": following - 1, "windows": windows, "size": f"{limit_bytes / 1e6:g}"}
    notice = Words("notice.part", {**values, "next": min(following, windows - 1)})
    return shown, [notice] if first or first + least < windows else []


def _copied(op: Operation) -> int:
    """Return the bytes that a copy moved; the CPU lane's are read, and not shown."""
    return op.size_bytes if op.lane == "link" else 0


def kind(op: Operation) -> str:
    """Return what an operation is: the key of its colour, its pattern and its words."""
    if op.lane == "gpu":
        return "experts" if op.label.endswith(" gpu") else "dense"
    return {"link": "copy", "host": "plan"}.get(op.lane, op.lane)


def waits(operations: Sequence[Operation]) -> list[tuple[str, float, float]]:
    """Return the spans in which no lane computed ("copy"), or the CPU lane alone did ("cpu").

    Parameters
    ----------
    operations : sequence of Operation
        What ran, on all lanes.

    Returns
    -------
    list of (str, float, float)
        What was waited for, and the start and end of the span in seconds.

    Notes
    -----
    In a replay nothing computes only while a copy is waited for. In a live run the caller's thread computes
    the parts of the model that no lane is given, so that an idle lane there need not be waiting.
    """
    edges = sorted(
        edge
        for op in operations
        if op.lane != "link" and op.end > op.start
        for edge in ((op.start, 1, op.lane == "cpu"), (op.end, -1, op.lane == "cpu"))
    )
    spans: list[tuple[str, float, float]] = []
    cpu = others = 0
    since = edges[0][0] if edges else 0.0
    for at, change, is_cpu in edges:
        if at > since and not others:
            what = "cpu" if cpu else "copy"
            if spans and spans[-1][0] == what and spans[-1][2] == since:
                spans[-1] = (what, spans[-1][1], at)
            else:
                spans.append((what, since, at))
        cpu, others, since = cpu + change * is_cpu, others + change * (not is_cpu), at
    return spans


def _packed(results: Sequence[Played], shown: Sequence[Shown], end_s: float) -> dict[str, Any]:
    labels: dict[tuple[str, str], int] = {}
    sizes: dict[int, int] = {}
    tick_s = end_s / TICKS

    def ticks(seconds: Any) -> np.ndarray:
        return np.rint(np.asarray(seconds, float) / tick_s).astype(np.int64)

    def packed(result: Played, name: str, part: Shown) -> dict[str, Any]:
        run = part[2]
        lanes = [[op for op in run if op.lane == lane] for lane in LANES]
        ops = list(chain(*lanes))
        idle = waits(run)
        return {
            "name": name,
            "about": {
                **{
                    key: getattr(result, key) for key in ("label", "budget", "slots", "accounting", "machine")
                },
                **{key: getattr(result, key) for key in ("model", "live", "tps", "hit_rate")},
            },
            "lane_counts": [len(lane) for lane in lanes],
            "begin": pack(ticks([op.start for op in ops])),
            "length": pack(ticks([op.end - op.start for op in ops])),
            "what": pack(
                np.array([labels.setdefault((_said(op), kind(op)), len(labels)) for op in ops], int)
            ),
            "size": pack(np.array([sizes.setdefault(_copied(op), len(sizes)) for op in ops], int)),
            "windows": pack(np.clip(ticks(np.array(result.windows_s).ravel()), 0, 2**31 - 1)),
            "wait_begin": pack(ticks([wait[1] for wait in idle])),
            "wait_length": pack(ticks([wait[2] - wait[1] for wait in idle])),
            "wait_is_copy": pack(np.array([wait[0] == "copy" for wait in idle], bool)),
        }

    called = names(results)
    within = [_within(result, begin, end) for result, (begin, end, _) in zip(results, shown, strict=True)]
    parts = [packed(*part) for part in zip(results, called, shown, strict=True)]
    return {
        "results": {str(i): part for i, part in enumerate(parts)},
        "labels": [list(label) for label in labels],
        "sizes": list(sizes),
        "tick_s": tick_s,
        "lanes": list(LANES),
        "windows": [min(first for first, _ in within), max(last for _, last in within)],
        "from_s": min(begin for begin, _, _ in shown),
        "to_s": max(end for _, end, _ in shown),
    }


def _within(result: Played, from_s: float, to_s: float) -> tuple[int, int]:
    """Return the first and the last window that opens in this part."""
    opens = [opened for opened, _ in result.windows_s]
    return int(np.searchsorted(opens, from_s)), int(np.searchsorted(opens, to_s)) - 1


def _said(op: Operation) -> str:
    return f"{op.label or op.lane} (failed)" if op.failed else op.label or op.lane
