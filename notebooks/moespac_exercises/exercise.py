"""An exercise: what it takes, the cases it is tried on, and what would be wrong with an answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Exercise"]


@dataclass(frozen=True)
class Exercise:
    """One question of a notebook.

    Attributes
    ----------
    id : str
        "04.2": the notebook's number and the place in it.
    title : str
        A few words.
    takes : str
        What an answer is, as the reader is told: "a number", "a function of (p, q)", "a list of …", …
    cases : strategy or sequence
        A Hypothesis strategy, or cases in order, simplest first; (None,) where the answer is a value.
    fault : callable
        (answer, case) → None if it is right for this case, else a sentence: the case in words, what came
        back and which property breaks. It must not tell the solution.
    view : callable, optional
        case → what a `Stepper` shows of it (`trace`, `step`, …), where the case is a decode.
    examples : int
        How many cases of a strategy are tried at most.

    Examples
    --------
    >>> sign = Exercise("99.1", "Sign", "a number", (1,), lambda x, _: None if x > 0 else f"{x} is wrong")
    >>> sign.fault(-2, None), sign.is_listed
    ('-2 is wrong', True)
    """

    id: str
    title: str
    takes: str
    cases: Any
    fault: Callable[[Any, Any], str | None]
    view: Callable[[Any], dict[str, Any]] | None = None
    examples: int = 150

    @property
    def is_listed(self) -> bool:
        """Whether its cases are a plain sequence."""
        return isinstance(self.cases, Sequence)
