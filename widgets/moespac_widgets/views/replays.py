"""What widgets of replays share: how much of a trace is replayed, and how results are named."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moespac_nb import Trace
from moespac_nb.engine.devices import Operation
from moespac_nb.hardware.budget import parse_budget
from moespac_nb.simulation.result import Result
from moespac_nb.utils.defaults import BUDGET
from moespac_nb.utils.exceptions import InvalidInputError

from ..base.assets import Words

__all__ = ["Played", "beginning", "names", "percent", "played", "scaled"]


def beginning(trace: Any, events: int) -> tuple[Trace, list[Words]]:
    """Return as much of a trace as may be replayed, and the notice that says so.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    events : int
        The most pairs of step and layer.

    Raises
    ------
    MoespacError
        If it is no trace, has no steps or experts, or `events` is no whole number from 1.
    """
    if not isinstance(trace, Trace):
        raise InvalidInputError(f"trace is {type(trace).__name__} {str(trace)[:60]!r}; expected: a Trace")
    if not len(trace) or not trace.geometry.layers:
        raise InvalidInputError(
            "trace has no steps, or no experts; expected: a mixture's, of one step at least"
        )
    if isinstance(events, bool) or not isinstance(events, int) or events < 1:
        raise InvalidInputError(
            f"events is {events!r}; expected: a whole number of pairs of step and layer, 1 or more"
        )
    steps = max(1, events // trace.geometry.layers)
    if len(trace) <= steps:
        return trace, []
    values = {"steps": len(trace), "shown": steps, "all": len(trace) * trace.geometry.layers}
    return trace[:steps], [Words("notice.beginning", values)]


@dataclass(frozen=True)
class Played:
    """Parts of a replay's result or a live run that a timeline shows.

    Attributes
    ----------
    label : str
        "measured" or "modelled".
    tps : float
        Tokens a second.
    windows_s : tuple of (float, float)
        Start and end of each window, in seconds.
    live : bool
        Whether it was a run of `offload`.
    """

    label: str
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
    model: str | None = None
    accounting: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def windows(self) -> int:
        """Verified windows."""
        return len(self.windows_s)


def played(result: Any) -> Played:
    """Return what a timeline shows of a result.

    Parameters
    ----------
    result : Result or Run
        A replay's result, or a run of `offload` as it stands now.

    Raises
    ------
    MoespacError
        If it is neither, or a run that has decoded nothing.
    """
    if isinstance(result, Result):
        same = ("label", "policy", "budget", "slots", "hit_rate", "timeline", "windows_s", "gamma", "machine",
                "model", "accounting", "notes")  # fmt: skip
        return Played(tps=result.tps_modelled, **{name: getattr(result, name) for name in same})
    session = sys.modules.get("moespac_nb.offloading.session")  # where it is not loaded, there is no run
    if session is None or not isinstance(result, session.Run):
        raise InvalidInputError(
            f"a result is {type(result).__name__} {str(result)[:60]!r}; expected: what replay(trace, policy, "
            "budget) gives, or a run of offload(model, budget)"
        )
    if not result.windows_s:
        raise InvalidInputError(
            f"the run of {result.policy!r} has decoded no window; expected: after run.decode(…)"
        )
    summary = result.summary()
    return Played(
        label=result.label,
        policy=result.policy,
        budget=f"{summary['slots'] / (result.geometry.layers * result.geometry.experts):.0%}",
        slots=summary["slots"],
        tps=summary[f"tokens_per_second_{result.label}"],
        hit_rate=summary["hit_rate"],
        timeline=result.timeline,
        windows_s=result.windows_s,
        live=True,
        machine=f"{summary['device']} device",
        gamma=result.gamma,
    )


def names(results: Sequence[Result | Played]) -> list[str]:
    """Return a name for each result: its policy, and whatever else is not the same in all of them.

    Parameters
    ----------
    results : sequence of Result or Played
        The results that are shown together.
    """
    parts = [
        [
            result.policy,
            result.budget,
            "as recorded" if result.gamma is None else f"γ = {result.gamma}",
            result.machine or "own costs",
            result.model,
            result.accounting,
        ]
        for result in results
    ]
    differ = [i for i, kinds in enumerate(zip(*parts, strict=True)) if i == 0 or len(set(kinds)) > 1]
    return [", ".join(part[i] for i in differ if part[i]) for part in parts]


def scaled(results: Sequence[Result | Played]) -> list[Words]:
    """Return the notice of what was scaled because machine or model do not fit the trace.

    Parameters
    ----------
    results : sequence of Result or Played
        The results that are shown together.
    """
    notes = dict.fromkeys(note for result in results for note in result.notes)
    return [Words("notice.scaled", {"notes": "; ".join(notes)})] if notes else []


def percent(budget: object) -> int:
    """Read a share of all experts in whole per cents.

    Parameters
    ----------
    budget : str
        Such as "25%".

    Raises
    ------
    MoespacError
        If it is anything else.

    Examples
    --------
    >>> percent("25%")
    25
    """
    share = parse_budget(budget).share if isinstance(budget, str) else None
    if share is None or (100 * share).denominator != 1:
        raise InvalidInputError(
            f"budget is {budget!r}; expected: a share of all experts in whole per cents, such as {BUDGET!r}"
        )
    return int(100 * share)
