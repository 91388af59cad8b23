"""The loop, with exact times: what overlaps what, what is waited for, what happens when something fails."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from moespac_nb.engine.devices import OperationError, VirtualDevice
from moespac_nb.engine.placement import Counters
from moespac_nb.engine.scheduler import Scheduler
from moespac_nb.engine.time_breakdown import TimeBreakdown
from moespac_nb.policies import Plan, Planner, Policy, get_policy
from moespac_nb.trace.step import MoEShape, Prefill, Step
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS, Watched
from tests.helpers.traces.steps import step

ONE_LAYER = MoEShape(1, 4, 2)


def make_scheduler(
    policy: str | Policy = "recency", slots: int = 2, shape: MoEShape = ONE_LAYER, **options: Any
) -> Scheduler:
    device, costs = options.pop("device", None) or VirtualDevice(), options.pop("costs", COSTS)
    return Scheduler(device, costs, get_policy(policy), shape, slots, **options)


def window(scheduler: Scheduler, experts: list[int], positions: list[int], drafted: int = 1) -> None:
    """A window of one layer that needs these experts."""
    scheduler.on_step_start(0)
    for token in range(drafted):
        scheduler.on_draft_token(token)
    scheduler.on_draft_end()
    scheduler.layer(0, experts, positions)
    scheduler.on_verify(step(0, 0, [[experts]], accepted=0))


def prompt(tokens: int, layers: int = 1, top_k: int = 2) -> Prefill:
    shape = (tokens, layers, top_k)
    return Prefill(np.arange(tokens), np.zeros(shape, np.int16), np.ones(shape, np.float32), 1.0)


def ran(scheduler: Scheduler, lane: str) -> list[tuple[float, float]]:
    return [(op.start, op.end) for op in scheduler.device.timeline() if op.lane == lane]


class Computing:
    """Notes which experts are computed in which lane, call by call."""

    def __init__(self, watched: Watched | None = None) -> None:
        self.watched = watched
        self.calls: list[tuple[str, list[int]]] = []

    def gpu(self, experts: list[int], slots: list[int]) -> None:
        if self.watched is not None:
            self.watched.read(0, experts, slots)
        self.calls.append(("gpu", experts))

    def cpu(self, experts: list[int]) -> None:
        self.calls.append(("cpu", experts))


class WantAll(Planner):
    """Copies of all experts, after the prompt, and all alike."""

    def on_prefill(self, _prefill: Prefill, _following: Step | None = None, /) -> Plan:
        everyone = np.ones((self.context.geometry.layers, self.context.geometry.experts))
        return Plan(everyone, everyone > 0)


def broken(*_: object) -> None:
    raise KeyError("lost")


def test_three_windows_by_hand() -> None:
    scheduler = make_scheduler("recency", slots=2)
    # Nothing is resident: draft 0.5, dense 1, two experts on the CPU 8, head 0.25. Then both are requested.
    window(scheduler, [0, 1], [2, 1])
    assert scheduler.device.now() == 9.75
    assert ran(scheduler, "cpu") == [(1.5, 9.5)]
    # The copies take the link from 9.75 to 13.75; each is computed as it comes, sooner than on the CPU.
    window(scheduler, [0, 1], [2, 1])
    assert ran(scheduler, "link") == [(9.75, 11.75), (11.75, 13.75)]
    assert ran(scheduler, "gpu")[2:5] == [(10.25, 11.25), (11.75, 12.25), (13.75, 14.25)]
    assert scheduler.device.now() == 14.5
    # Both are there: dense 1, experts 1.
    window(scheduler, [0, 1], [2, 1])
    assert scheduler.device.now() == 14.5 + 0.5 + 1 + 1 + 0.25
    counters = scheduler.decode.counters
    assert (counters.miss, counters.late, counters.ready) == (2, 2, 2)
    assert scheduler.decode.parts == TimeBreakdown(
        draft_s=1.5, dense_s=3 * 1.25, experts_s=2.0, cpu_wait_s=8.0, link_wait_s=2.0
    )


def test_the_cpu_share_runs_beside_the_gpu_share() -> None:
    scheduler = make_scheduler("recency", slots=1)
    window(scheduler, [0], [1])
    scheduler.engine.pump()
    scheduler.device.charge(2.0)
    start = scheduler.device.now()
    window(scheduler, [0, 1], [1, 1], drafted=0)
    # Both from start + 1: the GPU until 1.5, the CPU until 5.
    assert ran(scheduler, "gpu")[-2] == (start + 1, start + 1.5)
    assert ran(scheduler, "cpu")[-1] == (start + 1, start + 5)
    assert scheduler.device.now() == start + 5.25


def test_the_link_gets_more_while_drafting_and_beside_dense() -> None:
    scheduler = make_scheduler("recency", slots=4, in_flight=1)
    window(scheduler, [0, 1, 2, 3], [1, 1, 1, 1], drafted=0)
    start = scheduler.device.now()
    scheduler.on_step_start(0)
    for token in range(5):  # half a second each; a copy takes two
        scheduler.on_draft_token(token)
    scheduler.on_draft_end()
    assert ran(scheduler, "link") == [(start, start + 2), (start + 2, start + 4)]
    scheduler.device.charge(2.0)  # until start + 4.5: the second has come, and nobody has looked yet
    scheduler.layer(0, [], [])
    assert ran(scheduler, "link")[2:] == [(start + 4.5, start + 6.5)]


def test_the_link_gets_more_as_the_experts_begin() -> None:
    scheduler = make_scheduler("recency", slots=4, in_flight=1)
    window(scheduler, [0, 1, 2, 3], [1, 1, 1, 1], drafted=0)
    start = scheduler.device.now()
    window(scheduler, [0], [1], drafted=3)  # the first copy has come as the dense part ends, 2.5 s later
    assert ran(scheduler, "link")[:2] == [(start, start + 2), (start + 2.5, start + 4.5)]


def test_waiting_for_room_is_waiting_for_copies() -> None:
    scheduler = make_scheduler(Policy("wants", "", WantAll, miss="load"), slots=1)
    scheduler.on_prefill_end(prompt(0))
    start = scheduler.device.now()
    scheduler.on_step_start(0)
    scheduler.layer(0, [1], [1])  # dense 1 s; the slot is expert 0's until its copy has come, at 2 s
    assert scheduler.decode.parts == TimeBreakdown(dense_s=1.0, experts_s=0.5, link_wait_s=3.0)
    assert scheduler.device.now() == start + 4.5
    assert start == scheduler.prefill.parts.total_s == 0  # nothing was read before


def test_a_resize_waits_for_copies_and_is_in_no_part() -> None:
    scheduler = make_scheduler(Policy("wants", "", WantAll), slots=4)
    scheduler.on_prefill_end(prompt(0))
    scheduler.on_step_start(0)
    assert scheduler.resize(3) == [(3, 0)]  # all alike: the first slot's expert had to go
    assert scheduler.device.now() == 4 * 2
    scheduler.layer(0, [], [])
    assert scheduler.decode.parts == TimeBreakdown(dense_s=1.0)


def test_a_window_begins_at_the_first_layer() -> None:
    scheduler = make_scheduler(Policy("wants", "", WantAll), slots=8, shape=MoEShape(2, 4, 1), in_flight=1)
    scheduler.on_prefill_start(1)
    for layer in (0, 1):
        scheduler.layer(layer, [3], [1])
    scheduler.on_prefill_end(prompt(1, layers=2, top_k=1))
    scheduler.on_step_start(0)
    scheduler.layer(0, [0], [1])  # a copy of layer 0, the nearest, is under way; then layer 1 comes sooner
    scheduler.layer(1, [3], [1])
    copies = [op.label for op in scheduler.device.timeline() if op.lane == "link"]
    assert copies[2:] == ["copy L0 E0", "copy L1 E0"]


def test_planning_is_charged_before_the_plan_holds() -> None:
    scheduler = make_scheduler("recency", costs=replace(COSTS, planning_s=0.125))
    window(scheduler, [0], [1])
    window(scheduler, [0], [1])
    assert scheduler.decode.parts.planning_s == pytest.approx(2 * 0.0125)
    (planned, *_) = ran(scheduler, "host")
    assert ran(scheduler, "link")[0][0] == planned[1]


def test_where_time_is_real_planning_is_charged_as_measured() -> None:
    class Slow(VirtualDevice):
        """As if time passed by itself: a wait is a second late, and so is a look at the clock."""

        def now(self) -> float:
            self._now += 1.0
            return self._now

    class Thinks(Planner):
        def planning_s(self) -> float:
            return 9.0

    scheduler = make_scheduler(Policy("thinks", "", Thinks), device=Slow())
    window(scheduler, [0], [1])
    assert 0 < scheduler.decode.parts.planning_s < 9


@pytest.mark.parametrize(
    ("policy", "loaded", "cpu_pairs"),
    # To copy and compute takes 2.5 s, the CPU 4 s: the first is copied, the second finds no room.
    [("on-demand", 1, 2), ("recency", 1, 2), ("spac-joint", 1, 2), ("cpu-only", 0, 5)],
)
def test_a_prompt_is_read_by_one_rule_and_counted_apart(policy: str, loaded: int, cpu_pairs: int) -> None:
    scheduler = make_scheduler(policy, slots=1)
    scheduler.on_prefill_start(3)
    scheduler.layer(0, [0, 1], [3, 2])
    scheduler.on_prefill_end(prompt(3))
    assert (scheduler.prefill.counters.loaded, scheduler.prefill.counters.cpu_pairs) == (loaded, cpu_pairs)
    assert scheduler.decode.counters.miss == 0
    assert scheduler.decode.parts.total_s == 0


def test_a_pass_of_no_text_is_counted_apart() -> None:
    scheduler = make_scheduler("recency")
    scheduler.begin_other_pass(1)
    scheduler.layer(0, [0], [1])
    other, decode = scheduler.other, scheduler.decode
    assert (other.counters, decode.counters) == (Counters(miss=1, pairs=1, cpu_pairs=1), Counters())
    assert (other.parts.total_s, decode.parts.total_s) == (5.0, 0.0)
    window(scheduler, [0], [1])
    assert (other.counters.miss, decode.counters.miss) == (1, 1)


def test_each_expert_is_computed_once_from_a_slot_that_holds_it() -> None:
    device = Watched()
    scheduler = make_scheduler("on-demand", slots=2, device=device, copy=device.copy)
    for experts in ([0, 1], [0, 1, 2, 3], [3]):
        computing = Computing(device)
        scheduler.on_step_start(0)
        scheduler.layer(0, experts, [1] * len(experts), computing.gpu, computing.cpu)
        computed = [(lane, expert) for lane, chosen in computing.calls for expert in chosen]
        assert sorted(computed) == [("gpu", expert) for expert in experts]
    assert device.reads == 7


def test_a_failed_copy_costs_time_and_no_expert() -> None:
    device = VirtualDevice(fails=lambda _lane, label: label == "copy L0 E1")
    scheduler, computing = make_scheduler("on-demand", slots=2, device=device), Computing()
    scheduler.on_step_start(0)
    scheduler.layer(0, [0, 1], [1, 1], computing.gpu, computing.cpu)
    assert computing.calls == [("gpu", [0]), ("cpu", [1])]
    # Dense 1, both copies until 5, then the CPU.
    parts, counters = scheduler.decode.parts, scheduler.decode.counters
    assert scheduler.device.now() == parts.total_s == 9.0
    assert (parts.cpu_wait_s, parts.link_wait_s) == (4.0, 3.5)
    assert (counters.failed_copies, counters.fallbacks) == (1, 1)


def test_awaited_experts_compute_in_ever_smaller_groups() -> None:
    scheduler, computing = make_scheduler("on-demand", 13, MoEShape(1, 16, 2)), Computing()
    scheduler.on_step_start(0)
    scheduler.layer(0, list(range(13)), [1] * 13, computing.gpu)
    groups = [experts for _, experts in computing.calls]
    assert [len(group) for group in groups] == [7, 3, 2, 1]
    assert [expert for group in groups for expert in group] == list(range(13))
    # Dense 1, 13 copies of 2, and the last expert: what came before was computed meanwhile.
    assert scheduler.device.now() == 1 + 13 * 2 + 0.5


def test_of_a_group_whose_copy_fails_the_others_compute_from_slots() -> None:
    device = Watched(fails=lambda _lane, label: label == "copy L0 E1")
    scheduler = make_scheduler("on-demand", 6, MoEShape(1, 6, 2), device=device, copy=device.copy)
    computing = Computing(device)
    scheduler.on_step_start(0)
    scheduler.layer(0, list(range(6)), [1] * 6, computing.gpu, computing.cpu)
    assert sorted(expert for _, group in computing.calls for expert in group) == list(range(6))
    assert computing.calls[-1] == ("cpu", [1])
    assert ("gpu", [0, 2]) in computing.calls
    assert (scheduler.decode.counters.failed_copies, scheduler.decode.counters.fallbacks) == (1, 1)


def test_what_breaks_off_is_raised_and_after_abort_it_goes_on() -> None:
    scheduler = make_scheduler("on-demand", slots=2)
    scheduler.on_step_start(0)
    with pytest.raises(OperationError, match="lost") as caught:
        scheduler.layer(0, [0, 1], [1, 1], broken, broken)
    assert isinstance(caught.value.__cause__, KeyError)
    scheduler.on_abort()
    window(scheduler, [0, 1], [1, 1])
    assert scheduler.decode.counters.ready == 2  # the copies had come


def test_abort_waits_for_what_still_reads_a_slot() -> None:
    scheduler = make_scheduler("recency", slots=1)
    window(scheduler, [0], [1])
    scheduler.on_step_start(0)  # the copy of 0 takes 2 s, the layer's dense part 1 s
    with pytest.raises(OperationError, match="lost"):
        scheduler.layer(0, [0, 1], [1, 1], None, broken)
    scheduler.device._now -= 4.5  # as if the CPU had failed at once, while 0 is still being copied
    scheduler.on_abort()
    reading = [op.end for op in scheduler.device.timeline() if op.label == "L0 gpu"]
    assert scheduler.device.now() >= max(reading)


def test_a_layer_ahead_is_planned_while_the_one_before_computes() -> None:
    seen: list[tuple[int, float, bool]] = []

    class Ahead(Planner):
        available_at = "layer"

        def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan:
            seen.append((layer, float(np.sum(gates)), self.context.slots.absent.all()))
            scores = np.zeros((2, 4))
            scores[1, 2] = 1.0
            return Plan(scores, scores > 0)

    scheduler = make_scheduler(Policy("ahead", "", Ahead), shape=MoEShape(2, 4, 2))
    scheduler.on_prefill_start(1)
    scheduler.layer(0, [], [])  # a prompt is not planned for
    scheduler.on_step_start(0)
    scheduler.layer(0, [0], [1], next_gates=np.array([[5]]))
    scheduler.layer(1, [2], [1])
    assert seen == [(1, 5.0, True)]
    assert scheduler.decode.counters.ready == 1  # copied while layer 0 computed


def test_a_draft_is_shown_as_it_grows_and_when_complete() -> None:
    seen: list[tuple[list[int], bool]] = []

    class Drafted(Planner):
        available_at = "drafted"

        def on_draft(self, tokens: np.ndarray, gates: np.ndarray, complete: bool, /) -> None:
            assert gates.shape == (len(tokens) - 1, 1, 3)
            seen.append((tokens.tolist(), complete))

    scheduler = make_scheduler(Policy("drafted", "", Drafted))
    scheduler.on_step_start(7)
    scheduler.on_draft_token(8, np.zeros((1, 3)))
    scheduler.on_draft_token(9, np.zeros((1, 3)))
    scheduler.on_draft_end()
    assert seen == [([7, 8], False), ([7, 8, 9], False), ([7, 8, 9], True)]


def test_a_policy_without_slots_takes_none() -> None:
    scheduler = make_scheduler("cpu-only", slots=2)
    assert scheduler.resize(3) == []
    window(scheduler, [0, 1], [1, 1])
    assert scheduler.engine.slots.count() == 0
    assert scheduler.decode.counters.cpu_pairs == 2


def test_the_next_window_is_for_policies_that_read_the_future() -> None:
    scheduler = make_scheduler("recency")
    scheduler.on_step_start(0)
    with pytest.raises(MoespacError, match="was given the window to come"):
        scheduler.on_verify(step(0, 0, [[[0, 1]]], 0), step(1, 1, [[[0, 1]]], 0))
