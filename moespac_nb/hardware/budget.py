"""A memory budget as people write it, and the slots it pays for: a slot is room for one expert.

parse_budget("25%")                 # a share of all experts
parse_budget("1.5 GiB")             # a size; decimal (kB, MB, GB, TB) or binary units (KiB, MiB, GiB, TiB)
parse_budget(300_000)               # bytes, as "300000" is too
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice, is_whole, warn
from .model import ModelSpec

__all__ = ["ACCOUNTINGS", "Allotment", "Budget", "allot", "check_accounting", "parse_budget"]

ACCOUNTINGS = ("slots-equal", "device-equal")
EXPECTED = (
    "a share above 0% and up to 100% of all experts, such as '25%', a size above 0 with its unit, such as "
    "'512MiB', '1.5 GiB' or '300 kB', or a whole number of bytes"
)
_WRITTEN = re.compile(r"\s*([0-9]{0,18}\.?[0-9]{1,18})\s*(%|[a-z]+)\s*", re.IGNORECASE)
_LETTERS = tuple(enumerate("kmgt", start=1))
_BYTES = {"b": 1, **{f"{letter}b": 1000**n for n, letter in _LETTERS}}
_BYTES |= {f"{letter}ib": 1024**n for n, letter in _LETTERS}


@dataclass(frozen=True)
class Allotment:
    """What a policy has for experts under a budget.

    Parameters
    ----------
    budget_bytes : int
        Left for experts after the draft; at most what all experts take, and 0 where no slot is left.
    slots : int
        Experts that this has room for.
    draft_bytes : int, default 0
        What is charged for the draft.
    """

    budget_bytes: int
    slots: int
    draft_bytes: int = 0

    @property
    def fits(self) -> bool:
        """Whether there is at least one slot."""
        return self.slots > 0


@dataclass(frozen=True)
class Budget:
    """A share of all experts, or bytes: one of the two is None.

    Parameters
    ----------
    text : str
        What was given, for messages.
    share : Fraction, optional
        Above 0, at most 1.
    size_bytes : int, optional
        At least 1.

    Examples
    --------
    >>> from moespac_nb import parse_budget
    >>> budget = parse_budget("25%")
    >>> budget
    Budget(text="'25%'", share=Fraction(1, 4), size_bytes=None)
    >>> budget.allot(expert_bytes=600, experts=64)
    Allotment(budget_bytes=9600, slots=16, draft_bytes=0)
    """

    text: str
    share: Fraction | None = None
    size_bytes: int | None = None

    def allot(self, expert_bytes: int, experts: int, draft_bytes: int = 0) -> Allotment:
        """Return the slots that this budget pays for.

        Parameters
        ----------
        expert_bytes : int
            Of one expert.
        experts : int
            Of the model, over all layers.
        draft_bytes : int, default 0
            What the budget pays for beside experts.

        Returns
        -------
        Allotment

        Raises
        ------
        InvalidInputError
            If the budget is smaller than one expert.

        Warns
        -----
        UserWarning
            If the budget is more than all experts take.

        Examples
        --------
        >>> parse_budget("25%").allot(expert_bytes=600, experts=64)
        Allotment(budget_bytes=9600, slots=16, draft_bytes=0)
        >>> parse_budget("25%").allot(expert_bytes=600, experts=64, draft_bytes=3000).slots
        11
        """
        all_bytes = expert_bytes * experts
        size_bytes = int(self.share * all_bytes) if self.share is not None else self.size_bytes or 0
        if size_bytes < expert_bytes:
            raise InvalidInputError(
                f"budget is {self.text}, {size_bytes} bytes on this model; expected: at least one slot, "
                f"{expert_bytes} bytes, the size of one of its {experts} experts ({100 / experts:.2g}%)"
            )
        if size_bytes > all_bytes:
            warn(
                f"budget is {self.text}, {size_bytes} bytes; all {experts} experts take {all_bytes}, "
                "and no more is used"
            )
            size_bytes = all_bytes
        left_bytes = max(0, size_bytes - draft_bytes)
        slots = left_bytes // expert_bytes
        return Allotment(left_bytes if slots else 0, slots, draft_bytes)


def parse_budget(budget: Budget | str | int) -> Budget:
    """Read a budget.

    Parameters
    ----------
    budget : Budget, str or int
        "25%", "512MiB", "1.5 GiB", "300 kB" (capitals do not matter), or bytes: 300_000, "300000".

    Returns
    -------
    Budget

    Raises
    ------
    InvalidInputError
        For everything else, and for what is 0, negative or above 100%.

    Examples
    --------
    >>> parse_budget("25%").share
    Fraction(1, 4)
    >>> parse_budget("1.5 GiB").size_bytes
    1610612736
    """
    if isinstance(budget, Budget):
        return budget
    text, size = repr(budget), budget
    if isinstance(size, str) and size.strip().isascii() and size.strip().isdecimal():
        size = int(size) if len(size) < 20 else 0
    if is_whole(size, least=1):
        return Budget(text, size_bytes=int(size))
    if (
        isinstance(size, str)
        and (written := _WRITTEN.fullmatch(size))
        and (amount := Fraction(written[1])) > 0
    ):
        unit = written[2].lower()
        if unit == "%" and amount <= 100:
            return Budget(text, share=amount / 100)
        if unit in _BYTES and (size_bytes := int(amount * _BYTES[unit])) > 0:
            return Budget(text, size_bytes=size_bytes)
    raise InvalidInputError(f"budget is {text}; expected: {EXPECTED}")


def check_accounting(accounting: Any) -> str:
    """Return the name of an accounting, or raise InvalidInputError if it is none of `ACCOUNTINGS`."""
    return str(check_choice("accounting", accounting, ACCOUNTINGS))


def allot(
    accounting: str, budget: Budget | str | int, model: ModelSpec, *, draft: bool, context: int = 1024
) -> Allotment:
    """Return the slots that a policy has under a budget.

    Parameters
    ----------
    accounting : {"slots-equal", "device-equal"}
        Whether the budget is for experts alone, or pays for the draft of a policy that drafts as well.
    budget : Budget, str or int
        See `parse_budget`.
    model : ModelSpec
        As it is replayed, see `scale_to_trace`.
    draft : bool
        Whether the policy drafts.
    context : int, default 1024
        Tokens whose keys and values the draft keeps.

    Returns
    -------
    Allotment
        Without a slot where the draft leaves none.

    Raises
    ------
    InvalidInputError
        If the accounting or the budget cannot be read, or the budget is smaller than one expert.

    Warns
    -----
    UserWarning
        If the budget is more than all experts take.

    Examples
    --------
    >>> from moespac_nb.hardware.model import load_model_spec
    >>> model = load_model_spec("qwen3-30b-a3b")
    >>> [allot(name, "17%", model, draft=True).slots for name in ACCOUNTINGS]
    [1044, 539]
    """
    is_charged = check_accounting(accounting) == "device-equal" and draft and model.draft is not None
    draft_bytes = model.draft.memory_bytes(context) if is_charged and model.draft else 0
    return parse_budget(budget).allot(model.expert_bytes, model.all_experts, draft_bytes)
