"""Every exercise of every notebook: whatever is given as an answer, what comes back is a sentence."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from moespac_exercises import Exercise, exercises_of
from moespac_exercises.checking import check
from tools.support.notebook_runner import SOURCES

EXERCISES = [exercise for source in SOURCES for exercise in exercises_of(source.name[:2])]
FUNCTIONS = [exercise for exercise in EXERCISES if exercise.takes.startswith("a function")]
NO_ANSWERS = (
    "🙃",
    2j,
    {},
    [],
    [[1], [2]],
    ["a", None],
    object(),
    range(-3, 0),
    np.zeros((2, 0)),
    float("nan"),
)
RETURNED = ("🙃", {}, [[1], [2]], object(), np.zeros(3), float("nan"), 10**400, [float("inf")] * 3)


def each(exercises: list[Exercise]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("exercise", exercises, ids=lambda exercise: exercise.id)


@each(EXERCISES)
def test_dots_are_not_wrong(exercise: Exercise) -> None:
    assert check(exercise.id, ...).state == "not yet"


@each(EXERCISES)
def test_what_is_no_answer_at_all_is_told_in_words(exercise: Exercise) -> None:
    for answer in NO_ANSWERS:
        outcome = check(exercise.id, answer)
        assert outcome.state == "wrong", answer
        assert 10 < len(outcome.sentence) < 2000


@each(FUNCTIONS)
def test_a_function_that_returns_anything_is_told_in_words(exercise: Exercise) -> None:
    answers: list[Callable[..., Any]] = [lambda *_, returned=each: returned for each in RETURNED]
    for answer, returned in zip([*answers, lambda: 0], [*RETURNED, "of nothing"], strict=True):
        outcome = check(exercise.id, answer)
        assert outcome.state == "wrong", returned
        assert 10 < len(outcome.sentence) < 2000


@each(FUNCTIONS)
def test_a_function_that_returns_nothing_or_raises(exercise: Exercise) -> None:
    def broken(*_: Any) -> None:
        raise LookupError("nothing here")

    assert check(exercise.id, lambda *_: None).state == "not yet"
    assert check(exercise.id, lambda *_: ...).state == "not yet"
    assert "it raised LookupError: nothing here" in check(exercise.id, broken).sentence


@each(FUNCTIONS)
def test_of_a_wrong_answer_the_same_case_is_found_each_time(exercise: Exercise) -> None:
    begun = time.perf_counter()
    first, second = (check(exercise.id, lambda *_: -7) for _ in range(2))
    assert first.state == "wrong"
    assert first.sentence == second.sentence
    assert time.perf_counter() - begun < 20, "a check takes 2 s at most, on a machine of its own"
    if first.view is not None:
        from moespac_widgets import Stepper

        Stepper(**first.view).close()
