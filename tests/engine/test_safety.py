"""Whatever windows, budgets, faults and interrupts come: no weight is read too early or overwritten in use.

The device watches each slot's reads and writes; see `checked_device.Watched`.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from moespac_nb.engine.devices import OperationError
from moespac_nb.engine.placement import MISSES
from moespac_nb.engine.scheduler import Scheduler
from moespac_nb.engine.slots import EMPTY, FREE, LOADING, PINNED, READY
from moespac_nb.policies import Plan, Planner, Policy
from moespac_nb.trace.step import MoEShape
from tests.helpers.checked_device import COSTS, Watched

LAYERS, EXPERTS = 3, 6
SOME_EXPERTS = st.lists(
    st.tuples(st.integers(0, EXPERTS - 1), st.integers(1, 3)),
    max_size=EXPERTS,
    unique_by=lambda pair: pair[0],
).map(sorted)


class Machine(RuleBasedStateMachine):
    """One scheduler, driven at random. A layer may fail while it computes, as by an interrupt."""

    @initialize(
        slots=st.integers(0, LAYERS * EXPERTS + 2), in_flight=st.integers(1, 4),
        drift=st.sampled_from([0.0, 0.75, 3.0]),
    )  # fmt: skip
    def start(self, slots: int, in_flight: int, drift: float) -> None:
        self.faults: list[bool] = []
        self.device = Watched(self.fails, drift)
        self.scheduler = Scheduler(
            self.device, COSTS, Policy("the test", "", Planner), MoEShape(LAYERS, EXPERTS, 2), slots,
            copy=self.device.copy, in_flight=in_flight,
        )  # fmt: skip
        self.engine = self.scheduler.engine
        self.budget = slots
        self.asked: Counter[str] = Counter()
        self.lost_s = 0.0  # in what broke off
        self.scheduler.on_step_start(0)

    def fails(self, lane: str, _label: str) -> bool:
        return lane == "link" and bool(self.faults) and self.faults.pop()

    @rule(faults=st.lists(st.booleans(), max_size=6))
    def some_copies_will_fail(self, faults: list[bool]) -> None:
        self.faults = faults

    @rule(seed=st.integers(0, 2**16), levels=st.integers(1, 5), share=st.floats(0, 1))
    def a_new_order(self, seed: int, levels: int, share: float) -> None:
        rng = np.random.default_rng(seed)
        scores = rng.integers(0, levels, (LAYERS, EXPERTS)).astype(float)
        self.engine.set_priorities(*Plan(scores, rng.random(scores.shape) < share))

    @rule(drafted=st.integers(0, 4))
    def a_window_opens(self, drafted: int) -> None:
        self.scheduler.on_step_start(0)
        for token in range(drafted):
            self.scheduler.on_draft_token(token)

    @rule(layer=st.integers(0, LAYERS - 1), experts=SOME_EXPERTS, miss=st.sampled_from(sorted(MISSES)))
    def a_layer_computes(self, layer: int, experts: list[tuple[int, int]], miss: str) -> None:
        computed = self.compute(layer, experts, miss)
        assert sorted(computed) == [expert for expert, _ in experts]
        self.asked["experts"] += len(experts)
        self.asked["pairs"] += sum(count for _, count in experts)

    @rule(
        layer=st.integers(0, LAYERS - 1), experts=SOME_EXPERTS, miss=st.sampled_from(sorted(MISSES)),
        fails_at=st.integers(0, EXPERTS - 1),
    )  # fmt: skip
    def a_layer_breaks_off(
        self, layer: int, experts: list[tuple[int, int]], miss: str, fails_at: int
    ) -> None:
        before, since = replace(self.engine.counters), self.lost_since()
        if fails_at in [expert for expert, _ in experts]:
            with pytest.raises(OperationError, match=f"no {fails_at}"):
                self.compute(layer, experts, miss, fails_at)
        self.scheduler.on_abort()
        self.lost_s += self.lost_since() - since
        after = self.engine.counters
        # What had been asked for when it broke off is counted.
        self.asked["experts"] += after.requested - before.requested
        self.asked["pairs"] += after.pairs - before.pairs

    @rule(slots=st.integers(0, LAYERS * EXPERTS + 2))
    def another_budget(self, slots: int) -> None:
        since = self.lost_since()
        for old, new in self.scheduler.resize(slots):
            self.device.move(old, new)
        self.lost_s += self.lost_since() - since
        self.budget = slots

    @rule()
    def from_the_start(self) -> None:
        since = self.lost_since()
        self.scheduler.restart()
        self.lost_s += self.lost_since() - since
        assert set(self.engine.slots.state) <= {FREE}

    def lost_since(self) -> float:
        return self.device.now() - self.scheduler.decode.parts.total_s

    def compute(
        self, layer: int, experts: list[tuple[int, int]], miss: str, fails_at: int | None = None
    ) -> list[int]:
        computed: list[int] = []

        def on_gpu(chosen: list[int], slots: list[int]) -> None:
            self.device.read(layer, chosen, slots)
            on_cpu(chosen)

        def on_cpu(chosen: list[int]) -> None:
            if fails_at in chosen:
                raise RuntimeError(f"no {fails_at}")
            computed.extend(chosen)

        self.scheduler._miss = miss
        self.scheduler.layer(layer, [e for e, _ in experts], [n for _, n in experts], on_gpu, on_cpu)
        return computed

    @invariant()
    def nothing_leaks(self) -> None:
        slots = self.engine.slots
        held = [owner for owner in slots.owner if owner != EMPTY]
        assert len(set(held)) == len(held)
        for slot, (state, owner) in enumerate(zip(slots.state, slots.owner, strict=True)):
            assert (owner != EMPTY) == (state in (LOADING, READY, PINNED))
            if owner != EMPTY:
                assert slots.where[owner // EXPERTS][owner % EXPERTS] == slot
        assert sum(map(len, slots.where)) == len(held)
        assert sorted(np.flatnonzero(~slots.absent)) == sorted(held)
        assert PINNED not in slots.state
        assert slots.count() == self.budget
        loading = slots.state.count(LOADING)
        assert len(held) <= self.budget
        assert loading <= self.engine._in_flight + LAYERS * EXPERTS

    @invariant()
    def the_counters_add_up(self) -> None:
        counters, slots = self.engine.counters, self.engine.slots
        assert counters.requested == self.asked["experts"]
        assert counters.pairs == self.asked["pairs"]
        assert 0 <= counters.cpu_pairs <= counters.pairs
        assert counters.loaded <= counters.miss
        held = len(slots.owner) - slots.owner.count(EMPTY)
        assert counters.copies == held + counters.evictions + counters.failed_copies
        assert counters.bytes == 100 * counters.copies == 100 * self.device.writes
        assert 0 <= counters.wasted_bytes <= counters.bytes
        assert self.lost_since() == pytest.approx(self.lost_s, abs=1e-6)

    def teardown(self) -> None:
        if hasattr(self, "engine"):
            self.scheduler.restart()
            self.nothing_leaks()
            self.device.close()


def machine(examples: int, steps: int) -> type:
    case = Machine.TestCase
    case.settings = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    return case


TestSafety = machine(examples=150, steps=30)


@pytest.mark.full
def test_safety_at_length() -> None:
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Machine, settings=settings(max_examples=3000, stateful_step_count=50))


def test_the_watched_device_notices_what_it_watches_for() -> None:
    device = Watched()
    write = partial(device.copy, 0, 0, 0)
    device.submit("link", 2.0, write)
    with pytest.raises(AssertionError, match="its copy came"):
        device.submit("gpu", 1.0, partial(device.read, 0, [0], [0]))
    with pytest.raises(AssertionError, match="was moved before"):
        device.move(0, 1)
    device.charge(2.0)
    with pytest.raises(AssertionError, match="holds"):
        device.submit("gpu", 1.0, partial(device.read, 0, [1], [0]))
    device.submit("gpu", 9.0, partial(device.read, 0, [0], [0]))
    with pytest.raises(AssertionError, match="overwritten"):
        device.submit("link", 2.0, write)
