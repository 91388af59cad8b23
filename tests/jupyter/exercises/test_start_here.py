"""Notebook 00's exercises: the solutions are right, and typical mistakes are told what they are, no more."""

from __future__ import annotations

from operator import eq
from typing import Any

import numpy as np

from moespac_exercises.checking import check
from moespac_exercises.lessons.start_here import GAMMA, LAYER, ROUND, recorded
from moespac_nb.estimator.evaluation import recall_by_predictor
from moespac_nb.trace.locality import expert_usage
from tests.helpers.jupyter.lessons import Wrong, answer_tests, dense_traces

ROUNDS = list(recorded().rounds(GAMMA))
HERE, NEXT = ROUNDS[ROUND : ROUND + 2]


def accepted_length(drafted: list[int], choices: list[int]) -> int:
    for n, token in enumerate(drafted):
        if token != choices[n]:
            return n
    return len(drafted)


def askers(layer: int) -> list[int]:
    busiest = int(HERE.counts[layer].argmax())
    return [n for n, experts in enumerate(HERE.experts[:, layer]) if busiest in experts]


NAMED, NEEDED = (set(np.flatnonzero(step.counts[LAYER]).tolist()) for step in (HERE, NEXT))
RIGHT: dict[str, Any] = {
    "00.1": [sum(step.accepted for step in ROUNDS[: ROUND + 1]), ROUND + 1],
    "00.2": accepted_length,
    "00.3": askers(LAYER),
    "00.4": len(NAMED & NEEDED) / len(NEEDED),
}


def test_the_round_that_is_asked_about_has_something_to_ask() -> None:
    assert 0 < HERE.accepted < HERE.gamma
    assert any(step.accepted == 0 for step in ROUNDS[:ROUND])
    assert 1 < HERE.counts[LAYER].max() < GAMMA + 1
    assert len(NAMED) != len(NEEDED)
    assert 0 < len(NAMED & NEEDED) < len(NEEDED)


WRONG: dict[str, Wrong] = {
    "drafted, not accepted": ("00.1", [GAMMA * (ROUND + 1), ROUND + 1], "were drafted"),
    "no token of the target's": ("00.1", [RIGHT["00.1"][0], 0], "not drafted"),
    "one round too few": ("00.1", [sum(step.accepted for step in ROUNDS[:ROUND]), ROUND], "counted from 0"),
    "every match counts": ("00.2", lambda d, c: sum(map(eq, d, c)), "before the first place"),
    "the target's own as well": ("00.2", lambda d, c: accepted_length(d, c) + 1, "returned"),
    "all or nothing": ("00.2", lambda d, c: len(d) if d == c[:-1] else 0, "returned 0"),
    "one place too far": (
        "00.2",
        lambda d, c: next(n for n, token in enumerate(c) if d[n] != token),
        "IndexError",
    ),
    "counted from 1": ("00.3", [n + 1 for n in RIGHT["00.3"]], "position|busiest"),
    "another layer": (
        "00.3",
        next(askers(layer) for layer in range(8) if askers(layer) != RIGHT["00.3"]),
        "Asked is layer",
    ),
    "nobody": ("00.3", [], "busiest"),
    "experts instead of positions": ("00.3", [40, 41], "no position"),
    "precision": ("00.4", len(NAMED & NEEDED) / len(NAMED), "precision"),
    "hits": ("00.4", len(NAMED & NEEDED), "a share"),
    "per cent": ("00.4", 100 * len(NAMED & NEEDED) / len(NEEDED), "not between"),
    "chance": ("00.4", 0.25, "how many"),
}
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_of_a_wrong_rule_the_simplest_round_is_shown() -> None:
    found = check("00.2", lambda drafted, choices: 0)
    view = found.view
    assert view is not None
    assert view["gamma"] == 1
    step = list(view["trace"].rounds(1))[view["step"]]
    assert step.accepted == 1


def test_what_the_notebook_says_of_predicting_holds() -> None:
    """Sampled: counts beat the last token in most texts, are level with popularity, name about half."""
    ahead, means = [], []
    for domain, trace in dense_traces().items():
        usage = expert_usage(dense_traces("tune")[domain])
        popularity = {"popular": usage / usage.sum(axis=1, keepdims=True)}
        texts: list[tuple[Any, list[Any]]] = []
        for step in trace.rounds(4):
            if step.index == 0:
                texts.append((trace.prefill(len(texts)), []))
            texts[-1][1].append(step)
        recalls = [recall_by_predictor(*text, 16, popularity) for text in texts if len(text[1]) > 1]
        values = np.array([list(recall.values())[:3] for recall in recalls])
        ahead += (values[:, [0]] > values[:, 1:]).tolist()
        means.append(values.mean(axis=0))
    counts, last, popular = np.mean(means, axis=0)
    over_last, over_popular = np.mean(ahead, axis=0)
    assert over_last > 0.75
    assert abs(counts - popular) < 0.04
    assert 0.3 < over_popular < 0.7
    assert 0.4 < max(counts, popular) < 0.6
    assert counts > last
