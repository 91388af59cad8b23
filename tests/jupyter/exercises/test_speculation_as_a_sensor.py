"""Exercises of notebook 03: right answers pass, and each common mistake is shown its smallest case."""

from __future__ import annotations

from typing import Any

import numpy as np

from moespac_exercises.information import entropy_bits, information_bits, information_of
from moespac_exercises.lessons.speculation_as_a_sensor import THRESHOLD
from moespac_nb.estimator.evaluation import EVIDENCE, evaluate_predictors
from moespac_nb.estimator.sensors import SENSORS, make_sensor
from moespac_nb.trace.locality import distinct_by_chance, distinct_by_gamma
from moespac_nb.trace.step import expert_counts
from moespac_nb.trace.windows import iter_windows, verified_tokens
from tests.helpers.jupyter.lessons import answer_tests, dense_traces


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


WRONG = [
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
]
test_right, test_wrong = answer_tests(RIGHT, WRONG)


# What the notebook's prose says of its figures: to be read again if one of these fails.


def learned(domain: str) -> Any:
    return verified_tokens(dense_traces("tune")[domain])


def test_sensors_stand_as_the_prose_has_them() -> None:
    scores = [
        evaluate_predictors(
            trace, {name: make_sensor(name, trace.geometry, learned(domain)) for name in SENSORS}, 16,
            gamma=4, rules=(EVIDENCE,),
        )
        for domain, trace in dense_traces().items()
    ]  # fmt: skip
    recall = {name: np.mean([of[name, EVIDENCE].recall for of in scores]) for name in SENSORS}
    assert 0.02 < recall["verify-counts"] - recall["recency"] < 0.08
    assert abs(recall["verify-counts"] - recall["last-window"]) < 0.005
    assert abs(recall["committed-counts"] - recall["recency"]) < 0.01
    assert abs(recall["verify-counts"] - recall["popularity"]) < 0.02
    assert recall["token-table"] - recall["verify-counts"] > 0.15
    assert 0.03 < recall["ema-counts"] - recall["verify-counts"] < 0.07
    assert recall["verify-counts"] < recall["frequency"] < recall["ema-counts"]


def test_a_wide_window_tells_and_counting_adds_little() -> None:
    now: dict[str, list[np.ndarray]] = {"first": [], "any": [], "count": []}
    following = []
    for trace in dense_traces().values():
        for text in range(len(trace.texts)):
            steps = [window.step for window in iter_windows(trace, text, 4)]
            counts = np.stack([step.counts for step in steps])
            now["first"].append(np.stack([expert_counts(s.experts[:1], 64) for s in steps])[:-1].ravel())
            now["any"].append((counts[:-1] > 0).astype(int).ravel())
            now["count"].append(counts[:-1].ravel())
            following.append((counts[1:] > 0).astype(int).ravel())
    needed = np.concatenate(following)
    bits = {name: information_bits(np.concatenate(read), needed) for name, read in now.items()}
    assert bits["any"] > 2 * bits["first"]
    assert bits["any"] < bits["count"] < 1.25 * bits["any"]


def test_reuse_is_mostly_chance_and_popularity() -> None:
    recorded = np.mean([distinct_by_gamma(trace)[8] for trace in dense_traces().values()])
    alike = distinct_by_chance(np.full(64, 4 / 64), 9)
    sensors = [make_sensor("popularity", t.geometry, learned(d)) for d, t in dense_traces().items()]
    popular = np.mean([distinct_by_chance(sensor.shares, 9) for sensor in sensors])  # type: ignore[attr-defined]
    assert recorded < popular < alike < 36
    assert popular - recorded < 0.5 * (36 - recorded)


def test_experts_a_token_fall_where_the_draft_is_good() -> None:
    def of_a_token(domain: str) -> float:
        trace = dense_traces()[domain]
        emitted = np.mean([len(step.emitted) for step in trace.rounds(8)])
        return float(distinct_by_gamma(trace)[8] / 4 / emitted)

    assert of_a_token("math") < 1 < min(of_a_token("code"), of_a_token("qa"))
