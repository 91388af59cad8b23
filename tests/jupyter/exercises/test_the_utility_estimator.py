"""Exercises of notebook 04: right answers pass, and each common mistake is shown its smallest case."""

from __future__ import annotations

from math import floor
from typing import Any

import numpy as np

from moespac_exercises.lessons.the_utility_estimator import (
    FORGETTING,
    GAMMA,
    NAMED,
    K,
    moved,
    recall_of,
    resting,
)
from moespac_nb.estimator.evaluation import EVIDENCE, evaluate_predictors
from moespac_nb.estimator.sensors import make_sensor
from moespac_nb.estimator.utility import make_estimator
from moespac_nb.trace.windows import iter_windows
from tests.helpers.jupyter.lessons import answer_tests, dense_traces

RIGHT: dict[str, Any] = {
    "04.1": lambda s, f, before, up, down: moved(s, f - before, up, down),
    "04.2": lambda up, change: floor((1 - FORGETTING) * up + FORGETTING * change + 1e-9),
    "04.3": 1,
    "04.4": [3, 5, 6, 6, 6, 6],
    "04.5": resting,
    "04.6": lambda value, counts: 0.7 * value + 0.3 * counts,
}


WRONG = [
    ("04.1", lambda s, f, before, up, down: s + (f - before), "Utility stays between 0 and 4"),
    ("04.1", lambda s, f, before, up, down: s + (f - before >= up), "does reach the boundary down"),
    ("04.1", lambda s, f, before, up, down: moved(s, f - s, up, down), "reaches neither boundary"),
    (
        "04.1",
        lambda s, f, before, up, down: moved(s, f - before, up + 1e-9, down),
        "does reach the boundary up",
    ),
    ("04.1", lambda s, f, before, up, down: min(K, max(0, s + f - before)), "returned"),
    ("04.2", lambda up, change: 0.9 * up + 0.1 * change, "That is before rounding down"),
    ("04.2", lambda up, change: round(0.9 * up + 0.1 * change), "then comes a floor"),
    ("04.3", 4, "looks at *changes*"),
    ("04.3", 0, "What is Δ in the second window"),
    ("04.4", [9] * 6, "It first rises at the change from 0 to 9"),
    ("04.4", [3, 5, 9, 9, 9, 9, 9], "It first rises at the change from 5 to 9"),
    ("04.4", [3, 4, 4, 4, 4, 4], "must all be 5 or more"),
    ("04.4", [5.5] * 5, "a whole number from 0 to 9"),
    ("04.5", lambda f, up, down: (min(f, K), min(f, K)), "it stays, too"),
    ("04.5", lambda f, up, down: (0, K), "it does not stay"),
    ("04.6", lambda value, counts: value, "and the printed rule's"),
    ("04.6", lambda value, counts: counts.sum(), "the new value has shape"),
]
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_where_a_level_rests_is_where_the_estimator_rests() -> None:
    for f in range(10):
        lowest, highest = resting(f, 3, 1)
        rule = make_estimator("level", 1, K + 1, K=K, up=3, down=1)
        rule.s[...] = range(K + 1)
        for _ in range(20):
            rule.update(np.full((1, K + 1), f))
        assert (rule.s.min(), rule.s.max()) == (lowest, highest)


def test_the_printed_rule_is_tried_as_an_own_rule_is() -> None:
    assert 0 < recall_of(lambda value, counts: counts) < 1


def test_rules_stand_as_the_prose_has_them() -> None:
    """Only the running mean beats the evidence as it comes, and levels hardly matter."""
    means = {}
    for levels in (1, K, 8):
        scores = [
            evaluate_predictors(
                trace, {"f": make_sensor("verify-counts", trace.geometry)}, NAMED, gamma=GAMMA, K=levels
            )
            for trace in dense_traces().values()
        ]
        means[levels] = {rule: np.mean([of["f", rule].recall for of in scores]) for _, rule in scores[0]}
    others = {rule: mean for rule, mean in means[K].items() if rule not in (EVIDENCE, "ema")}
    assert means[K]["ema"] > means[K][EVIDENCE] >= max(others.values())
    assert all(abs(means[1][rule] - means[8][rule]) < 0.01 for rule in means[K])


def test_the_paper_gives_the_hottest_less_than_half() -> None:
    names = ("paper", "paper-real", "level")
    given: dict[str, list[float]] = {name: [] for name in names}
    for trace in dense_traces().values():
        for text in range(len(trace.texts)):
            counts = np.stack([window.step.counts for window in iter_windows(trace, text, GAMMA)])
            for name in names if len(counts) >= 8 else ():
                estimator = make_estimator(name, *counts.shape[1:], K=K, gamma=GAMMA)
                utility = np.mean([estimator.update(f).copy() for f in counts], axis=0)
                given[name] += utility[counts.mean(axis=0) >= 4].tolist()
    assert len(given["paper"]) > 20
    assert max(np.mean(given["paper"]), np.mean(given["paper-real"])) < 0.5 * np.mean(given["level"])
