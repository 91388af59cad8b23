"""What a replay's slots went through: told without changing the replay, whole, and true at each moment."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb.engine.slots import EMPTY
from moespac_nb.policies import POLICIES, compose_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.slot_history import CPU, LATE, LOADED, READY, SlotHistory, slot_history
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.trace import Trace
from tools.support.synthetic_trace import made_up

SHAPE = MoEShape(layers=4, experts=16, top_k=2)
TRACE = made_up(SHAPE, gamma=3, steps=20)
TABLE = compose_policy("table", sensor="token-table", rule="ema", admission=2, miss="cheaper")
EVERY = {**POLICIES, "table": TABLE}
TEXTS = [made_up(SHAPE, gamma=3, steps=10, seed=seed) for seed in (0, 1)]
TWO_TEXTS = concatenate(TEXTS)


@pytest.fixture(scope="module", params=[False, True], ids=["one text", "two, each with empty slots"])
def cold(request: Any) -> bool:
    return request.param


@pytest.fixture(scope="module", params=EVERY)
def seen(request: Any, cold: bool) -> SlotHistory:
    return history(TWO_TEXTS if cold else TRACE, request.param, cold)


def history(trace: Trace, policy: str, cold: bool = False) -> SlotHistory:
    return slot_history(trace, EVERY[policy], "20%", expert_usage=TRACE, cold=cold)


def test_the_replay_is_the_ordinary_one(seen: Any, cold: bool) -> None:
    trace, policy = TWO_TEXTS if cold else TRACE, EVERY[seen.result.policy]
    counters = replay(trace, policy, "20%", expert_usage=TRACE, cold=cold).counters
    assert seen.result.counters == counters
    served = [int((seen.served == how).sum()) for how in (READY, LATE, LOADED, CPU)]
    assert served[0] == counters.ready
    assert served[2] == counters.loaded
    assert sum(served) == counters.requested
    started = sum(not move.came for move in seen.moves)
    copied_bytes = counters.bytes + seen.result.prefill_bytes
    assert started * counters.bytes == copied_bytes * counters.copies  # bytes are copies of one size


def test_each_requested_expert_is_served_once_and_no_other(seen: Any) -> None:
    assert np.array_equal(seen.served > 0, seen.counts > 0)
    assert seen.counts.sum() == 20 * 4 * 2 * 4  # windows, positions, top k, layers
    assert seen.served.shape == seen.wanted.shape == seen.scores.shape == (20, 4, 16)


def test_the_slots_of_each_moment_are_those_that_its_layer_read(seen: Any) -> None:
    for window in range(0, 20, 3):
        for layer in range(4):
            owner, loading = seen.owners(window, 1 + layer)
            held = owner[owner != EMPTY]
            assert len(set(held.tolist())) == len(held)
            here = set(owner[~loading].tolist())
            ready = np.flatnonzero(seen.served[window, layer] == READY) + 16 * layer
            assert set(ready.tolist()) <= here
            on_cpu = np.flatnonzero(seen.served[window, layer] == CPU) + 16 * layer
            assert not set(on_cpu.tolist()) & here


def test_what_is_resident_as_a_window_begins_is_in_the_slots(seen: Any) -> None:
    for window in range(seen.windows):
        owner, loading = seen.owners(window)
        held = np.zeros(seen.counts[0].size, bool)
        held[owner[(owner != EMPTY) & ~loading]] = True
        assert np.array_equal(seen.resident[window].ravel(), held)
    assert seen.resident.any() == (seen.slots > 0)


def test_a_copy_ahead_takes_a_slot_only_from_a_lower_score(seen: Any) -> None:
    ahead = [move for move in seen.moves if not move.came and move.old != EMPTY and not move.demand]
    assert all(move.score > move.old_score for move in ahead)
    if seen.result.policy.startswith(("recency", "spac")):
        assert ahead


def test_thresholds_are_kept_of_policies_that_have_them(seen: Any, cold: bool) -> None:
    if not seen.result.policy.startswith(("spac", "table")):
        assert seen.tau is None
        return
    assert seen.tau.shape == (20, 4)
    hot = seen.scores >= seen.tau[:, :, None]
    if seen.result.policy == "table":
        assert (seen.tau == 2).all()
    else:  # known once a window: the order in force is the one it ended with
        anew = [0, 10] if cold else [0]
        assert np.array_equal(np.delete(seen.wanted, anew, 0), np.delete(hot, anew, 0))


def test_why_an_expert_had_to_go_is_its_last_eviction() -> None:
    seen = history(TRACE, "recency")
    evictions = [move for move in seen.moves if move.old != EMPTY]
    move = evictions[len(evictions) // 2]
    why = seen.why(move.window, *divmod(move.old, 16))
    assert why in [other for other in evictions if other.old == move.old]
    assert why.window <= move.window
    never = min(set(range(64)) - {move.old for move in evictions})
    assert seen.why(19, *divmod(never, 16)) is None


@pytest.mark.parametrize("name", EVERY)
def test_a_text_that_starts_with_empty_slots_is_as_if_alone(name: str) -> None:
    both, alone = history(TWO_TEXTS, name, cold=True), history(TEXTS[1], name)
    for part in ("served", "wanted", "scores", "resident"):
        assert np.array_equal(getattr(both, part)[10:], getattr(alone, part))


def test_a_restart_empties_slots_for_no_other_expert() -> None:
    seen = history(TWO_TEXTS, "recency", cold=True)
    emptied = [move for move in seen.moves if move.old != EMPTY and move.came]
    assert {(move.window, move.moment, move.key, move.demand) for move in emptied} == {(10, 0, EMPTY, False)}
    before, _ = seen.owners(9, 4)
    assert sorted(move.old for move in emptied) == sorted(before[before != EMPTY].tolist())
    for move in emptied:
        why = seen.why(10, *divmod(move.old, 16))
        assert why is None or why.key != EMPTY
