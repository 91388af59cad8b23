"""The contestants by name. One is a frozen composition, and a page of code at most.

    policy("recency")                               # one of POLICIES
    policy("static-hot").missing("load")            # the same with another way with a miss
    composed("mine", rule="level", admission=2)     # one's own, of parts

What a policy is made of:

- **sensor**: what it observes, and when: a verified window's counts, a drafted window, other texts.
- **score**: what an expert is worth, (layers, experts). One order: what is worth more is copied first and
  evicted last.
- **admission**: which experts it has copied ahead. The engine copies the best first, and only what beats the
  weakest resident, so wanting too much costs nothing but a list.
- **miss**: what an expert does that is in no slot, see `placement.MISSES`.

To write one: a `Planner` with the moments it has something to say at, and a `Policy` that names it. It may
keep what it has seen; it is never shown what has not happened, unless it says `reads_future`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..utils.exceptions import MoespacError, did_you_mean
from .baselines import CPU_ONLY, NEXT_WINDOW_ORACLE, ON_DEMAND, RECENCY, STATIC_HOT
from .spac import SPAC_JOINT, SPAC_PAPER, compose_policy

__all__ = ["POLICIES", "Plan", "Planner", "Policy", "PolicyContext", "compose_policy", "get_policy"]

POLICIES: Mapping[str, Policy] = MappingProxyType(
    {
        each.name: each
        for each in (
            CPU_ONLY,
            ON_DEMAND,
            STATIC_HOT,
            RECENCY,
            SPAC_PAPER,
            SPAC_JOINT,
            NEXT_WINDOW_ORACLE,
        )
    }
)


def get_policy(given: str | Policy, live: bool = False) -> Policy:
    """A policy by its name; one's own as it is.

    live: for a decode whose future is not recorded: then one that reads it is refused.
    """
    accepted = [each.name for each in POLICIES.values() if not (live and each.reads_future)]
    if isinstance(given, Policy):
        if live and given.reads_future:
            raise MoespacError(
                f"policy {given.name!r} reads the future, which a live decode does not have; expected: "
                f"{', '.join(accepted)}, or a replay"
            )
        return given
    if given not in POLICIES:
        raise MoespacError(
            f"policy is {given!r}; expected: {', '.join(accepted)}{did_you_mean(given, accepted)}"
        )
    return get_policy(POLICIES[given], live)
