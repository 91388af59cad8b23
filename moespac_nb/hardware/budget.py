"""A memory budget as people write it, and the slots it pays for: a slot is room for one expert.

Written in one of three ways:

    parse_budget("25%")                 a share of all experts
    parse_budget("1.5 GiB")             a size; decimal (kB, MB, GB, TB) or binary units (KiB, MiB, GiB, TiB)
    parse_budget(300_000)               bytes, as "300000" is too
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ..utils.exceptions import MoespacError, did_you_mean
from ..utils.validation import warn
from .model import ModelSpec

__all__ = ["ACCOUNTINGS", "Allotment", "Budget", "Room", "allot", "check_accounting", "parse_budget"]

ACCEPTED = (
    "a share above 0% and up to 100% of all experts, such as '25%', a size above 0 with its unit, such as "
    "'512MiB', '1.5 GiB' or '300 kB', or a whole number of bytes"
)
_WRITTEN = re.compile(r"\s*([0-9]{0,18}\.?[0-9]{1,18})\s*(%|[a-z]+)\s*", re.IGNORECASE)
_BYTES = {
    "b": 1,
    **{f"{letter}b": 1000**n for n, letter in enumerate("kmgt", start=1)},
    **{f"{letter}ib": 1024**n for n, letter in enumerate("kmgt", start=1)},
}


@dataclass(frozen=True)
class Room:
    """What a budget comes to on one model."""

    budget_bytes: int  # at most what all experts take
    slots: int  # at least 1; they take no more than the budget


@dataclass(frozen=True)
class Budget:
    """A share of all experts, or bytes: one of the two is None."""

    given: str
    share: Fraction | None = None  # above 0, at most 1
    size_bytes: int | None = None  # at least 1

    def room(self, expert_bytes: int, experts: int) -> Room:
        """The slots this budget pays for on a model of so many experts, over all layers, of so many bytes.

        Raises MoespacError where it pays for none, and warns where it is more than all experts take.
        """
        all_bytes = expert_bytes * experts
        budget_bytes = self.size_bytes if self.share is None else int(self.share * all_bytes)
        assert budget_bytes is not None
        if budget_bytes < expert_bytes:
            raise MoespacError(
                f"budget is {self.given}, {budget_bytes} bytes on this model; expected: at least one slot, "
                f"{expert_bytes} bytes, the size of one of its {experts} experts ({100 / experts:.2g}%)"
            )
        if budget_bytes > all_bytes:
            warn(
                f"budget is {self.given}, {budget_bytes} bytes; all {experts} experts take {all_bytes}, "
                "and no more is used"
            )
            budget_bytes = all_bytes
        return Room(budget_bytes, slots=budget_bytes // expert_bytes)


def parse_budget(budget: Any) -> Budget:
    """The budget that was written.

    budget: a `Budget`, '25%', '512MiB', '1.5 GiB', '300 kB' (capitals do not matter), or bytes: 300_000,
    '300000'. Raises MoespacError for everything else, zero, negative and above 100% among it.
    """
    if isinstance(budget, Budget):
        return budget
    given = repr(budget)
    if isinstance(budget, str) and budget.strip().isascii() and budget.strip().isdecimal():
        budget = int(budget) if len(budget) < 20 else 0
    if isinstance(budget, str):
        if (written := _WRITTEN.fullmatch(budget)) and (amount := Fraction(written[1])) > 0:
            unit = written[2].lower()
            if unit == "%" and amount <= 100:
                return Budget(given, share=amount / 100)
            if unit in _BYTES and (size_bytes := int(amount * _BYTES[unit])) > 0:
                return Budget(given, size_bytes=size_bytes)
    elif isinstance(budget, int | np.integer) and not isinstance(budget, bool) and budget > 0:
        return Budget(given, size_bytes=int(budget))
    raise MoespacError(f"budget is {given}; expected: {ACCEPTED}")


ACCOUNTINGS = ("slots-equal", "device-equal")


@dataclass(frozen=True)
class Allotment:
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
            f"accounting is {name!r}; expected: {' or '.join(ACCOUNTINGS)}{did_you_mean(name, ACCOUNTINGS)}"
        )
    return name


def allot(
    accounting: str, budget: Budget | str | int, model: ModelSpec, *, draft: bool, context: int = 1024
) -> Allotment:
    """The slots of a contestant that drafts, or does not, under a budget.

    model: as replayed, see `ModelProfile.as_if`. context: tokens whose keys and values the draft keeps.
    Raises MoespacError where the budget itself pays for no slot, and warns where it is more than all experts.
    """
    check_accounting(accounting)
    room = parse_budget(budget).room(model.expert_bytes, model.all_experts)
    if accounting == "slots-equal" or not draft or model.draft is None:
        return Allotment(accounting, 0, room.budget_bytes, room.slots, fits=True)
    draft_bytes = model.draft.memory_bytes(context)
    left_bytes = max(0, room.budget_bytes - draft_bytes)
    slots = left_bytes // model.expert_bytes
    return Allotment(accounting, draft_bytes, left_bytes if slots else 0, slots, fits=slots > 0)
