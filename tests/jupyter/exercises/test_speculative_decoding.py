"""Exercises of notebook 02: right answers pass, and each common mistake is shown its smallest case."""

from __future__ import annotations

from typing import Any

import numpy as np

from moespac_exercises.checking import check
from moespac_exercises.lessons.speculative_decoding import (
    LONGEST,
    ROUND,
    leftover,
    sampled,
    speed_up,
    tokens_a_round,
)
from moespac_nb.trace.cache_bounds import lru_hits
from tests.helpers.jupyter.lessons import answer_tests, dense_traces

READ = list(sampled().rounds(4))[ROUND]
AT = READ.accepted  # the rejected token
P, Q = float(READ.target_probs[AT]), float(READ.draft_probs[AT])

RIGHT: dict[str, Any] = {
    "02.2": P / Q,
    "02.1": lambda p, q, u: u < p / q,
    "02.3": leftover,
    "02.4": tokens_a_round,
    "02.5": lambda alpha, cost: max(range(LONGEST + 1), key=lambda gamma: speed_up(alpha, gamma, cost)),
}


def _from(p: list[float], q: list[float], more: bool) -> np.ndarray:
    """What is left over, and a little of each token that was drafted more often than wanted, or as often."""
    enough = np.greater(q, p) if more else np.equal(q, p)
    return leftover(p, q) + 0.1 * enough


WRONG = [
    ("02.1", lambda p, q, u: p > q, "p = 0.1, q = 0.1, u = 0.05"),
    ("02.1", lambda p, q, u: u < p, "it returned False. The target likes this token at least as much"),
    ("02.1", lambda p, q, u: p >= q, "it returned False. The draft proposes this token too often"),
    ("02.1", lambda p, q, u: u < q / p if p else True, "p = 0.0, q = 0.1, u = 0.05 it returned True"),
    ("02.1", lambda p, q, u: min(1, p / q), "True or False is asked for"),
    ("02.2", Q / P, "A probability lies between 0 and 1"),
    ("02.2", P, "The rule looks at both"),
    ("02.2", Q, "The rule looks at both"),
    ("02.2", float(READ.uniforms[AT]), "is the number that was drawn"),
    ("02.2", 1.0, "In what share of the cases"),
    ("02.3", lambda p, q: p, "has come often enough"),
    ("02.3", lambda p, q: np.abs(np.subtract(p, q)), "has come often enough"),
    ("02.3", lambda p, q: _from(p, q, more=True), "which is more often than the target wants it, "),
    ("02.3", lambda p, q: _from(p, q, more=False), "which is as often as the target wants it, "),
    ("02.3", lambda p, q: np.maximum(np.subtract(p, q), 0) / 2, "which adds up to"),
    ("02.3", lambda p, q: np.subtract(p, q), "No probability is negative"),
    ("02.4", lambda alpha, gamma: 1 + alpha * gamma, "counts only if those before it were kept"),
    ("02.4", lambda alpha, gamma: (1 - alpha ** (gamma + 1)) / (1 - alpha), "ZeroDivisionError"),
    ("02.4", lambda alpha, gamma: alpha * gamma, "Without a draft, a round brings one token"),
    ("02.5", lambda alpha, cost: LONGEST, "A shorter draft brings more"),
    ("02.5", lambda alpha, cost: 0, "A longer draft brings more"),
    ("02.5", lambda alpha, cost: 9, "a whole number from 0 to 8"),
]
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_a_case_is_small() -> None:
    assert "α = 0.1 and γ = 2" in check("02.4", lambda alpha, gamma: 1 + alpha * gamma).sentence
    p, q = check("02.3", lambda p, q: p).case
    assert len(p) == len(q) == 2


def test_the_round_that_is_read_has_one_rejection() -> None:
    assert 0 < READ.accepted < READ.gamma
    digits = round(P, 2) / round(Q, 2)  # as a reader sees them, at worst
    assert check("02.2", digits).state == check("02.2", round(P / Q, 2)).state == "right"


def test_what_the_notebook_says_in_words() -> None:
    """The longer the draft, the more experts each token of text needs, and the more a cache of 16 lacks."""
    needed, lacking = [], []
    for gamma in (0, 1, 2, 4, 8):
        texts = [list(trace.rounds(gamma)) for trace in dense_traces().values()]
        grown = sum(len(step.emitted) for rounds in texts for step in rounds)
        used = [np.stack([step.counts > 0 for step in rounds]) for rounds in texts]
        needed.append(sum(each.sum() for each in used) / grown)
        lacking.append(sum(each.sum() - lru_hits(each, slots=16).sum() for each in used) / grown)
    assert needed == sorted(needed)
    assert lacking == sorted(lacking)
