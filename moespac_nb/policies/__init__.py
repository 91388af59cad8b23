"""Policies by name. Each is a frozen composition, a page of code at most.

What a policy is made of:

- **sensor**: what it observes, and when: a verified window's counts, a drafted window, other texts.
- **score**: (layers, experts). Experts with higher scores are copied first and evicted last.
- **admission**: the experts to copy ahead. The engine copies the best first, and only those that beat the
  lowest-scoring resident, so asking for too many costs nothing but a list.
- **miss**: what happens to an expert that is in no slot, see `placement.MISSES`.

To write a policy, write a `Planner` with the hooks it needs, and a `Policy` that names it. It may keep what
it has seen; it is never shown what has not happened, unless it sets `reads_future`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..utils.exceptions import InvalidInputError, did_you_mean
from .baselines import CPU_ONLY, NEXT_WINDOW_ORACLE, ON_DEMAND, RECENCY, STATIC_HOT
from .spac import SPAC_JOINT, SPAC_PAPER, compose_policy

__all__ = ["POLICIES", "Plan", "Planner", "Policy", "PolicyContext", "compose_policy", "get_policy"]

_ALL = (CPU_ONLY, ON_DEMAND, STATIC_HOT, RECENCY, SPAC_PAPER, SPAC_JOINT, NEXT_WINDOW_ORACLE)
POLICIES: Mapping[str, Policy] = MappingProxyType({policy.name: policy for policy in _ALL})


def get_policy(policy: str | Policy, live: bool = False) -> Policy:
    """Return a policy by its name; a `Policy` is returned as it is.

    Parameters
    ----------
    policy : str or Policy
        One of `POLICIES`, or your own.
    live : bool, default False
        For a live decode, whose future is not recorded: a policy that reads it is refused.

    Returns
    -------
    Policy

    Raises
    ------
    InvalidInputError
        The name is unknown, or the policy reads the future of a live decode.

    Examples
    --------
    >>> get_policy("recency").miss
    'cpu'
    >>> get_policy("static-hot").missing("load").about
    'what other texts used most, copied once; misses on the CPU lane'
    """
    names = [name for name, known in POLICIES.items() if not (live and known.reads_future)]
    chosen = policy if isinstance(policy, Policy) else POLICIES.get(policy)
    if chosen is None:
        raise InvalidInputError(
            f"policy is {policy!r}; expected: {', '.join(names)}{did_you_mean(policy, names)}"
        )
    if live and chosen.reads_future:
        raise InvalidInputError(
            f"policy {chosen.name!r} reads the future, which a live decode does not have; expected: "
            f"{', '.join(names)}, or a replay"
        )
    return chosen
