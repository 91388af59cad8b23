"""What the widgets of replays share: how much of a trace is replayed, and what is said of results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moespac_nb import MoespacError, Trace
from moespac_nb.replay import Result

from .front_end import Words

__all__ = ["beginning", "names", "scaled"]


def beginning(trace: Any, events: int) -> tuple[Trace, list[Words]]:
    """As much of a trace as a replay may take, pairs of step and layer, and the notice that says so."""
    if not isinstance(trace, Trace):
        raise MoespacError(f"trace is {type(trace).__name__} {str(trace)[:60]!r}; accepted: a Trace")
    if not len(trace) or not trace.geometry.layers:
        raise MoespacError("trace has no steps, or no experts; accepted: a mixture's, of one step at least")
    if isinstance(events, bool) or not isinstance(events, int) or events < 1:
        raise MoespacError(
            f"events is {events!r}; accepted: a whole number of pairs of step and layer, 1 or more"
        )
    steps = max(1, events // trace.geometry.layers)
    if len(trace) <= steps:
        return trace, []
    values = {"steps": len(trace), "shown": steps, "all": len(trace) * trace.geometry.layers}
    return trace[:steps], [Words("notice.beginning", values)]


def names(results: Sequence[Result]) -> list[str]:
    """What tells the results apart: the policy, and whatever else is not the same in all."""
    parts = [
        [
            result.policy,
            result.budget,
            "as recorded" if result.gamma is None else f"γ = {result.gamma}",
            result.machine or "own costs",
            result.model_profile or "own costs",
            result.accounting,
        ]
        for result in results
    ]
    differ = [i for i, kinds in enumerate(zip(*parts, strict=True)) if i == 0 or len(set(kinds)) > 1]
    return [", ".join(part[i] for i in differ) for part in parts]


def scaled(results: Sequence[Result]) -> list[Words]:
    """What of the profiles does not fit the trace, as a notice."""
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return [Words("notice.scaled", {"notes": "; ".join(notes)})] if notes else []
