"""Exercises of notebook 03: right answers pass, and each common mistake is shown its smallest case."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb.exercises import check
from moespac_nb.exercises.speculation_as_a_sensor import THRESHOLD
from moespac_nb.information import entropy_bits, information_of


def best(scores: list[float], size: int) -> set[int]:
    return set(np.argsort(-np.array(scores), kind="stable")[:size].tolist())


def needed(counts: list[int]) -> set[int]:
    return set(np.flatnonzero(counts).tolist())


RIGHT: dict[str, Any] = {
    "03.1": lambda experts, k, positions: experts * (1 - (1 - k / experts) ** positions),
    "03.2": 8,
    "03.3": lambda table: information_of(np.array(table)),
    "03.4": 0.0,
    "03.5": [1, THRESHOLD],
    "03.6": lambda s, counts, n: len(best(s, n) & needed(counts)) / len(needed(counts)),
}


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_answer_is_right(name: str) -> None:
    assert check(name, RIGHT[name]).state == "right"


@pytest.mark.parametrize(
    ("name", "answer", "said"),
    [
        ("03.1", lambda experts, k, positions: k * positions, "more experts than there are"),
        ("03.1", lambda experts, k, positions: min(experts, k * positions), "is counted once"),
        ("03.1", lambda experts, k, positions: k, "too few"),
        ("03.2", 12, "more experts a token than without a draft"),
        ("03.2", 3, "not the longest"),
        ("03.2", 20, "is not in the published table"),
        ("03.3", lambda table: entropy_bits(np.array(table)), "there is no information"),
        ("03.3", lambda table: information_of(np.array(table)) * np.log(2), "right but for the unit"),
        ("03.3", lambda table: "much", "which is no number"),
        ("03.4", 1.5, "with what probability is the expert needed next"),
        ("03.5", [5, 3], "so the decision stands"),
        ("03.5", [5, 1], "The claim is about errors within it"),
        ("03.5", [1.5, 2], "write two whole numbers"),
        ("03.6", lambda s, counts, n: len(best(s, n) & needed(counts)) / n, "share of the named experts"),
        ("03.6", lambda s, counts, n: 1, "those of the highest scores"),
        ("03.6", lambda s, counts, n: len(best(s, n) & needed(counts)), "returned"),
    ],
)
def test_a_mistake_is_shown_its_case(name: str, answer: Any, said: str) -> None:
    outcome = check(name, answer)
    assert outcome.state == "wrong"
    assert said in outcome.sentence
