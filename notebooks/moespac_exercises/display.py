"""What a notebook shows of its exercises: `check` an answer, `predict` before a cell and `reveal` after it.

Progress is kept in one local file, see `moespac_exercises.progress`; where it cannot be, that is said and
the exercise goes on.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from numbers import Real
from typing import Any

from IPython.display import display

from moespac_nb import MoespacError
from moespac_widgets.base.assets import KINDS

from . import progress
from .checking import check as outcome_of

__all__ = ["check", "predict", "reveal"]

# A sign and a word for each: no reader has to rely on colour.
_SIGNS = {
    "right": ("✓", "accepted"),
    "wrong": ("✗", "rejected"),
    "not yet": ("…", "own"),
    "guess": ("?", "own"),
    "number": ("=", "own"),
}
MOST = 1e300  # what is neither infinite nor too large to be divided by
_guesses: dict[str, float] = {}
_revealed: set[str] = set()
_told: set[str] = set()


def check(name: str, answer: Any) -> None:
    """Say whether an answer is right; if not, for which smallest case, in a stepper where it is a decode.

    Parameters
    ----------
    name : str
        The exercise, such as "04.2".
    answer : Any
        A function or a value, as the notebook asks.

    Examples
    --------
    >>> check("02.1", lambda p, q, u: u < p)  # doctest: +SKIP
    """
    try:
        outcome = outcome_of(name, answer)
    except MoespacError as problem:
        _show("wrong", "check", str(problem))
        return
    words = outcome.sentence
    if outcome.state == "wrong":
        words = f"not right: {words}"
    _show(outcome.state, f"{outcome.exercise.id} {outcome.exercise.title}", words)
    view = outcome.view
    if view is not None:
        from moespac_widgets.views.stepper.stepper import Stepper

        display(Stepper(**view))
    _keep(lambda: progress.record(outcome))


def predict(name: str, guess: Any) -> None:
    """Keep the reader's guess for the cell that reveals the number; the first one counts.

    Parameters
    ----------
    name : str
        The guess, such as "04.P1".
    guess : float
        A number; `...` is no guess yet.

    Examples
    --------
    >>> predict("04.P1", 1.5)  # doctest: +SKIP
    """
    if not _is_named(name):
        return
    if guess is ... or guess is None:
        _show("not yet", name, "no guess yet. Put a number in place of the dots, then run the next cell.")
        return
    if not _is_number(guess):
        _show("wrong", name, f"the guess is {guess!r}; expected: a number, such as 1.5")
        return
    before = _guess(name)
    words = ""
    if before is not None and before != guess:
        words = f" Your first guess counts, and it was {before:g}."
    elif before is None and name in _revealed:
        words = " The number has been shown already."
    _show("guess", name, f"your guess is {guess:g}.{words}")
    if before is None:
        _guesses[name] = float(guess)
        _keep(lambda: progress.record_guess(name, float(guess)))


def reveal(name: str, value: float, unit: str = "") -> None:
    """Show the number itself, beside the guess if there is one.

    Parameters
    ----------
    name : str
        The guess, such as "04.P1".
    value : float
        What was computed.
    unit : str
        Such as "ms" or "×".

    Examples
    --------
    >>> reveal("04.P1", 2.0, "×")  # doctest: +SKIP
    """
    if not _is_named(name):
        return
    if not _is_number(value):
        _show("wrong", name, f"the value is {value!r}; expected: a number, which the cells above compute")
        return
    _revealed.add(name)
    guess = _guess(name)
    shown = f"it is {_figure(value)}{_with(unit)}"
    if guess is None:
        _show("number", name, f"{shown}. There was no guess to compare with.")
        return
    apart = f", {guess / value:.2g} times as much" if value and guess / value > 0 else ""
    _show("number", name, f"{shown}. Your guess: {_figure(guess)}{_with(unit)}{apart}.")


def _guess(name: str) -> float | None:
    """Return the one that counts: made in this kernel, or kept by an earlier one."""
    if name not in _guesses:
        try:
            kept = progress.read(progress.path())["guesses"].get(name)
        except MoespacError:
            return None
        return kept if _is_number(kept) else None
    return _guesses[name]


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool) and bool(abs(value) < MOST)


def _figure(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"


def _with(unit: str) -> str:
    return f" {unit}" if unit and unit not in "%×" else unit


def _is_named(name: Any) -> bool:
    if isinstance(name, str) and re.fullmatch(r"\d\d\.P\d+", name):
        return True
    _show("wrong", "guess", f"its name is {name!r}; expected: one such as '04.P1'")
    return False


def _keep(write: Callable[[], None]) -> None:
    """Write progress, or say once why it is not kept."""
    try:
        write()
    except MoespacError as problem:
        if str(problem) not in _told:
            _told.add(str(problem))
            _show("not yet", "Progress is not kept", str(problem))


def _show(state: str, title: str, words: str) -> None:
    sign, kind = _SIGNS[state]
    html = (
        f'<div role="status" style="border-left:6px solid {KINDS[kind]};padding:4px 10px;margin:4px 0;'
        f'white-space:pre-wrap"><b>{sign} {escape(title)}</b>: {escape(words)}</div>'
    )
    display({"text/plain": f"{sign} {title}: {words}", "text/html": html}, raw=True)
