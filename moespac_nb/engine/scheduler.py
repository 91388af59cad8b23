"""The loop that a live decode and a replay both drive: a window is drafted, verified by layers, learned from.

    scheduler = Scheduler(VirtualDevice(), costs, policy("recency"), geometry, slots=16)
    scheduler.begin_window(token)
    scheduler.drafted(token)                        # once for each
    scheduler.layer(0, experts, positions)          # layer after layer, as the routers choose
    scheduler.end_window(step)

It never knows whether time is real. A live decode gives `layer` what computes the experts; a replay gives
nothing, and the device lets the modelled time pass. Reading a prompt is a pass like any other, but for its
misses: they go where they take less time, for every policy alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from ..hardware.cost_model import Costs
from ..trace.step import MoEShape, Prefill, Step
from ..utils.exceptions import MoespacError
from .devices import Device, OperationError
from .engine import Engine
from .layer_runner import LayerRunner, RunCpu, RunGpu
from .log import Log, WindowEnd, WindowStart
from .policy import Plan, Planner, Policy, PolicyContext
from .time_breakdown import PhaseStats, TimeBreakdown

__all__ = ["PhaseStats", "RunCpu", "RunGpu", "Scheduler", "TimeBreakdown"]


class Scheduler(LayerRunner):
    """One decode, or several in a row, of one policy on one device.

    slots: what the budget pays for; a policy without slots takes none.
    gamma: the draft length that the policy's rules reckon with; each window may have its own.
    copy: (layer, expert, slot) → brings the weights, on the link's lane; None in a replay.
    profile: (layers, experts), how often other texts used each expert, for policies that need it.
    """

    def __init__(
        self,
        device: Device,
        costs: Costs,
        policy: Policy,
        geometry: MoEShape,
        slots: int,
        *,
        gamma: int = 8,
        profile: np.ndarray | None = None,
        copy: Callable[[int, int, int], object] | None = None,
        in_flight: int = 4,
        log: Log | None = None,
    ) -> None:
        slots = slots if policy.slots else 0
        layers, experts = geometry.layers, geometry.experts
        super().__init__(device, costs, Engine(device, layers, experts, slots, costs, copy, in_flight, log))
        self.policy = policy
        self.geometry = geometry
        self.log = log
        self._setting = PolicyContext(geometry, costs, gamma, self.engine.slots, profile, log)
        self.planner: Planner = policy.planner(self._setting)
        self._positions = 0  # of the pass: prompt tokens, or the window's
        self._enter(self.decode, policy.miss)
        self._tokens: list[int] = []
        self._gates: list[np.ndarray] = []
        self._reads = True  # the target has yet to read the prompt

    def begin_prefill(self, positions: int) -> None:
        """A prompt of so many positions is read."""
        self._enter(self.prefill, "cheaper" if self.policy.slots else "cpu")
        self._booked = self.device.now()
        self._positions = positions
        self._reads = True
        self.engine.begin_pass()

    def on_prompt_read(self) -> None:
        """The target has read it, and the draft is next; without this, `end_prefill` says so."""
        self.end_other_pass()
        self._finish("gpu", self.costs.head_s, "head", "dense_s")
        self._reads = False

    def end_prefill(self, prefill: Prefill, following: Step | None = None) -> None:
        """It has been read, by the draft too; one of a single token is read as the first window begins.

        following: for a policy that says that it reads the future.
        """
        self.end_other_pass()
        if self._phase is self.prefill:
            if self._reads:
                self.on_prompt_read()
            self._finish("draft", self._positions * self.costs.draft_prefill_s, "draft reads", "draft_s")
        else:
            self._booked = self.device.now()
        self._enter(self.prefill, self.policy.miss)
        told = self._told(following)
        self._think(lambda: self.planner.on_prefill(prefill, told))
        self._enter(self.decode, self.policy.miss)

    def begin_other_pass(self, positions: int) -> None:
        """A pass of no text: its experts are treated as a window's, and the policy learns nothing of it."""
        aside = self._aside or (self._phase, self._miss, self._positions)
        self._enter(self.other, self.policy.miss)
        if not self._tokens:  # else a window is open, whose draft is read by the target itself
            self._booked = self.device.now()
        self._aside, self._positions = aside, positions
        self.engine.begin_pass()
        self.engine.pump()

    def end_other_pass(self) -> None:
        """Back to the prompt, or the window, that such a pass came into; without one, nothing."""
        if self._aside is not None:
            phase, miss, self._positions = self._aside
            self._enter(phase, miss)
            self.engine.begin_pass()

    def begin_window(self, token: int) -> None:
        """The last committed token opens a window."""
        if self.log is not None:
            self.log.append(WindowStart(token))
        self._enter(self.decode, self.policy.miss)
        self._booked = self.device.now()
        self._tokens = [token]
        self._gates = []
        self._positions = 1
        self.engine.begin_pass()
        self.engine.pump()

    def drafted(self, token: int, gates: np.ndarray | None = None) -> None:
        """One more token is drafted. gates: (layers, m), see `sensors.DraftGates`."""
        self.end_other_pass()
        self._finish("draft", self.costs.draft_s, "draft", "draft_s")
        self._tokens.append(token)
        if gates is not None:
            self._gates.append(gates)
        self._positions += 1
        self._show_draft(complete=False)
        self.engine.pump()

    def verify(self) -> None:
        """The draft is complete: the window's first layer comes next."""
        self.end_other_pass()
        self._show_draft(complete=True)

    def layer(
        self,
        layer: int,
        experts: Sequence[int],
        positions: Sequence[int],
        run_gpu: RunGpu | None = None,
        run_cpu: RunCpu | None = None,
        next_gates: np.ndarray | None = None,
    ) -> None:
        """One layer of the pass: its distinct experts, and how many positions each serves.

        run_gpu(experts, slots) and run_cpu(experts) compute them, each expert once, on the lanes of those
        names; on return all have. next_gates: (positions, m), what the next layer's gate picks from the input
        of this one's, see `sensors.NextGate`.
        Raises OperationError if one of them failed; a copy that failed only sends its expert to the CPU lane.
        """
        dense = self.device.submit(
            "gpu",
            self.costs.dense_s + self._positions * self.costs.dense_position_s,
            label=self._labels["dense"][layer],
            since=self._booked,
        )
        self.engine.pump()
        self.device.wait(dense)
        self._book("dense_s")
        ahead = self._phase is self.decode and layer + 1 < self.geometry.layers
        if ahead and self.planner.known == "layer":
            self._order(self.planner.on_layer(layer + 1, next_gates))
            self._book("plan_s")
        todo, counts = experts, positions
        while todo:
            placement = self.engine.layer(layer, todo, counts, self._miss)
            self._book("link_wait_s")  # where only a copy under way could make room
            self._compute(placement, run_gpu, run_cpu)
            self.engine.release(placement)
            todo, counts = placement.deferred
        score = self.planner.on_use(layer)
        if score is not None:
            self.engine.update_score(layer, experts, score)

    def end_window(self, step: Step, following: Step | None = None) -> None:
        """The window is verified. following: for a policy that says that it reads the future."""
        if self.log is not None:
            self.log.append(WindowEnd(np.array(self.engine.slots.worth.score, np.float32), self.planner.tau))
        self.end_other_pass()
        self._finish("gpu", self.costs.head_s, "head", "dense_s")
        self._tokens = []
        told = self._told(following)
        self._think(lambda: self.planner.on_verify(step, told))

    def resize(self, slots: int) -> None:
        """Another budget, at any time; a policy without slots has no use for it."""
        if self.policy.slots:
            self.engine.resize(slots)

    def restart(self) -> None:
        """As at the start: empty slots, and a policy that has seen nothing. What was counted stays."""
        self.engine.reset()
        self._booked = self.device.now()
        self.planner = self.policy.planner(self._setting)

    def cancel(self) -> None:
        """Take back a pass in which an operation failed: wait for what it started, and pin nothing any more.

        Not for an interrupt, which may leave a call half done: after one make a new scheduler, as `passes`
        does.
        """
        while self._running:
            with suppress(OperationError):  # it has been raised to whoever asked for the layer
                self.device.wait(self._running[-1])
            self._running.pop()
        self.engine.abort()
        self.engine.begin_pass()
        self._tokens = []
        self._booked = self.device.now()  # what was lost is in no part

    def _show_draft(self, complete: bool) -> None:
        if self.planner.known == "drafted":
            gates = np.stack(self._gates) if self._gates else None
            self._order(self.planner.on_draft(np.array(self._tokens), gates, complete))
            self._book("plan_s")

    def _told(self, following: Step | None) -> Step | None:
        if following is not None and not self.policy.reads_future:
            raise MoespacError(
                f"policy {self.policy.name!r} was given the window to come; expected: None, for all that do "
                "not say that they read the future"
            )
        return following

    def _think(self, ask: Callable[[], Plan | None]) -> None:
        """The policy's time is charged before its order holds: as measured, as modelled where none passes."""
        start = self.device.now()
        order = ask()
        passed = self.device.now() - start
        if not passed:
            self.device.charge(self.planner.plan_s(), "plan")
        else:
            self.device.charge(passed, "plan")
        self._order(order)
        self._book("plan_s")

    def _order(self, order: Plan | None) -> None:
        if order is not None:
            self.engine.set_priorities(order.scores, order.wanted)
