"""The engine's rules, one by one, on a device whose time is a number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest

from moespac_nb.engine.devices import VirtualDevice
from moespac_nb.engine.engine import Engine
from moespac_nb.engine.placement import LayerDispatch
from moespac_nb.engine.slots import FREE, LOADING, PINNED, READY
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS


def make_engine(slots: int, layers: int = 1, experts: int = 4, in_flight: int = 1, fails=None) -> Engine:
    return Engine(VirtualDevice(fails), layers, experts, slots, COSTS, None, in_flight)


def first_fails(_lane: str, label: str) -> bool:
    return label.endswith("E0")


def want(engine: Engine, *scores: float, experts: Sequence[int] | None = None) -> None:
    """Of one layer: these scores, and copies of these experts, by default of all whose score is above 0."""
    wanted = np.array(scores) > 0 if experts is None else np.isin(range(len(scores)), experts)
    engine.set_priorities(np.array([scores], float), wanted[None])


def run_dry(engine: Engine) -> None:
    """Pump until the link has nothing more to do."""
    before = -1
    while engine.counters.copies != before:
        before = engine.counters.copies
        engine.drain()
        engine.pump()


def fill(engine: Engine, *scores: float, experts: Sequence[int] | None = None) -> None:
    want(engine, *scores, experts=experts)
    run_dry(engine)


def copied(engine: Engine) -> list[str]:
    return [op.label.removeprefix("copy ") for op in engine.device.timeline() if op.lane == "link"]


def resident(engine: Engine, layer: int = 0) -> list[int]:
    return sorted(engine.slots.where[layer])


def awaited(dispatch: LayerDispatch) -> list[int]:
    return [pending.expert for pending in dispatch.awaited]


def test_best_requests_first_up_to_in_flight() -> None:
    engine = make_engine(slots=3, in_flight=2)
    want(engine, 1, 3, 2, 0)
    for _ in range(2):
        engine.pump()
        assert copied(engine) == ["L0 E1", "L0 E2"]
    engine.device.charge(2.0)  # the first has come
    engine.pump()
    assert copied(engine)[2:] == ["L0 E0"]
    assert engine.slots.state == [READY, LOADING, LOADING]


def test_of_equal_scores_the_sooner_layer_is_copied_first() -> None:
    engine = make_engine(slots=9, layers=3, experts=3)
    engine.set_priorities(np.ones((3, 3)), np.eye(3, dtype=bool))
    engine.release(engine.layer(0, [], []))  # layer 0 has passed: it comes again last
    run_dry(engine)
    assert copied(engine) == ["L1 E1", "L2 E2", "L0 E0"]


def test_of_equal_scores_the_last_layer_makes_room() -> None:
    engine = make_engine(slots=3, layers=3, experts=3)
    engine.set_priorities(np.ones((3, 3)), np.eye(3, dtype=bool))
    run_dry(engine)
    for layer in (0, 1):
        engine.release(engine.layer(layer, [layer], [1]))
    scores = np.ones((3, 3))
    scores[2, 0] = 2
    engine.set_priorities(scores, scores > 1)
    run_dry(engine)
    assert [resident(engine, layer) for layer in range(3)] == [[0], [], [0, 2]]  # layer 1 has just passed


def test_a_request_evicts_the_weakest_it_beats_and_no_equal() -> None:
    engine = make_engine(slots=2)
    fill(engine, 1, 2, 0, 0)
    fill(engine, 1, 2, 1, 0, experts=[2])
    assert resident(engine) == [0, 1]
    fill(engine, 1, 2, 1.5, 0, experts=[2])
    assert resident(engine) == [1, 2]
    assert engine.counters.evictions == 1
    assert engine.counters.wasted_bytes == 100  # expert 0 was never used


@pytest.mark.parametrize("prefetch", [[False, False, False, True], None])
def test_a_plan_drops_the_requests_before_it(prefetch: list[bool] | None) -> None:
    engine = make_engine(slots=4)
    want(engine, 4, 3, 2, 1)
    engine.pump()
    engine.set_priorities(np.array([[4.0, 3, 2, 9]]), None if prefetch is None else np.array([prefetch]))
    run_dry(engine)
    assert copied(engine) == ["L0 E0"] + (["L0 E3"] if prefetch else [])


def test_a_pinned_resident_stays_until_its_release() -> None:
    engine = make_engine(slots=1)
    fill(engine, 1, 0, 0, 0)
    dispatch = engine.layer(0, [0], [1])
    assert (dispatch.ready, engine.slots.state) == ([0], [PINNED])
    want(engine, 1, 9, 0, 0, experts=[1])
    engine.pump()
    assert copied(engine) == ["L0 E0"]
    engine.release(dispatch)
    engine.pump()
    assert copied(engine) == ["L0 E0", "L0 E1"]
    assert engine.slots.generation == [2]
    assert engine.counters.wasted_bytes == 0  # it was used


def test_an_awaited_copy_is_pinned_once_it_has_come() -> None:
    engine = make_engine(slots=1)
    dispatch = engine.layer(0, [0], [1], miss="load")
    want(engine, 0, 9, 0, 0)
    engine.device.charge(2.0)
    engine.pump()
    assert (engine.slots.state, copied(engine)) == ([PINNED], ["L0 E0"])
    engine.release(dispatch)
    engine.pump()
    assert copied(engine) == ["L0 E0", "L0 E1"]


def test_a_copy_is_awaited_only_if_it_comes_before_the_cpu_is_done() -> None:
    engine = make_engine(slots=3, in_flight=3)
    want(engine, 3, 2, 1, 0)
    engine.pump()  # due at 2, 4 and 6 s; the CPU takes 4 s for one expert
    dispatch = engine.layer(0, [0, 1, 2], [1, 1, 1])
    assert (awaited(dispatch), dispatch.cpu, dispatch.cpu_s) == ([0, 1], [2], 4.0)
    assert (engine.counters.late, engine.counters.miss) == (3, 0)
    assert all(engine.wait_for(pending) for pending in dispatch.awaited)
    engine.release(dispatch)
    assert engine.slots.state[:2] == [READY, READY]


def test_late_experts_fill_the_cpu_lane() -> None:
    engine = make_engine(slots=4, in_flight=4)
    want(engine, 4, 3, 2, 1)
    engine.pump()  # due at 2, 4, 6 and 8 s
    dispatch = engine.layer(0, [2, 3], [1, 1])
    # 2 is through at 4 s; 3 would be at 8, and its copy is here by then.
    assert (dispatch.cpu, awaited(dispatch)) == ([2], [3])


def test_awaited_experts_compute_as_they_come() -> None:
    engine = make_engine(slots=2, in_flight=2)
    want(engine, 1, 2, 0, 0)
    engine.pump()
    assert awaited(engine.layer(0, [0, 1], [1, 1])) == [1, 0]


@pytest.mark.parametrize(
    ("slots", "miss", "on_cpu", "loaded"),
    [
        (2, "cpu", [0, 1], []),
        (2, "load", [], [0, 1]),
        (1, "cheaper", [1], [0]),  # to copy and compute takes 2.5 s, the CPU 4 s; 1 finds no room
        (0, "load", [0, 1], []),
    ],
)
def test_a_miss_goes_where_the_policy_says(slots: int, miss, on_cpu: list[int], loaded: list[int]) -> None:
    dispatch = make_engine(slots).layer(0, [0, 1], [2, 1], miss=miss)
    assert (dispatch.cpu, awaited(dispatch)) == (on_cpu, loaded)


@pytest.mark.parametrize(("cpu_s", "on_cpu"), [(2.25, True), (2.5, True), (2.75, False)])
def test_cheaper_counts_copying_and_computing(cpu_s: float, on_cpu: bool) -> None:
    costs = replace(COSTS, cpu_bytes_per_s=COSTS.expert_bytes / cpu_s)  # by the link it takes 2 + 0.5 s
    dispatch = Engine(VirtualDevice(), 1, 4, 1, costs).layer(0, [0], [1], miss="cheaper")
    assert bool(dispatch.cpu) is on_cpu


def test_a_layer_may_need_more_experts_than_slots() -> None:
    engine = make_engine(slots=2, experts=5)
    todo, counts, served = [0, 1, 2, 3, 4], [1, 1, 1, 1, 1], []
    while todo:
        dispatch = engine.layer(0, todo, counts, miss="load")
        assert len(dispatch.awaited) <= 2
        assert all(engine.wait_for(pending) for pending in dispatch.awaited)
        served += awaited(dispatch)
        engine.release(dispatch)
        todo, counts = dispatch.deferred
    assert served == [0, 1, 2, 3, 4]
    assert (engine.counters.miss, engine.counters.loaded, engine.counters.pairs) == (5, 5, 5)


def test_loading_waits_for_the_copy_in_the_only_slot() -> None:
    engine = make_engine(slots=1)
    want(engine, 0, 0, 0, 1)
    engine.pump()
    dispatch = engine.layer(0, [0], [1], miss="load")
    assert awaited(dispatch) == [0]
    assert engine.device.now() == 2.0  # when the other had come, and could be evicted
    assert engine.wait_for(dispatch.awaited[0])
    assert engine.device.now() == 4.0


def test_a_failed_copy_frees_its_slot_and_goes_to_the_cpu() -> None:
    engine = make_engine(slots=2, fails=first_fails)
    dispatch = engine.layer(0, [0, 1], [3, 1], miss="load")
    assert [engine.wait_for(pending) for pending in dispatch.awaited] == [False, True]
    engine.release(dispatch)
    assert sorted(engine.slots.state) == [FREE, READY]
    counters = engine.counters
    assert (counters.failed_copies, counters.fallbacks, counters.cpu_pairs) == (1, 1, 3)
    assert counters.wasted_bytes == 100


def test_a_failed_copy_is_not_mistaken_for_its_slots_next_owner() -> None:
    engine = make_engine(slots=1, fails=first_fails)
    dispatch = engine.layer(0, [0], [1], miss="load")
    engine.device.charge(2.0)
    want(engine, 0, 1, 0, 0)
    engine.pump()  # the slot is given to expert 1
    assert engine.slots.where[0] == {1: 0}
    assert not engine.wait_for(dispatch.awaited[0])
    engine.release(dispatch)
    engine.drain()
    assert engine.slots.state == [READY]


def test_a_smaller_budget_evicts_the_weakest() -> None:
    engine = make_engine(slots=4, in_flight=4)
    fill(engine, 4, 3, 2, 1)
    assert engine.resize(3) == []
    assert resident(engine) == [0, 1, 2]
    dispatch = engine.layer(0, [1, 2], [1, 1])
    with pytest.raises(MoespacError, match="a layer has pinned slots; expected: resize once it is released"):
        engine.resize(1)
    engine.release(dispatch)
    assert engine.resize(1) == []
    assert (resident(engine), engine.slots.count()) == ([0], 1)
    engine.resize(2)
    fill(engine, 4, 3, 2, 1, experts=[2])
    assert (resident(engine), engine.slots.state) == ([0, 2], [READY, READY])


def test_a_budget_may_shrink_to_nothing_and_grow_again() -> None:
    engine = make_engine(slots=2, in_flight=2)
    want(engine, 4, 3, 2, 1)
    engine.pump()
    engine.resize(0)  # two copies are under way, and are waited for
    assert (engine.device.now(), engine.slots.where, engine.slots.state) == (4.0, [{}], [])
    engine.resize(3)
    run_dry(engine)
    assert (engine.slots.count(), resident(engine)) == (3, [2, 3])  # the requests that were left
    with pytest.raises(MoespacError, match="slots is -1"):
        engine.resize(-1)


def test_what_moves_to_another_slot_stays_used_or_unused() -> None:
    engine = make_engine(slots=4, in_flight=4)
    fill(engine, 1, 2, 3, 4, experts=[0, 1])
    fill(engine, 1, 2, 3, 4, experts=[2, 3])
    engine.release(engine.layer(0, [2], [1]))
    assert engine.resize(2) == [(2, 0), (3, 1)]  # experts 0 and 1 go, and were never used
    assert engine.slots.where == [{3: 0, 2: 1}]
    assert engine.counters.wasted_bytes == 200
    engine.resize(0)
    assert engine.counters.wasted_bytes == 300  # expert 3's copy, not that of 2


def test_scores_that_rise_with_each_use_are_lru() -> None:
    engine = make_engine(slots=2)
    for clock, expert in enumerate([0, 1, 0, 2], start=1):
        dispatch = engine.layer(0, [expert], [1], miss="load")
        for pending in dispatch.awaited:
            engine.wait_for(pending)
        engine.release(dispatch)
        engine.update_score(0, [expert], float(clock))
        engine.begin_pass()
    assert resident(engine) == [0, 2]


def test_abort_unpins_and_drops_requests_and_reset_empties() -> None:
    engine = make_engine(slots=3, in_flight=3)
    fill(engine, 3, 2, 0, 0)
    engine.layer(0, [0, 1, 2], [1, 1, 1], miss="load")
    engine.abort()
    assert PINNED not in engine.slots.state
    engine.drain()
    assert engine.slots.state == [READY] * 3
    want(engine, 0, 0, 0, 9)
    engine.abort()
    run_dry(engine)
    assert resident(engine) == [0, 1, 2]
    engine.reset()
    assert (engine.slots.state, engine.slots.where) == ([FREE] * 3, [{}])
    for expert in (3, 2, 1, 0):
        dispatch = engine.layer(0, [expert], [1], miss="load")
        assert engine.wait_for(dispatch.awaited[0])
        engine.release(dispatch)
    assert resident(engine) == [0, 1, 2]  # all have the same score again: the first slot's had to go


@pytest.mark.parametrize("wrong", [{"layers": 0}, {"experts": 0}, {"slots": -1}, {"in_flight": 0}])
def test_sizes_that_make_no_engine_are_refused(wrong: dict[str, int]) -> None:
    [(name, value)] = wrong.items()
    with pytest.raises(MoespacError, match=f"{name} is {value}"):
        make_engine(**({"slots": 1} | wrong))


@pytest.mark.parametrize(
    ("scores", "prefetch", "message"),
    [
        (np.zeros((2, 4)), None, "scores has shape"),
        (np.zeros((1, 4)), np.zeros((4, 1), bool), "prefetch has shape"),
        (np.array([[0, np.nan, 0, 0]]), None, "not finite"),
    ],
)
def test_a_plan_of_another_shape_or_without_an_order_is_refused(scores, prefetch, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        make_engine(slots=1).set_priorities(scores, prefetch)
