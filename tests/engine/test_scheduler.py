"""The loop, with exact times: what overlaps what, what is waited for, what happens when something fails."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moespac_nb.engine.devices import OperationError, VirtualDevice
from moespac_nb.engine.placement import Counters
from moespac_nb.engine.scheduler import Scheduler, TimeBreakdown
from moespac_nb.policies import Plan, Planner, Policy, get_policy
from moespac_nb.trace.step import MoEShape, Prefill, Step
from tests.helpers.checked_device import COSTS, Watched
from tests.helpers.steps import step

ONE_LAYER = MoEShape(1, 4, 2)


def scheduler(name: str | Policy = "recency", slots: int = 2, device=None, geometry=ONE_LAYER, **options):
    played = get_policy(name)
    return Scheduler(
        device or VirtualDevice(), options.pop("costs", COSTS), played, geometry, slots, **options
    )


def window(one: Scheduler, experts: list[int], positions: list[int], drafted: int = 1) -> Step:
    """A window of one layer; a step that used these experts."""
    one.on_step_start(0)
    for token in range(drafted):
        one.on_draft_token(token)
    one.on_draft_end()
    one.layer(0, experts, positions)
    verified = step(0, 0, [[experts]], accepted=0)
    one.on_verify(verified)
    return verified


def ran(one: Scheduler, lane: str) -> list[tuple[float, float]]:
    return [(each.start, each.end) for each in one.device.timeline() if each.lane == lane]


def test_three_windows_by_hand() -> None:
    one = scheduler("recency", slots=2)
    # Nothing is resident: draft 0.5, dense 1, two experts on the CPU 8, head 0.25. Then both are requested.
    window(one, [0, 1], [2, 1])
    assert one.device.now() == 9.75
    assert ran(one, "cpu") == [(1.5, 9.5)]
    # The copies take the link from 9.75 to 13.75; each is computed as it comes, sooner than on the CPU.
    window(one, [0, 1], [2, 1])
    assert ran(one, "link") == [(9.75, 11.75), (11.75, 13.75)]
    assert ran(one, "gpu")[2:5] == [(10.25, 11.25), (11.75, 12.25), (13.75, 14.25)]
    assert one.device.now() == 14.5
    # Both are there: dense 1, experts 1.
    window(one, [0, 1], [2, 1])
    assert one.device.now() == 14.5 + 0.5 + 1 + 1 + 0.25
    counters = one.decode.counters
    assert (counters.miss, counters.late, counters.ready) == (2, 2, 2)
    assert one.decode.parts == TimeBreakdown(
        draft_s=1.5, dense_s=3 * 1.25, experts_s=2.0, cpu_wait_s=8.0, link_wait_s=2.0
    )


def test_the_cpu_share_runs_beside_the_gpu_share() -> None:
    one = scheduler("recency", slots=1)
    window(one, [0], [1])
    one.engine.pump()
    one.device.charge(2.0)
    start = one.device.now()
    window(one, [0, 1], [1, 1], drafted=0)
    # Both from start + 1: the GPU until 1.5, the CPU until 5.
    assert ran(one, "gpu")[-2] == (start + 1, start + 1.5)
    assert ran(one, "cpu")[-1] == (start + 1, start + 5)
    assert one.device.now() == start + 5.25


def test_the_link_is_given_more_after_each_drafted_token_and_beside_each_dense_part() -> None:
    one = scheduler("recency", slots=4, in_flight=1)
    window(one, [0, 1, 2, 3], [1, 1, 1, 1], drafted=0)
    start = one.device.now()
    one.on_step_start(0)
    for token in range(5):  # half a second each; a copy takes two
        one.on_draft_token(token)
    one.on_draft_end()
    assert ran(one, "link") == [(start, start + 2), (start + 2, start + 4)]
    one.device.charge(2.0)  # until start + 4.5: the second has come, and nobody has looked yet
    one.layer(0, [], [])
    assert ran(one, "link")[2:] == [(start + 4.5, start + 6.5)]


def test_the_link_is_given_more_as_the_experts_begin_to_compute() -> None:
    one = scheduler("recency", slots=4, in_flight=1)
    window(one, [0, 1, 2, 3], [1, 1, 1, 1], drafted=0)
    start = one.device.now()
    window(one, [0], [1], drafted=3)  # the first copy has come as the dense part ends, 2.5 s later
    assert ran(one, "link")[:2] == [(start, start + 2), (start + 2.5, start + 4.5)]


def test_waiting_for_room_is_waiting_for_copies() -> None:
    one = scheduler(Policy("wants", "", Wants, miss="load"), slots=1)
    one.on_prefill_end(Prefill(np.zeros(0, int), np.zeros((0, 1, 2), np.int16), np.ones((0, 1, 2)), 0.0))
    start = one.device.now()
    one.on_step_start(0)
    one.layer(0, [1], [1])  # dense 1 s; the slot is expert 0's until its copy has come, at 2 s
    assert one.decode.parts == TimeBreakdown(dense_s=1.0, experts_s=0.5, link_wait_s=3.0)
    assert one.device.now() == start + 4.5
    assert start == one.prefill.parts.total_s == 0  # nothing was read before


class Wants(Planner):
    """All experts, after the prompt, and all alike."""

    def on_prefill(self, _prefill: Prefill, _following: Step | None = None, /) -> Plan:
        everyone = np.ones((self.setting.geometry.layers, self.setting.geometry.experts))
        return Plan(everyone, everyone > 0)


def test_a_window_begins_at_the_first_layer_whatever_was_read_before() -> None:
    one = scheduler(Policy("wants", "", Wants), slots=8, geometry=MoEShape(2, 4, 1), in_flight=1)
    one.on_prefill_start(1)
    for layer in (0, 1):
        one.layer(layer, [3], [1])
    one.on_prefill_end(Prefill(np.zeros(1, int), np.zeros((1, 2, 1), np.int16), np.ones((1, 2, 1)), 1.0))
    one.on_step_start(0)
    one.layer(0, [0], [1])  # a copy of layer 0, the nearest, is under way; then layer 1 comes sooner
    one.layer(1, [3], [1])
    copies = [each.label for each in one.device.timeline() if each.lane == "link"]
    assert copies[2:] == ["copy L0 E0", "copy L1 E0"]


def test_a_policy_s_time_is_charged_before_its_order_holds() -> None:
    one = scheduler("recency", costs=replace(COSTS, plan_s=0.125))
    window(one, [0], [1])
    window(one, [0], [1])
    assert one.decode.parts.plan_s == pytest.approx(2 * 0.0125)
    (thought, *_) = ran(one, "host")
    assert ran(one, "link")[0][0] == thought[1]


def test_where_time_is_real_a_policy_is_charged_what_it_took() -> None:
    class Slow(VirtualDevice):
        """As if time passed by itself: a wait is a second late, and so is a look at the clock."""

        def now(self) -> float:
            self._now += 1.0
            return self._now

    class Thinks(Planner):
        def plan_s(self) -> float:
            return 9.0

    one = scheduler(Policy("thinks", "", Thinks), device=Slow())
    window(one, [0], [1])
    assert 0 < one.decode.parts.plan_s < 9


def test_a_prompt_is_read_by_the_same_rule_for_everyone_and_counted_apart() -> None:
    prefill = Prefill(np.arange(3), np.zeros((3, 1, 2), np.int16), np.ones((3, 1, 2), np.float32), 1.0)
    placed = {}
    for name in ("on-demand", "recency", "spac-joint"):
        one = scheduler(name, slots=1)
        one.on_prefill_start(3)
        one.layer(0, [0, 1], [3, 2])
        one.on_prefill_end(prefill)
        # To copy and compute takes 2.5 s, the CPU 4 s: the first is copied, the second finds no room.
        placed[name] = one.prefill.counters.loaded, one.prefill.counters.cpu_pairs
        assert one.decode.counters.miss == 0
        assert one.decode.parts.total_s == 0
    assert set(placed.values()) == {(1, 2)}
    on_cpu = scheduler("cpu-only", slots=1)
    on_cpu.on_prefill_start(3)
    on_cpu.layer(0, [0, 1], [3, 2])
    assert on_cpu.prefill.counters.loaded == 0


def test_a_pass_of_no_text_is_counted_apart() -> None:
    one = scheduler("recency")
    one.begin_other_pass(1)
    one.layer(0, [0], [1])
    assert (one.other.counters, one.decode.counters) == (Counters(miss=1, pairs=1, cpu_pairs=1), Counters())
    assert (one.other.parts.total_s, one.decode.parts.total_s) == (5.0, 0.0)
    window(one, [0], [1])
    assert (one.other.counters.miss, one.decode.counters.miss) == (1, 1)


def test_what_computes_the_experts_is_called_once_for_each_with_slots_that_hold_them() -> None:
    device = Watched()
    one = scheduler("on-demand", slots=2, device=device, copy=device.copy)
    seen: list[tuple[str, int]] = []

    def on_gpu(experts: list[int], slots: list[int]) -> None:
        device.read(0, experts, slots)
        seen.extend(("gpu", expert) for expert in experts)

    for experts in ([0, 1], [0, 1, 2, 3], [3]):
        one.on_step_start(0)
        seen.clear()
        one.layer(
            0, experts, [1] * len(experts), on_gpu, lambda chosen: seen.extend(("cpu", e) for e in chosen)
        )
        assert sorted(seen) == [("gpu", expert) for expert in experts]
    assert device.reads == 7


def test_a_failed_copy_costs_time_and_no_expert() -> None:
    one = scheduler(
        "on-demand", slots=2, device=VirtualDevice(fails=lambda lane, label: label == "copy L0 E1")
    )
    seen: list[tuple[str, list[int]]] = []
    one.on_step_start(0)
    one.layer(0, [0, 1], [1, 1], lambda e, s: seen.append(("gpu", e)), lambda e: seen.append(("cpu", e)))
    assert seen == [("gpu", [0]), ("cpu", [1])]
    # Dense 1, both copies until 5, then the CPU.
    assert one.device.now() == one.decode.parts.total_s == 9.0
    assert (one.decode.parts.cpu_wait_s, one.decode.parts.link_wait_s) == (4.0, 3.5)
    assert (one.decode.counters.failed_copies, one.decode.counters.fallbacks) == (1, 1)


def test_awaited_experts_are_computed_in_ever_smaller_groups_the_last_one_alone() -> None:
    one = scheduler("on-demand", slots=13, geometry=MoEShape(1, 16, 2))
    seen: list[list[int]] = []
    one.on_step_start(0)
    one.layer(0, list(range(13)), [1] * 13, lambda experts, _: seen.append(experts))
    assert [len(group) for group in seen] == [7, 3, 2, 1]
    assert [expert for group in seen for expert in group] == list(range(13))
    # Dense 1, 13 copies of 2, and the last expert: what came before was computed meanwhile.
    assert one.device.now() == 1 + 13 * 2 + 0.5


def test_of_a_group_whose_copy_fails_the_others_are_computed_from_their_slots() -> None:
    device = Watched(fails=lambda _lane, label: label == "copy L0 E1")
    one = scheduler("on-demand", slots=6, geometry=MoEShape(1, 6, 2), device=device, copy=device.copy)
    seen: list[tuple[str, list[int]]] = []

    def on_gpu(experts: list[int], slots: list[int]) -> None:
        device.read(0, experts, slots)
        seen.append(("gpu", experts))

    one.on_step_start(0)
    one.layer(0, list(range(6)), [1] * 6, on_gpu, lambda experts: seen.append(("cpu", experts)))
    assert sorted(expert for _, group in seen for expert in group) == list(range(6))
    assert seen[-1] == ("cpu", [1])
    assert ("gpu", [0, 2]) in seen
    assert (one.decode.counters.failed_copies, one.decode.counters.fallbacks) == (1, 1)


def test_what_breaks_off_is_raised_and_after_cancel_it_goes_on() -> None:
    one = scheduler("on-demand", slots=2)

    def broken(*_: object) -> None:
        raise KeyError("lost")

    one.on_step_start(0)
    with pytest.raises(OperationError, match="lost") as caught:
        one.layer(0, [0, 1], [1, 1], broken, broken)
    assert isinstance(caught.value.__cause__, KeyError)
    one.on_abort()
    window(one, [0, 1], [1, 1])
    assert one.decode.counters.ready == 2  # the copies had come


def test_cancel_waits_for_what_still_reads_a_slot() -> None:
    def broken(*_: object) -> None:
        raise KeyError("lost")

    one = scheduler("recency", slots=1)
    window(one, [0], [1])
    one.on_step_start(0)  # the copy of 0 takes 2 s, the layer's dense part 1 s
    with pytest.raises(OperationError, match="lost"):
        one.layer(0, [0, 1], [1, 1], None, broken)
    one.device._now -= 4.5  # as if the CPU had failed at once, while 0 is still being copied
    one.on_abort()
    reading = [each.end for each in one.device.timeline() if each.label == "L0 gpu"]
    assert one.device.now() >= max(reading)


def test_a_sensor_that_knows_a_layer_ahead_is_asked_while_the_layer_before_it_computes() -> None:
    asked: list[tuple[int, float, bool]] = []

    class Ahead(Planner):
        available_at = "layer"

        def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan:
            asked.append((layer, float(np.sum(gates)), self.setting.slots.absent.all()))
            scores = np.zeros((2, 4))
            scores[1, 2] = 1.0
            return Plan(scores, scores > 0)

    one = scheduler(Policy("ahead", "", Ahead), geometry=MoEShape(2, 4, 2))
    one.on_prefill_start(1)
    one.layer(0, [], [])  # of a prompt nothing is foretold
    one.on_step_start(0)
    one.layer(0, [0], [1], next_gates=np.array([[5]]))
    one.layer(1, [2], [1])
    assert asked == [(1, 5.0, True)]
    assert one.decode.counters.ready == 1  # copied while layer 0 computed


def test_a_draft_is_shown_as_it_grows_and_when_it_stands() -> None:
    seen: list[tuple[list[int], bool]] = []

    class Drafted(Planner):
        available_at = "drafted"

        def on_draft(self, tokens: np.ndarray, gates: np.ndarray, complete: bool, /) -> None:
            assert gates.shape == (len(tokens) - 1, 1, 3)
            seen.append((tokens.tolist(), complete))

    one = scheduler(Policy("drafted", "", Drafted))
    one.on_step_start(7)
    one.on_draft_token(8, np.zeros((1, 3)))
    one.on_draft_token(9, np.zeros((1, 3)))
    one.on_draft_end()
    assert seen == [([7, 8], False), ([7, 8, 9], False), ([7, 8, 9], True)]


def test_a_policy_without_slots_takes_none_whatever_the_budget() -> None:
    one = scheduler("cpu-only", slots=2)
    one.resize(3)
    window(one, [0, 1], [1, 1])
    assert one.engine.slots.count() == 0
    assert one.decode.counters.cpu_pairs == 2
