"""What a replay comes to: throughput, hits, bytes and where the time went."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from ..engine.devices import Device, Operation
from ..engine.placement import Counters
from ..engine.scheduler import TimeBreakdown
from ..utils.exceptions import InvalidInputError
from ..utils.files import frame, write_csv

__all__ = ["Result", "to_csv", "to_frame"]


@dataclass(frozen=True)
class Result:
    """What one replay came to. Rates and times are of decoding alone, where nothing else is said."""

    policy: str
    tps_modelled: float  # tokens a second
    tokens: int
    windows: int
    hit_rate: float  # of the experts that events asked for, those whose copy had come
    late_rate: float  # those whose copy was under way
    bytes_per_token: float  # copied
    wasted_bytes: int  # of them, those that were evicted without use
    stall_share: float  # of the time, how much was spent waiting for copies alone
    cpu_share: float  # of all pairs of position and expert, those that the CPU lane served
    policy_ms_per_step: float
    ttft_s: float  # from the start of a text to its first window's tokens, mean over texts
    prefill_s: float  # reading a prompt, mean over texts
    budget: str
    budget_bytes: int
    slots: int
    accounting: str
    fits: bool  # the machine holds it all; False is flagged, and not ranked
    machine: str | None
    model: str | None
    notes: tuple[str, ...]  # what stands for what, and what the trace says of itself
    shared_bus: bool  # copies and the CPU lane share the host's bandwidth
    gamma: int | None  # None: as recorded
    cold: bool  # slots and policy start anew in each text
    label: str  # what the figures are: modelled
    prefill_bytes: int  # copied while prompts were read
    counters: Counters
    parts: TimeBreakdown
    windows_s: tuple[tuple[float, float], ...] = field(repr=False)  # when each opened, and was learned from
    device: Device = field(repr=False, compare=False)

    @property
    def timeline(self) -> list[Operation]:
        """All operations that ran, by start."""
        return self.device.timeline()

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the timeline as plain values."""
        left_out = ("device", "windows_s")
        plain = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in left_out}
        nested = {"counters": asdict(self.counters), "parts": asdict(self.parts)}
        return plain | nested | {"notes": list(self.notes)}

    def row(self) -> dict[str, Any]:
        """Return the same in one level, for a table."""
        nested = self.to_dict()
        flat = {**nested.pop("counters"), **nested.pop("parts")}
        return {**flat, **nested, "notes": "; ".join(self.notes)}


def to_frame(results: Iterable[Result]) -> Any:
    """Return a pandas DataFrame, one row a result."""
    return frame([result.row() for result in results])


def to_csv(results: Iterable[Result], path: str | Path) -> None:
    """Write the rows of `to_frame` as CSV, with a header line.

    Raises
    ------
    MoespacError
        There is no result to write.
    """
    rows = [result.row() for result in results]
    if not rows:
        raise InvalidInputError("there is no result to write; expected: at least one")
    write_csv(path, rows[0], (list(row.values()) for row in rows))
