"""Trying an answer on an exercise's cases: right, or wrong with the smallest case found, or not yet given."""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from copy import deepcopy
from dataclasses import dataclass
from numbers import Real
from random import Random
from typing import Any, Literal

import numpy as np

from .exercise import Exercise
from .registry import exercise

__all__ = ["Outcome", "check"]

SHORT = 300  # letters of what is quoted of an answer
KINDS: Mapping[str, Callable[[Any], bool]] = {
    "a number": lambda given: (
        not isinstance(given, bool) and isinstance(given, Real) and bool(given == given)
    ),
    "a function": callable,
    "a list": lambda given: (
        isinstance(given, Sequence | np.ndarray | set) and not isinstance(given, str | bytes)
    ),
    "a text": lambda given: isinstance(given, str),
    "a dictionary": lambda given: isinstance(given, Mapping),
    "yes or no": lambda given: isinstance(given, bool | np.bool_),
}


@dataclass(frozen=True)
class Outcome:
    """What became of an answer.

    Attributes
    ----------
    exercise : Exercise
        The question.
    state : {"right", "wrong", "not yet"}
        Whether the answer is right, or was not given yet.
    sentence : str
        The same in words.
    case : Any
        The smallest case found on which the answer is wrong.
    """

    exercise: Exercise
    state: Literal["right", "wrong", "not yet"]
    sentence: str
    case: Any = None

    @property
    def view(self) -> dict[str, Any] | None:
        """What a `Stepper` shows of the case, if the case is a decode."""
        wanted = self.state == "wrong" and self.case is not None and self.exercise.view
        return wanted(self.case) if wanted else None


def check(name: str, answer: Any) -> Outcome:
    """Try an answer on an exercise's cases, the same cases each time.

    Parameters
    ----------
    name : str
        The exercise, such as "04.2".
    answer : Any
        A function or a value; `...` is no answer yet. What it raises is told with its case.

    Returns
    -------
    Outcome

    Raises
    ------
    MoespacError
        If there is no such exercise.

    Examples
    --------
    >>> check("02.1", lambda p, q, u: u < p / q).state
    'right'
    """
    question = exercise(name)
    if answer is None or answer is ... or _is_blank(answer):
        return Outcome(question, "not yet", f"there is no answer yet. It is {question.takes}.")
    if not _fits(question.takes, answer):
        words = f"the answer is {question.takes}, and this is {_kind(answer)}: {_short(answer)}"
        return Outcome(question, "wrong", words)
    trial = _Trial(question, answer)
    with redirect_stdout(io.StringIO()):  # of the many cases; what it prints for the one found is shown
        failed = trial.first_listed() if question.is_listed else trial.smallest()
    if not failed:
        how = "" if question.is_listed and len(question.cases) == 1 else f" in all of {trial.count} cases"
        return Outcome(question, "right", f"right{how}.")
    (case,) = failed
    sentence = trial.fault(case) or f"{trial.last}. Called again, it did better: one input, one answer"
    if trial.blank:
        return Outcome(question, "not yet", f"the function does not return anything yet: {sentence}", case)
    return Outcome(question, "wrong", sentence, case)


class _Trial:
    """An answer and the cases it was tried on. last: what was wrong most recently; failed: in which case."""

    def __init__(self, question: Exercise, answer: Any) -> None:
        self.question, self.answer = question, answer
        self.count, self.blank, self.last = 0, False, ""
        self.failed: tuple[Any, ...] = ()

    def first_listed(self) -> tuple[Any, ...]:
        """Return a case on which it is wrong, or nothing."""
        return next(((case,) for case in self.question.cases if self.fault(case)), ())

    def smallest(self) -> tuple[Any, ...]:
        """By Hypothesis: the same cases each time, nothing kept between them."""
        from hypothesis import HealthCheck, Phase, find, settings
        from hypothesis.errors import Flaky, NoSuchExample

        how = settings(
            max_examples=self.question.examples,
            database=None,
            deadline=None,
            phases=(Phase.generate, Phase.shrink),
            suppress_health_check=tuple(HealthCheck),
        )
        with _no_files_here():
            try:
                case = find(
                    self.question.cases, lambda each: bool(self.fault(each)), settings=how, random=Random(0)
                )
            except NoSuchExample:
                return ()
            except Flaky:  # it was wrong, and then not
                return self.failed
        return (case,)

    def fault(self, case: Any) -> str | None:
        self.count += 1
        calls: list[tuple[Any, Any]] = []
        answer = _listened(self.answer, calls) if callable(self.answer) else self.answer
        try:
            words = self.question.fault(answer, case)
        except _RaisedError as raised:
            words = str(raised)
        except Exception as problem:  # what was returned, or given, cannot be worked with
            if callable(self.answer) and not calls:
                raise
            what = _short(self.answer)
            for given, returned in calls[-1:]:
                what = f"for {given} it returned {_short(returned)}, which"
            words = f"{what} cannot be right: {_problem(problem)}"
        if words:
            self.last, self.failed = words, (case,)
            self.blank = any(returned is None or returned is ... for _, returned in calls)
        return words


class _RaisedError(Exception):
    """What an answer raised, and for what."""


def _listened(answer: Callable[..., Any], calls: list[tuple[Any, Any]]) -> Callable[..., Any]:
    def called(*arguments: Any, **named: Any) -> Any:
        words = ", ".join(
            [*map(_short, arguments), *(f"{key}={_short(value)}" for key, value in named.items())]
        )
        try:
            returned = answer(*map(_own, arguments), **{key: _own(value) for key, value in named.items()})
        except (Exception, SystemExit) as problem:
            raise _RaisedError(f"for {words} it raised {_problem(problem)}") from problem
        calls.append((words, returned))
        return returned

    return called


def _own(value: Any) -> Any:
    """Return a copy of what an answer could change in place: the case must stay what it is."""
    return deepcopy(value) if isinstance(value, list | dict | set | np.ndarray) else value


def _is_blank(answer: Any) -> bool:
    """Return a function whose body is still `...`."""

    def blank() -> None: ...

    code = getattr(answer, "__code__", None)
    return (
        code is not None
        and code.co_code == blank.__code__.co_code
        and code.co_consts in ((None,), blank.__code__.co_consts)
    )


def _fits(takes: str, answer: Any) -> bool:
    return all(fits(answer) for kind, fits in KINDS.items() if takes.startswith(kind))


def _kind(answer: Any) -> str:
    kind = type(answer).__name__
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _problem(problem: BaseException) -> str:
    return _cut(f"{type(problem).__name__}: {problem}")


def _short(value: Any) -> str:
    """As Python writes it, and not too long."""
    try:
        words = repr(value)
    except Exception as problem:
        words = f"something that cannot be written ({_problem(problem)})"
    return _cut(words)


def _cut(words: str) -> str:
    return words if len(words) <= SHORT else f"{words[: SHORT - 1]}…"


@contextmanager
def _no_files_here() -> Iterator[None]:
    """Hypothesis keeps tables in the working folder, which is the reader's: here in one that goes again."""
    name = "HYPOTHESIS_STORAGE_DIRECTORY"
    if name in os.environ:
        yield
        return
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        os.environ[name] = folder
        try:
            yield
        finally:
            os.environ.pop(name, None)
