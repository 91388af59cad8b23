"""Information: known values, bounds, what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from moespac_exercises.information import entropy_bits, information_bits, information_of
from moespac_nb import MoespacError


def test_entropy_of_equal_chances_is_their_logarithm() -> None:
    assert entropy_bits(np.full(8, 1 / 8)) == pytest.approx(3)
    assert entropy_bits(np.array([0.0, 1.0])) == 0


def test_information_of_known_tables() -> None:
    assert information_of(np.eye(4) / 4) == pytest.approx(2)
    assert information_of(np.outer([0.2, 0.8], [0.5, 0.3, 0.2])) == pytest.approx(0, abs=1e-12)
    # A binary symmetric channel with a twentieth of errors and equal inputs: 1 - H(0.05).
    assert information_of(np.array([[0.475, 0.025], [0.025, 0.475]])) == pytest.approx(0.7136, abs=1e-4)


def test_samples_tell_as_much_as_their_table() -> None:
    joint = np.array([[3, 0, 1], [1, 2, 5]])
    pairs = np.array([(x, y) for (x, y), n in np.ndenumerate(joint) for _ in range(n)])
    assert information_bits(*pairs.T) == pytest.approx(information_of(joint / joint.sum()))
    assert information_bits(*pairs.T) == pytest.approx(information_bits(*pairs.T[::-1]))


def test_an_estimate_from_few_samples_is_too_high() -> None:
    rng = np.random.default_rng(0)
    few = np.mean([information_bits(*rng.integers(0, 4, (2, 20))) for _ in range(200)])
    many = information_bits(*rng.integers(0, 4, (2, 20_000)))
    assert few > 0.2 > 0.01 > many >= 0


def test_a_function_of_the_count_tells_no_more_than_the_count() -> None:
    rng = np.random.default_rng(1)
    count = rng.binomial(5, 0.3, 3000)
    following = rng.binomial(1, count / 5)
    assert information_bits((count > 0).astype(int), following) <= information_bits(count, following)


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [([1, 2], [1], "of one shape"), ([], [], "not empty"), ([-1], [0], "0 and more")],
)
def test_samples_that_cannot_be_counted(one: list[int], other: list[int], said: str) -> None:
    with pytest.raises(MoespacError, match=said):
        information_bits(np.array(one), np.array(other))
