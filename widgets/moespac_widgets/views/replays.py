"""What the widgets of replays share: how much of a trace is replayed, what was played, what is said of it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moespac_nb import MoespacError, Trace
from moespac_nb.engine.devices import Operation
from moespac_nb.simulation.result import Result

from ..base.assets import Words

__all__ = ["Played", "beginning", "names", "played", "scaled"]


def beginning(trace: Any, events: int) -> tuple[Trace, list[Words]]:
    """As much of a trace as a replay may take, pairs of step and layer, and the notice that says so."""
    if not isinstance(trace, Trace):
        raise MoespacError(f"trace is {type(trace).__name__} {str(trace)[:60]!r}; expected: a Trace")
    if not len(trace) or not trace.geometry.layers:
        raise MoespacError("trace has no steps, or no experts; expected: a mixture's, of one step at least")
    if isinstance(events, bool) or not isinstance(events, int) or events < 1:
        raise MoespacError(
            f"events is {events!r}; expected: a whole number of pairs of step and layer, 1 or more"
        )
    steps = max(1, events // trace.geometry.layers)
    if len(trace) <= steps:
        return trace, []
    values = {"steps": len(trace), "shown": steps, "all": len(trace) * trace.geometry.layers}
    return trace[:steps], [Words("notice.beginning", values)]


@dataclass(frozen=True)
class Played:
    """A replay's result or a live run, as far as a timeline shows it."""

    label: str  # measured or modelled
    policy: str
    budget: str
    slots: int
    tps: float
    hit_rate: float
    timeline: list[Operation]
    windows_s: tuple[tuple[float, float], ...]
    live: bool = False
    gamma: int | None = None
    machine: str | None = None
    model_profile: str | None = None
    accounting: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def windows(self) -> int:
        return len(self.windows_s)


def played(given: Any) -> Played:
    """What `replay(…)` gave, or a run of `offload(…)` as it stands now."""
    if isinstance(given, Result):
        same = ("label", "policy", "budget", "slots", "hit_rate", "timeline", "windows_s", "gamma", "machine",
                "model_profile", "accounting", "notes")  # fmt: skip
        return Played(tps=given.tps_modelled, **{name: getattr(given, name) for name in same})
    offloading = sys.modules.get("moespac_nb.offloading.session")  # where it is not loaded, there is no run
    if offloading is None or not isinstance(given, offloading.Run):
        raise MoespacError(
            f"a result is {type(given).__name__} {str(given)[:60]!r}; expected: what replay(trace, policy, "
            "budget) gives, or a run of offload(model, budget)"
        )
    if not given.windows_s:
        raise MoespacError(
            f"the run of {given.policy!r} has decoded no window; expected: after run.decode(…)"
        )
    said = given.summary()
    return Played(
        label=given.label,
        policy=given.policy,
        budget=f"{said['slots'] / (given.geometry.layers * given.geometry.experts):.0%}",
        slots=said["slots"],
        tps=said[f"tokens_per_second_{given.label}"],
        hit_rate=said["hit_rate"],
        timeline=given.timeline,
        windows_s=given.windows_s,
        live=True,
        machine=f"{said['device']} device",
        gamma=given.gamma,
    )


def names(results: Sequence[Result | Played]) -> list[str]:
    """What tells the results apart: the policy, and whatever else is not the same in all."""
    parts = [
        [
            result.policy,
            result.budget,
            "as recorded" if result.gamma is None else f"γ = {result.gamma}",
            result.machine or "own costs",
            result.model_profile,
            result.accounting,
        ]
        for result in results
    ]
    differ = [i for i, kinds in enumerate(zip(*parts, strict=True)) if i == 0 or len(set(kinds)) > 1]
    return [", ".join(part[i] for i in differ if part[i]) for part in parts]


def scaled(results: Sequence[Result | Played]) -> list[Words]:
    """What of the profiles does not fit the trace, as a notice."""
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return [Words("notice.scaled", {"notes": "; ".join(notes)})] if notes else []
