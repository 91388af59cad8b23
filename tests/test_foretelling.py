"""Foretelling: worked by hand on two layers of four experts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from steps import step

from moespac_nb import MoespacError, Prefill
from moespac_nb.foretelling import CHANCE, LAST_TOKEN, LAST_WINDOW, recall_by_predictor, use_shares
from moespac_nb.step import expert_counts

NOTHING_READ = Prefill(
    np.zeros(0, np.int64), np.zeros((0, 1, 1), np.int16), np.zeros((0, 1, 1), np.float32), 0.0
)


def test_counts_rank_by_use_and_the_last_token_by_recency() -> None:
    first = step(
        0, 0, [[[3]], [[0]], [[3]]], accepted=1
    )  # counts: 3 twice, 0 once; the second 3 was rejected
    second = step(1, 2, [[[3]], [[3]], [[3]]], accepted=0)
    recall = recall_by_predictor(NOTHING_READ, [first, second], size=1)
    assert recall[LAST_WINDOW] == 1.0  # expert 3 served most positions
    assert recall[LAST_TOKEN] == 0.0  # the last committed token used expert 0
    assert recall[CHANCE] == 0.25


def test_what_is_missing_is_filled_by_recency_from_the_prompt_on() -> None:
    prefill = Prefill(
        np.zeros(2, np.int64), np.array([[[1]], [[2]]], np.int16), np.ones((2, 1, 1), np.float32), 0.0
    )
    steps = [step(0, 2, [[[0]]], accepted=0), step(1, 3, [[[2]]], accepted=0)]
    assert recall_by_predictor(prefill, steps, size=2)[LAST_WINDOW] == 1.0  # 0 by count, then 2 before 1
    assert recall_by_predictor(prefill, steps, size=1)[LAST_WINDOW] == 0.0


def test_popularity_names_its_favourites() -> None:
    steps = [step(0, 0, [[[0]]], accepted=0), step(1, 1, [[[3]]], accepted=0)]
    recall = recall_by_predictor(NOTHING_READ, steps, 1, {"always 3": np.array([[0.0, 0.0, 0.0, 1.0]])})
    assert recall["always 3"] == 1.0


@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_recall_lies_in_0_to_1_grows_with_size_and_is_1_for_all_experts(n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def routes() -> list[list[list[int]]]:
        return [[rng.permutation(8)[:2].tolist() for _ in range(3)] for _ in range(4)]

    steps = [step(i, 4 * i, routes(), accepted=int(rng.integers(4)), per_layer=8) for i in range(n)]
    prefill = Prefill(
        np.zeros(0, np.int64), np.zeros((0, 3, 2), np.int16), np.zeros((0, 3, 2), np.float32), 0.0
    )
    small, all_of_them = (recall_by_predictor(prefill, steps, s) for s in (size, 8))
    for name, value in small.items():
        assert 0 <= value <= all_of_them[name] == 1


def test_shares_add_up_to_one_a_layer() -> None:
    shares = use_shares([np.array([[[0, 1]], [[1, 2]]]), np.array([[[1, 3]]])], 4)
    assert shares.tolist() == [[1 / 6, 3 / 6, 1 / 6, 1 / 6]]


def test_counts_are_exact() -> None:
    experts = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 1]]])
    assert expert_counts(experts, 4).tolist() == [[2, 1, 1, 0], [0, 1, 2, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: recall_by_predictor(NOTHING_READ, s[:1], 1), "1 steps"),
        (lambda s: recall_by_predictor(NOTHING_READ, s, 0), "size is 0"),
        (lambda s: recall_by_predictor(NOTHING_READ, s, 5), "1 to 4"),
        (
            lambda s: recall_by_predictor(NOTHING_READ, s, 1, {"odd": np.zeros((2, 4))}),
            r"'odd' has shape \(2, 4\)",
        ),
        (lambda s: use_shares([], 4), "no routing"),
    ],
)
def test_bad_input_says_what_is_accepted(call, message) -> None:
    steps = [step(0, 0, [[[0]]], accepted=0), step(1, 1, [[[3]]], accepted=0)]
    with pytest.raises(MoespacError, match=message):
        call(steps)
