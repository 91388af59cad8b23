"""Who is charged for what: two ways to give contestants equal bytes, one of which must always be named.

- `slots-equal`: every contestant has the same bytes for experts, as the paper counts. A draft is free.
- `device-equal`: every contestant has the same device memory. The budget is what one without a draft has for
  experts; a draft's weights, keys, values and workspace come off it for whoever uses one.
"""

from __future__ import annotations

from dataclasses import dataclass

from .budget import Budget, parse_budget
from .errors import MoespacError, did_you_mean
from .model_shape import ModelProfile

__all__ = ["ACCOUNTINGS", "Charged", "charge", "check_accounting"]

ACCOUNTINGS = ("slots-equal", "device-equal")


@dataclass(frozen=True)
class Charged:
    """What a contestant has for experts after what it is charged for."""

    accounting: str
    draft_bytes: int  # charged to it
    budget_bytes: int  # left for experts; 0 where it does not fit
    slots: int  # 0 where it does not fit
    fits: bool  # at least one slot


def check_accounting(name: str) -> str:
    """The name, if it is one; else MoespacError."""
    if name not in ACCOUNTINGS:
        raise MoespacError(
            f"accounting is {name!r}; accepted: {' or '.join(ACCOUNTINGS)}{did_you_mean(name, ACCOUNTINGS)}"
        )
    return name


def charge(
    accounting: str, budget: Budget | str | int, model: ModelProfile, *, draft: bool, context: int = 1024
) -> Charged:
    """The slots of a contestant that drafts, or does not, under a budget.

    model: as replayed, see `ModelProfile.as_if`. context: tokens whose keys and values the draft keeps.
    Raises MoespacError where the budget itself pays for no slot, and warns where it is more than all experts.
    """
    check_accounting(accounting)
    room = parse_budget(budget).room(model.expert_bytes, model.all_experts)
    if accounting == "slots-equal" or not draft or model.draft is None:
        return Charged(accounting, 0, room.budget_bytes, room.slots, fits=True)
    draft_bytes = model.draft.memory_bytes(context)
    left_bytes = max(0, room.budget_bytes - draft_bytes)
    slots = left_bytes // model.expert_bytes
    return Charged(accounting, draft_bytes, left_bytes if slots else 0, slots, fits=slots > 0)
