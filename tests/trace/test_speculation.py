"""Windows made of routing alone: the accepted prefix is the text's own, the rest comes from its past."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moespac_nb.trace.trace import Trace
from moespac_nb.trace.transforms.speculation import REJECTED, accepted_lengths, speculate
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.traces.steps import text
from tests.helpers.traces.strategies import ANY_TRACE, one_text

LONG = text([[[0]]] * 3, [([[[position % 4]]], 0) for position in range(40)])


def committed_rows(trace: Trace) -> np.ndarray:
    """The routing of every token of the text, in order."""
    starts = trace.starts["verified"][:-1]
    return np.concatenate([trace.experts[s : s + n] for s, n in zip(starts, trace.committed, strict=True)])


@given(
    trace=ANY_TRACE,
    gamma=st.integers(0, 3),
    acceptance=st.floats(0, 1) | st.lists(st.integers(0, 5), min_size=1),
    rejected=st.sampled_from(REJECTED),
    seed=st.integers(0, 99),
)
def test_the_text_and_its_routing_stay(trace, gamma, acceptance, rejected, seed) -> None:
    assume(gamma < np.add.reduceat(trace.committed, trace.starts["steps"][:-1]).max())
    made = speculate(trace, gamma, acceptance, rejected, seed)
    assert np.array_equal(made.committed_ids, trace.committed_ids)
    assert np.array_equal(committed_rows(made), committed_rows(trace))
    assert np.array_equal(made.prompt_experts, trace.prompt_experts)
    assert (made.gamma <= gamma).all()
    assert rejected == "none" or (made.gamma == gamma).all()
    assert made == speculate(trace, gamma, acceptance, rejected, seed)


@given(
    changed=st.integers(1, 39),
    gamma=st.integers(1, 8),
    rejected=st.sampled_from(REJECTED),
    seed=st.integers(0, 9),
)
def test_counts_tell_nothing_beyond_the_accepted_prefix(changed, gamma, rejected, seed) -> None:
    """Whatever the text routes from some token on, windows that end before it are the same."""
    other = LONG.experts.copy()
    other[changed:] = (other[changed:] + 1) % 4
    before = speculate(LONG, gamma, 0.6, rejected, seed)
    after = speculate(replace(LONG, experts=other), gamma, 0.6, rejected, seed)
    assert before.accepted.tolist() == after.accepted.tolist()
    ends = np.cumsum(before.committed)
    for window, end in enumerate(ends):
        if end <= changed:
            assert before[window].experts.tolist() == after[window].experts.tolist()


def test_rejected_positions_are_other_earlier_ones() -> None:
    """By hand: each position has an expert of its own, so that a window says which positions it read."""
    own = text([[[0]]], [([[[1 + position]]], 0) for position in range(30)], per_layer=32)
    for rejected in ("past", "recent"):
        made = speculate(own, 4, 0.5, rejected, seed=3)
        opened = 1
        for step in made:
            read = step.experts[:, 0, 0].tolist()
            assert read[: step.accepted + 1] == list(range(opened, opened + step.accepted + 1))
            wrong = read[step.accepted + 1 :]
            assert all(position < opened for position in wrong)
            assert opened < 5 or len(set(wrong)) == len(wrong)
            opened += step.accepted + 1


def test_recent_positions_are_nearer_than_any() -> None:
    own = text([[[0]]], [([[[position]]], 0) for position in range(100)], per_layer=128)
    distance = {}
    for rejected in ("past", "recent"):
        last = speculate(own, 8, [0], rejected)[-1]
        distance[rejected] = np.mean(99 - last.experts[1:, 0, 0])
    assert distance["recent"] < distance["past"] / 2


def test_the_rate_and_the_lengths_are_those_asked_for() -> None:
    rate = speculate(text([[[0]]], [([[[0]]], 0)] * 4000), 1, 0.7, "none")
    assert rate.accepted.mean() == pytest.approx(0.7, abs=0.03)
    assert set(speculate(LONG, 8, [2, 5]).accepted[:-1].tolist()) == {2, 5}
    assert (speculate(LONG, 4, 1.0).accepted[:-1] == 4).all()
    assert (speculate(LONG, 4, 0.0).accepted == 0).all()


def test_lengths_are_those_of_whole_windows() -> None:
    dense = one_text(5, gamma_max=4, steps=12)
    assert accepted_lengths(dense, 4).tolist() == [s.accepted for s in dense.rounds(4) if s.gamma == 4]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gamma": -1}, "gamma is -1"),
        ({"gamma": 40}, "gamma is 40 and the longest text has 40 positions; expected: less"),
        ({"acceptance": 1.5}, "acceptance is 1.5; expected: "),
        ({"acceptance": []}, r"acceptance is \[\]; expected: a rate from 0 to 1, or accepted lengths"),
        ({"acceptance": [0.5]}, "acceptance is .*; expected: a rate"),
        ({"acceptance": [-1]}, "acceptance is .*; expected: a rate"),
        ({"rejected": "pasts"}, "did you mean 'past'"),
    ],
)
def test_bad_input_is_refused(options, message) -> None:
    with pytest.raises(InvalidInputError, match=message):
        speculate(LONG, **options)
    with pytest.raises(InvalidInputError, match="no steps"):
        speculate(LONG[:0])
