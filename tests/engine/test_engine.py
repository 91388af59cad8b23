"""The engine's rules, one by one, on a device whose time is a number."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moespac_nb.engine.devices import VirtualDevice
from moespac_nb.engine.engine import Engine
from moespac_nb.engine.slots import FREE, LOADING, PINNED, READY, RETIRED
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS, Watched


def engine(slots: int, layers: int = 1, experts: int = 4, in_flight: int = 1, device=None) -> Engine:
    return Engine(device or VirtualDevice(), layers, experts, slots, COSTS, None, in_flight)


def copied(engine: Engine) -> list[str]:
    return [ran.label for ran in engine.device.timeline() if ran.lane == "link"]


def run_dry(engine: Engine) -> None:
    """Pump until the link has nothing more to do."""
    before = -1
    while engine.counters.copies != before:
        before = engine.counters.copies
        engine.drain()
        engine.pump()


def scores(*values: float) -> np.ndarray:
    return np.array([values], float)


def test_the_best_requests_are_copied_first_and_only_as_many_as_may_be_in_flight() -> None:
    one = engine(slots=3, in_flight=2)
    one.set_priorities(scores(1, 3, 2, 0), scores(1, 1, 1, 0) > 0)
    one.pump()
    assert copied(one) == ["copy L0 E1", "copy L0 E2"]
    one.pump()
    assert len(copied(one)) == 2
    one.device.charge(2.0)  # the first has come
    one.pump()
    assert copied(one)[2:] == ["copy L0 E0"]
    assert one.slots.state == [READY, LOADING, LOADING]


def test_of_equal_scores_the_layer_that_comes_sooner_is_copied_first() -> None:
    one = engine(slots=9, layers=3, experts=3)
    wanted = np.eye(3, dtype=bool)
    one.set_priorities(np.ones((3, 3)), wanted)
    placement = one.layer(0, [], [])
    one.release(placement)  # layer 0 has passed: it comes again last
    run_dry(one)
    assert copied(one) == ["copy L1 E1", "copy L2 E2", "copy L0 E0"]


def test_of_equal_scores_the_layer_that_comes_last_makes_room() -> None:
    one = engine(slots=3, layers=3, experts=3)
    one.set_priorities(np.ones((3, 3)), np.eye(3, dtype=bool))
    run_dry(one)
    for layer in (0, 1):
        one.release(one.layer(layer, [layer], [1]))
    one.set_priorities(
        np.full((3, 3), 1.0) + (np.arange(3) == 0) * np.array([[0], [0], [1]]), scores_at(2, 0)
    )
    run_dry(one)
    assert [sorted(held) for held in one.slots.where] == [[0], [], [0, 2]]  # layer 1 has just passed


def scores_at(layer: int, expert: int) -> np.ndarray:
    wanted = np.zeros((3, 3), bool)
    wanted[layer, expert] = True
    return wanted


def test_a_request_displaces_the_weakest_resident_it_beats_and_no_equal() -> None:
    one = engine(slots=2)
    one.set_priorities(scores(1, 2, 0, 0), scores(1, 1, 0, 0) > 0)
    run_dry(one)
    one.set_priorities(scores(1, 2, 1, 0), scores(0, 0, 1, 0) > 0)
    run_dry(one)
    assert sorted(one.slots.where[0]) == [0, 1]
    one.set_priorities(scores(1, 2, 1.5, 0), scores(0, 0, 1, 0) > 0)
    run_dry(one)
    assert sorted(one.slots.where[0]) == [1, 2]
    assert one.counters.evictions == 1
    assert one.counters.wasted_bytes == 100  # expert 0 was never used


def test_a_new_order_drops_the_requests_of_the_old_one() -> None:
    one = engine(slots=4)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 1, 1, 1) > 0)
    one.pump()
    one.set_priorities(scores(4, 3, 2, 9), scores(0, 0, 0, 1) > 0)
    run_dry(one)
    assert copied(one) == ["copy L0 E0", "copy L0 E3"]


def test_an_order_that_wants_nothing_drops_the_requests_too() -> None:
    one = engine(slots=4)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 1, 1, 1) > 0)
    one.pump()
    one.set_priorities(scores(4, 3, 2, 1))
    run_dry(one)
    assert copied(one) == ["copy L0 E0"]


def test_a_pinned_resident_is_not_displaced_until_its_layer_is_released() -> None:
    one = engine(slots=1)
    one.set_priorities(scores(1, 0, 0, 0), scores(1, 0, 0, 0) > 0)
    run_dry(one)
    placement = one.layer(0, [0], [1])
    assert (placement.ready, one.slots.state) == ([0], [PINNED])
    one.set_priorities(scores(1, 9, 0, 0), scores(0, 1, 0, 0) > 0)
    one.pump()
    assert copied(one) == ["copy L0 E0"]
    one.release(placement)
    one.pump()
    assert copied(one) == ["copy L0 E0", "copy L0 E1"]
    assert one.slots.generation == [2]
    assert one.counters.wasted_bytes == 0  # it was used


def test_what_is_awaited_is_pinned_from_the_moment_it_has_come() -> None:
    one = engine(slots=1)
    placement = one.layer(0, [0], [1], miss="load")
    one.set_priorities(scores(0, 9, 0, 0), scores(0, 1, 0, 0) > 0)
    one.device.charge(2.0)
    one.pump()
    assert (one.slots.state, copied(one)) == ([PINNED], ["copy L0 E0"])
    one.release(placement)
    one.pump()
    assert copied(one) == ["copy L0 E0", "copy L0 E1"]


def test_a_copy_under_way_is_awaited_only_if_it_comes_before_the_cpu_would_be_through() -> None:
    one = engine(slots=3, in_flight=3)
    one.set_priorities(scores(3, 2, 1, 0), scores(1, 1, 1, 0) > 0)
    one.pump()  # due at 2, 4 and 6 s; the CPU takes 4 s for one expert
    placement = one.layer(0, [0, 1, 2], [1, 1, 1])
    assert [seat.expert for seat in placement.awaited] == [0, 1]
    assert (placement.cpu, placement.cpu_s) == ([2], 4.0)
    assert (one.counters.late, one.counters.miss) == (3, 0)
    assert all(one.wait_for(seat) for seat in placement.awaited)
    one.release(placement)
    assert one.slots.state[:2] == [READY, READY]


def test_late_experts_that_join_the_cpu_lane_fill_it() -> None:
    one = engine(slots=4, in_flight=4)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 1, 1, 1) > 0)
    one.pump()  # due at 2, 4, 6 and 8 s
    placement = one.layer(0, [2, 3], [1, 1])
    assert placement.cpu == [2]  # through at 4 s; 3 would be at 8, and its copy is here by then
    assert [seat.expert for seat in placement.awaited] == [3]


def test_what_is_awaited_computes_in_the_order_in_which_it_comes() -> None:
    one = engine(slots=2, in_flight=2)
    one.set_priorities(scores(1, 2, 0, 0), scores(1, 1, 0, 0) > 0)
    one.pump()
    assert [seat.expert for seat in one.layer(0, [0, 1], [1, 1]).awaited] == [1, 0]


def test_misses_go_where_they_are_told_to() -> None:
    on_cpu = engine(slots=2).layer(0, [0, 1], [1, 1], miss="cpu")
    assert (on_cpu.cpu, on_cpu.awaited) == ([0, 1], [])
    loaded = engine(slots=2).layer(0, [0, 1], [1, 1], miss="load")
    assert ([seat.expert for seat in loaded.awaited], loaded.cpu) == ([0, 1], [])
    # A copy and its computing take 2.5 s, the CPU 4 s.
    cheaper = engine(slots=1).layer(0, [0, 1], [1, 1], miss="cheaper")
    assert ([seat.expert for seat in cheaper.awaited], cheaper.cpu) == ([0], [1])  # 1 finds no room


@pytest.mark.parametrize(("cpu_s", "on_cpu"), [(2.25, True), (2.5, True), (2.75, False)])
def test_the_cheaper_way_counts_the_copy_and_the_computing_after_it(cpu_s: float, on_cpu: bool) -> None:
    costs = replace(COSTS, cpu_bytes_per_s=COSTS.expert_bytes / cpu_s)  # by the link it takes 2 + 0.5 s
    placement = Engine(VirtualDevice(), 1, 4, 1, costs).layer(0, [0], [1], miss="cheaper")
    assert bool(placement.cpu) is on_cpu


def test_one_layer_may_need_more_experts_than_there_are_slots() -> None:
    one = engine(slots=2, experts=5)
    todo, counts, served = [0, 1, 2, 3, 4], [1, 1, 1, 1, 1], []
    while todo:
        placement = one.layer(0, todo, counts, miss="load")
        assert len(placement.awaited) <= 2
        assert all(one.wait_for(seat) for seat in placement.awaited)
        served += [seat.expert for seat in placement.awaited]
        one.release(placement)
        todo, counts = placement.deferred
    assert served == [0, 1, 2, 3, 4]
    assert (one.counters.miss, one.counters.loaded, one.counters.pairs) == (5, 5, 5)


def test_without_slots_everything_is_the_cpus_even_what_should_be_loaded() -> None:
    placement = engine(slots=0).layer(0, [0, 3], [2, 1], miss="load")
    assert placement.cpu == [0, 3]


def test_loading_waits_for_a_copy_under_way_where_that_holds_the_only_slot() -> None:
    one = engine(slots=1)
    one.set_priorities(scores(0, 0, 0, 1), scores(0, 0, 0, 1) > 0)
    one.pump()
    placement = one.layer(0, [0], [1], miss="load")
    assert [seat.expert for seat in placement.awaited] == [0]
    assert one.device.now() == 2.0  # when the other had come, and could be evicted
    assert one.wait_for(placement.awaited[0])
    assert one.device.now() == 4.0


def test_a_failed_copy_leaves_a_free_slot_and_sends_its_expert_to_the_cpu() -> None:
    one = engine(slots=2, device=VirtualDevice(fails=lambda lane, label: label.endswith("E0")))
    placement = one.layer(0, [0, 1], [3, 1], miss="load")
    assert [one.wait_for(seat) for seat in placement.awaited] == [False, True]
    one.release(placement)
    assert sorted(one.slots.state) == [FREE, READY]
    counters = one.counters
    assert (counters.failed_copies, counters.fallbacks, counters.cpu_pairs) == (1, 1, 3)
    assert counters.wasted_bytes == 100


def test_a_failed_seat_is_not_mistaken_for_the_next_owner_of_its_slot() -> None:
    one = engine(slots=1, device=VirtualDevice(fails=lambda lane, label: label.endswith("E0")))
    placement = one.layer(0, [0], [1], miss="load")
    one.device.charge(2.0)
    one.set_priorities(scores(0, 1, 0, 0), scores(0, 1, 0, 0) > 0)
    one.pump()  # the slot is given to expert 1
    assert one.slots.where[0] == {1: 0}
    assert not one.wait_for(placement.awaited[0])
    one.release(placement)
    one.drain()
    assert one.slots.state == [READY]


def test_a_smaller_budget_takes_the_weakest_and_what_is_in_use_as_soon_as_it_is_free() -> None:
    one = engine(slots=4, in_flight=4)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 1, 1, 1) > 0)
    run_dry(one)
    one.resize(3)
    assert sorted(one.slots.where[0]) == [0, 1, 2]
    placement = one.layer(0, [1, 2], [1, 1])
    one.resize(1)
    assert sorted(one.slots.where[0]) == [1, 2]  # pinned; expert 0 had to go at once
    assert one.slots.count() == 1
    one.release(placement)
    assert sorted(one.slots.where[0]) == [1]
    assert one.slots.state.count(RETIRED) == 3
    one.resize(2)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 0, 0, 0) > 0)
    run_dry(one)
    assert sorted(one.slots.where[0]) == [0, 1]
    assert len(one.slots.state) == 4  # a retired slot came back


def test_a_budget_may_shrink_to_nothing_and_grow_beyond_what_it_was() -> None:
    one = engine(slots=2, in_flight=2)
    one.set_priorities(scores(4, 3, 2, 1), scores(1, 1, 1, 1) > 0)
    one.pump()
    one.resize(0)  # two copies are under way
    one.drain()
    assert one.slots.where == [{}]
    one.resize(3)
    run_dry(one)
    assert one.slots.count() == 3
    assert sorted(one.slots.where[0]) == [2, 3]  # the requests that were left
    assert len(one.slots.state) == 3  # the first two came back
    with pytest.raises(MoespacError, match="slots is -1"):
        one.resize(-1)


def test_a_resize_that_is_taken_back_spares_what_had_not_gone_yet() -> None:
    one = engine(slots=2, in_flight=2)
    one.set_priorities(scores(2, 1, 0, 0), scores(1, 1, 0, 0) > 0)
    one.pump()
    one.resize(0)
    one.resize(2)
    one.drain()
    assert sorted(one.slots.where[0]) == [0, 1]


def test_what_moves_to_another_slot_is_still_known_to_be_used_or_not() -> None:
    one = engine(slots=4, in_flight=4)
    for wanted in (scores(1, 1, 0, 0), scores(0, 0, 1, 1)):
        one.set_priorities(scores(1, 2, 3, 4), wanted > 0)
        run_dry(one)
    one.release(one.layer(0, [2], [1]))
    one.resize(2)  # experts 0 and 1 go, of no use to anyone; slots 2 and 3 become 0 and 1
    assert one.counters.wasted_bytes == 200
    moves = one.compact()
    assert (len(moves), len(one.slots.state)) == (2, 2)
    one.resize(0)
    assert one.counters.wasted_bytes == 300  # expert 3's copy, not that of 2


def test_an_order_that_moves_with_each_use_evicts_what_was_used_longest_ago() -> None:
    one = engine(slots=2)
    for clock, expert in enumerate([0, 1, 0, 2], start=1):
        placement = one.layer(0, [expert], [1], miss="load")
        for seat in placement.awaited:
            one.wait_for(seat)
        one.release(placement)
        one.update_score(0, [expert], float(clock))
        one.begin_pass()
    assert sorted(one.slots.where[0]) == [0, 2]


def test_abandoning_a_pass_unpins_and_forgetting_empties() -> None:
    one = engine(slots=3, in_flight=3)
    one.set_priorities(scores(3, 2, 1, 0), scores(1, 1, 0, 0) > 0)
    run_dry(one)
    one.layer(0, [0, 1, 2], [1, 1, 1], miss="load")
    one.abort()
    assert PINNED not in one.slots.state
    one.drain()
    assert one.slots.state == [READY] * 3
    one.set_priorities(scores(0, 0, 0, 9), scores(0, 0, 0, 1) > 0)
    one.abort()
    run_dry(one)
    assert sorted(one.slots.where[0]) == [0, 1, 2]  # what was requested is forgotten too
    one.reset()
    assert one.slots.state == [FREE] * 3
    assert one.slots.where == [{}]
    for expert in (3, 2, 1, 0):
        placement = one.layer(0, [expert], [1], miss="load")
        assert one.wait_for(placement.awaited[0])
        one.release(placement)
    assert sorted(one.slots.where[0]) == [0, 1, 2]  # all are worth the same again: the first slot's had to go


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"layers": 0}, "layers is 0"),
        ({"experts": 0}, "experts is 0"),
        ({"slots": -1}, "slots is -1"),
        ({"in_flight": 0}, "in_flight is 0"),
    ],
)
def test_sizes_that_make_no_engine_are_refused(given: dict[str, int], message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        engine(**({"slots": 1} | given))


def test_an_order_of_another_shape_or_without_an_order_is_refused() -> None:
    one = engine(slots=1)
    with pytest.raises(MoespacError, match="scores has shape"):
        one.set_priorities(np.zeros((2, 4)))
    with pytest.raises(MoespacError, match="prefetch has shape"):
        one.set_priorities(np.zeros((1, 4)), np.zeros((4, 1), bool))
    with pytest.raises(MoespacError, match="not finite"):
        one.set_priorities(scores(0, np.nan, 0, 0))


def test_the_watched_device_notices_what_it_watches_for() -> None:
    from functools import partial

    device = Watched()
    write = partial(device.copy, 0, 0, 0)
    device.submit("link", 2.0, write)
    with pytest.raises(AssertionError, match="its copy came"):
        device.submit("gpu", 1.0, partial(device.read, 0, [0], [0]))
    device.charge(2.0)
    with pytest.raises(AssertionError, match="holds"):
        device.submit("gpu", 1.0, partial(device.read, 0, [1], [0]))
    device.submit("gpu", 9.0, partial(device.read, 0, [0], [0]))
    with pytest.raises(AssertionError, match="overwritten"):
        device.submit("link", 2.0, write)
