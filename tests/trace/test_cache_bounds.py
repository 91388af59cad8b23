"""Caches: worked by hand, and held to what must be true of any stream."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError
from moespac_nb.trace.cache_bounds import (
    belady_curve,
    belady_hits,
    hit_rate,
    lru_curve,
    lru_hits,
    one_hot,
)
from moespac_nb.trace.locality import committed_experts, distinct_in_a_row, overlap, overlap_by_layer
from tests.helpers.traces.strategies import GEOMETRY, one_text

POLICIES = (lru_hits, belady_hits)


def stream(*events: list[int], experts: int = 4) -> np.ndarray:
    """One layer's events as (events, 1, experts) bool."""
    used = np.zeros((len(events), 1, experts), bool)
    for event, asked in enumerate(events):
        used[event, 0, asked] = True
    return used


@st.composite
def streams(draw: st.DrawFn, events: int = 30, layers: int = 3, experts: int = 8) -> np.ndarray:
    """Events that ask for any number of experts, some of them for none; popular experts among them."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(0, events)), draw(st.integers(1, layers)), draw(st.integers(1, experts))
    return rng.random(shape) < rng.random(shape[1:]) ** 2


def most_hits(used: np.ndarray, slots: int) -> int:
    """Hits of the best cache there is for one layer, by trying all it could hold after each event."""
    best = {frozenset(): 0}
    for asked in (frozenset(np.flatnonzero(row[0]).tolist()) for row in used):
        after: dict[frozenset, int] = {}
        for held, hits in best.items():
            room = held | asked
            for kept in combinations(sorted(room), min(slots, len(room))):
                key = frozenset(kept)
                after[key] = max(after.get(key, 0), hits + len(held & asked))
        best = after
    return max(best.values())


def test_the_least_recently_used_goes_first() -> None:
    used = stream([0], [1], [2], [0], [2])
    assert lru_hits(used, slots=2).ravel().tolist() == [0, 0, 0, 0, 1]  # 2 pushed out 0, 0 pushed out 1
    assert lru_hits(used, slots=3).ravel().tolist() == [0, 0, 0, 1, 1]


def test_the_best_cache_drops_what_is_needed_latest_even_if_just_used() -> None:
    used = stream([0], [1], [2], [0], [2])
    assert belady_hits(used, slots=2).ravel().tolist() == [0, 0, 0, 1, 1]  # 1, just used, is needed no more


def test_an_event_brings_in_all_it_asks_for_and_is_trimmed_afterwards() -> None:
    used = stream([0, 1, 2], [0, 1, 2])
    assert lru_hits(used, slots=2).ravel().tolist() == [0, 2]
    assert hit_rate(used, lru_hits(used, slots=2)) == 2 / 6


def test_a_cache_of_top_k_slots_hits_what_neighbours_share() -> None:
    trace = one_text(seed=3, steps=12)
    used = one_hot(committed_experts(trace, 0), GEOMETRY.experts)
    hits = lru_hits(used, GEOMETRY.top_k)
    assert hits[1:].sum() / used[1:].sum() == pytest.approx(overlap(trace)[0])


def test_overlap_is_told_by_layer() -> None:
    texts = [np.array([[[0, 1], [0, 1]], [[1, 2], [2, 3]], [[1, 2], [2, 3]]]), np.array([[[0, 1], [2, 3]]])]
    in_order, shuffled = overlap_by_layer(texts, 4)
    assert in_order.tolist() == [3 / 4, 2 / 4]
    assert shuffled.tolist() == [(6 + 2) / 12, (2 + 2) / 12]
    assert overlap_by_layer(texts[1:], 4) is None


def test_tokens_in_a_row_ask_for_what_any_of_them_asks_for() -> None:
    texts = [np.array([[[0, 1]], [[1, 2]], [[1, 3]]]), np.array([[[0, 1]]])]
    assert distinct_in_a_row(texts, 4, longest=13) == [2.0, 3.0, 4.0]


@given(streams(), st.integers(0, 9))
def test_no_policy_beats_belady_and_none_hits_what_was_never_asked(used: np.ndarray, slots: int) -> None:
    lru, best = (policy(used, slots) for policy in POLICIES)
    assert lru.shape == best.shape == used.shape[:2]
    assert (lru.sum(axis=0) <= best.sum(axis=0)).all()
    for hits in (lru, best):
        assert (hits >= 0).all()
        assert (hits <= np.minimum(used.sum(axis=-1), slots)).all()


@given(streams())
def test_with_room_for_all_only_the_first_use_misses(used: np.ndarray) -> None:
    for policy in POLICIES:
        hits = policy(used, used.shape[-1])
        assert (used.sum(axis=(0, 2)) - hits.sum(axis=0)).tolist() == used.any(axis=0).sum(axis=-1).tolist()


@given(streams(), st.integers(0, 8))
def test_more_slots_never_hit_less(used: np.ndarray, slots: int) -> None:
    assert (lru_hits(used, slots) <= lru_hits(used, slots + 1)).all()
    assert belady_hits(used, slots).sum() <= belady_hits(used, slots + 1).sum()


@given(streams())
def test_a_curve_has_the_hits_of_every_size(used: np.ndarray) -> None:
    for curve, hits in ((lru_curve, lru_hits), (belady_curve, belady_hits)):
        sizes = range(used.shape[-1] + 1)
        assert curve(used).T.tolist() == [hits(used, slots).sum(axis=0).tolist() for slots in sizes]


@given(streams())
def test_layers_do_not_know_of_each_other(used: np.ndarray) -> None:
    for policy in POLICIES:
        alone = [policy(used[:, [layer]], 2) for layer in range(used.shape[1])]
        assert np.array_equal(policy(used, 2), np.concatenate(alone, axis=1))


@given(streams(events=7, layers=1, experts=4), st.integers(0, 4))
@settings(max_examples=60)
def test_belady_is_as_good_as_trying_everything(used: np.ndarray, slots: int) -> None:
    assert belady_hits(used, slots).sum() == most_hits(used, slots)


def test_nothing_asked_has_no_rate() -> None:
    assert hit_rate(stream([], []), lru_hits(stream([], []), 2)) is None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: lru_hits(stream([0]), -1), "slots is -1; expected: a whole number from 0"),
        (lambda: belady_hits(stream([0]), 1.5), r"slots is 1\.5"),
        (lambda: lru_curve(np.zeros((2, 1, 4), int)), "array of int64; expected: bool"),
        (lambda: belady_curve(np.zeros((2, 1, 4), int)), "array of int64; expected: bool"),
        (lambda: lru_hits(np.zeros((2, 1, 4), int), 1), "array of int64; expected: bool, see one_hot"),
    ],
)
def test_bad_input_says_what_is_accepted(call, message) -> None:
    with pytest.raises(MoespacError, match=message):
        call()
