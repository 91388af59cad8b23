"""What a replay comes to: throughput, hits, bytes and where the time went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..engine.devices import Device, Operation
from ..engine.placement import Counters
from ..engine.time_breakdown import TimeBreakdown
from ..utils.exceptions import InvalidInputError
from ..utils.files import frame, write_csv

__all__ = ["Result", "to_csv", "to_frame"]


@dataclass(frozen=True)
class Result:
    """Figures of one replay. Rates and times are of decoding alone, where nothing else is said.

    Attributes
    ----------
    policy : str
        Its name.
    tps_modelled : float
        Tokens a second, of the trace's layers.
    tps_whole_model : float, optional
        Roughly those of all the model's layers, see `whole_model_factors`; None where costs were given.
    tokens, windows : int
        Committed tokens, and verified windows.
    hit_rate, late_rate : float
        Share of the requested experts whose copy had completed, or was under way.
    bytes_per_token : float
        Bytes copied.
    wasted_bytes : int
        Bytes of copies that were evicted without use.
    stall_share : float
        Share of the time in which all waited for copies.
    cpu_share : float
        Share of all pairs of a position and an expert that the CPU lane served.
    policy_ms_per_step : float
        Milliseconds that the policy planned, a window.
    ttft_s : float
        Seconds from the start of a text to its first window's tokens, mean over texts.
    prefill_s : float
        Seconds of reading a prompt, mean over texts.
    budget, accounting : str
        As given.
    budget_bytes, slots : int
        What they come to.
    fits : bool
        Whether the machine holds it all; False is flagged, and not ranked.
    machine, model : str, optional
        Their names; None where costs were given.
    notes : tuple of str
        What of the model is scaled to the trace's shape, or stands for what.
    shared_bus : bool
        Whether copies and the CPU lane shared the bandwidth of the host's memory.
    gamma : int, optional
        The draft length; None as recorded.
    cold : bool
        Whether slots and policy started anew in each text.
    label : str
        What the figures are: "modelled".
    prefill_bytes : int
        Bytes copied while prompts were read.
    counters : Counters
        All counts.
    parts : TimeBreakdown
        Where the time went.
    windows_s : tuple of (float, float)
        Start and end of each window, in seconds on the timeline's clock.
    device : Device
        Has the timeline.

    Examples
    --------
    >>> from moespac_nb import load_trace, replay
    >>> result = replay(load_trace("chat", half="report"), "recency", "17%")
    >>> result.policy, result.label, result.fits
    ('recency', 'modelled', True)
    >>> result.tps_modelled > 0, 0 < result.hit_rate < 1
    (True, True)
    """

    policy: str
    tps_modelled: float
    tps_whole_model: float | None
    tokens: int
    windows: int
    hit_rate: float
    late_rate: float
    bytes_per_token: float
    wasted_bytes: int
    stall_share: float
    cpu_share: float
    policy_ms_per_step: float
    ttft_s: float
    prefill_s: float
    budget: str
    budget_bytes: int
    slots: int
    accounting: str
    fits: bool
    machine: str | None
    model: str | None
    notes: tuple[str, ...]
    shared_bus: bool
    gamma: int | None
    cold: bool
    label: str
    prefill_bytes: int
    counters: Counters
    parts: TimeBreakdown
    windows_s: tuple[tuple[float, float], ...] = field(repr=False)
    device: Device = field(repr=False, compare=False)

    @property
    def timeline(self) -> list[Operation]:
        """All operations that ran, by start."""
        return self.device.timeline()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the timeline as plain values."""
        plain = {name: value for name, value in vars(self).items() if name not in ("device", "windows_s")}
        nested = {"counters": asdict(self.counters), "parts": asdict(self.parts)}
        return plain | nested | {"notes": list(self.notes)}

    def row(self) -> dict[str, Any]:
        """Return the same in one level, for a table."""
        nested = self.to_dict()
        flat = {**nested.pop("counters"), **nested.pop("parts")}
        return {**flat, **nested, "notes": "; ".join(self.notes)}


def to_frame(results: Iterable[Result]) -> Any:
    """Make a table of results.

    Parameters
    ----------
    results : iterable of Result
        One row each.

    Returns
    -------
    pandas.DataFrame
    """
    return frame([result.row() for result in results])


def to_csv(results: Iterable[Result], path: str | Path) -> None:
    """Write the rows of `to_frame` as CSV, with a header line.

    Parameters
    ----------
    results : iterable of Result
        One row each.
    path : str or Path
        The file.

    Raises
    ------
    InvalidInputError
        There is no result to write.
    """
    rows = [result.row() for result in results]
    if not rows:
        raise InvalidInputError("there is no result to write; expected: at least one")
    write_csv(path, rows[0], (list(row.values()) for row in rows))
