"""The loop that a live decode and a replay both drive: draft a window, verify it layer by layer, learn.

The scheduler does not know whether time is simulated. Live decoding passes callables that compute the
experts; a replay passes none, and the virtual device advances its clock. A prompt is read in a pass like any
other, except that a miss goes where it takes less time, for every policy alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np

from ..hardware.costs import Costs
from ..trace.step import MoEShape, Prefill, Step
from ..utils.exceptions import InvalidInputError
from .devices import Device, OperationError
from .engine import Engine
from .layer_runner import LayerRunner, RunCpu, RunGpu
from .log import Log, WindowEnd, WindowStart
from .policy import Plan, Planner, Policy, PolicyContext
from .time_breakdown import PhaseStats, TimeBreakdown

__all__ = ["PhaseStats", "RunCpu", "RunGpu", "Scheduler", "TimeBreakdown"]


class Scheduler(LayerRunner):
    """Drive one policy on one device, through one decode or several in a row.

    Parameters
    ----------
    device : Device
        Runs the lanes, and has the clock.
    costs : Costs
        Modelled times.
    policy : Policy
        See `get_policy`.
    geometry : MoEShape
        The model's layers, experts and top k.
    slots : int
        What the budget pays for; a policy without slots takes none.
    gamma : int, default 8
        The draft length that the policy's rules assume; each window may have its own.
    expert_usage : ndarray, shape (layers, experts), optional
        How often other texts used each expert, for policies that need it.
    copy : callable, optional
        ``copy(layer, expert, slot)`` brings the weights, on the link's lane; None in a replay.
    in_flight : int, default 4
        Copies handed to the link at a time.
    log : list, optional
        Events are appended to it, see `engine.log`.

    Examples
    --------
    >>> from moespac_nb import MoEShape, VirtualDevice, cost_model, get_policy, load_trace
    >>> costs, shape = cost_model("rtx4090", "qwen3-30b-a3b"), MoEShape(layers=8, experts=64, top_k=4)
    >>> scheduler = Scheduler(VirtualDevice(), costs, get_policy("recency"), shape, slots=16)
    >>> step = load_trace("chat", half="report")[0]
    >>> scheduler.on_step_start(int(step.window[0]))
    >>> for token in step.drafted.tolist():
    ...     scheduler.on_draft_token(token)
    >>> scheduler.on_draft_end()
    >>> for layer, counts in enumerate(step.counts):  # as the routers choose
    ...     scheduler.layer(layer, counts.nonzero()[0].tolist(), counts[counts > 0].tolist())
    >>> scheduler.on_verify(step)
    >>> scheduler.decode.counters.miss  # nothing was in a slot yet
    176
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
        expert_usage: np.ndarray | None = None,
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
        self._context = PolicyContext(geometry, costs, gamma, self.engine.slots, expert_usage, log)
        self.planner: Planner = policy.planner(self._context)
        self._positions = 0  # of the pass: prompt tokens, or the window's
        self._enter(self.decode, policy.miss)
        self._tokens: list[int] = []
        self._gates: list[np.ndarray] = []
        self._reads = True  # the target has yet to read the prompt

    def on_prefill_start(self, positions: int) -> None:
        """Begin to read a prompt.

        Parameters
        ----------
        positions : int
            Tokens of the prompt that the pass reads.
        """
        self._enter(self.prefill, "cheaper" if self.policy.slots else "cpu")
        self._booked = self.device.now()
        self._positions = positions
        self._reads = True
        self.engine.begin_pass()

    def on_prompt_read(self) -> None:
        """Note that the target has read the prompt; `on_prefill_end` implies it."""
        self.end_other_pass()
        self._finish("gpu", self.costs.head_s, "head", "dense_s")
        self._reads = False

    def on_prefill_end(self, prefill: Prefill, following: Step | None = None) -> None:
        """End the reading of a prompt, and let the policy plan.

        Parameters
        ----------
        prefill : Prefill
            What was read. A prompt of a single token is read as the first window begins.
        following : Step, optional
            The next window, for a policy that reads the future.
        """
        self.end_other_pass()
        if self._phase is self.prefill:
            if self._reads:
                self.on_prompt_read()
            self._finish("draft", self._positions * self.costs.draft_prefill_s, "draft reads", "draft_s")
        else:
            self._booked = self.device.now()
        self._enter(self.prefill, self.policy.miss)
        self._plan(self.planner.on_prefill, prefill, following)
        self._enter(self.decode, self.policy.miss)

    def begin_other_pass(self, positions: int) -> None:
        """Begin a pass that belongs to no text. The policy learns nothing of it.

        Parameters
        ----------
        positions : int
            Positions that the pass computes.
        """
        aside = self._aside or (self._phase, self._miss, self._positions)
        self._enter(self.other, self.policy.miss)
        if not self._tokens:  # else a window is open, whose draft is read by the target itself
            self._booked = self.device.now()
        self._aside, self._positions = aside, positions
        self.engine.begin_pass()
        self.engine.pump()

    def end_other_pass(self) -> None:
        """Return to the prompt or window that another pass interrupted, if one did."""
        if self._aside is not None:
            phase, miss, self._positions = self._aside
            self._enter(phase, miss)
            self.engine.begin_pass()

    def on_step_start(self, token: int) -> None:
        """Open a window.

        Parameters
        ----------
        token : int
            The last committed token.
        """
        if self.log is not None:
            self.log.append(WindowStart(token))
        self._enter(self.decode, self.policy.miss)
        self._booked = self.device.now()
        self._tokens = [token]
        self._gates = []
        self._positions = 1
        self.engine.begin_pass()
        self.engine.pump()

    def on_draft_token(self, token: int, gates: np.ndarray | None = None) -> None:
        """Note one more drafted token.

        Parameters
        ----------
        token : int
            The token.
        gates : ndarray, shape (layers, m), optional
            Experts that the target's gates choose from the draft's state, see `sensors.DraftGates`.
        """
        self.end_other_pass()
        self._finish("draft", self.costs.draft_s, "draft", "draft_s")
        self._tokens.append(token)
        if gates is not None:
            self._gates.append(gates)
        self._positions += 1
        self._show_draft(complete=False)
        self.engine.pump()

    def on_draft_end(self) -> None:
        """Note that the draft is complete; the window's first layer comes next."""
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
        """Run one layer of the pass.

        Parameters
        ----------
        layer : int
            The layer.
        experts : sequence of int
            Its distinct experts.
        positions : sequence of int
            Positions that each of them serves.
        run_gpu, run_cpu : callable, optional
            ``run_gpu(experts, slots)`` and ``run_cpu(experts)`` compute experts, each once, on the lanes of
            those names. None where time is modelled. When this returns, all have computed.
        next_gates : ndarray, shape (positions, m), optional
            What the next layer's gate picks from this layer's input, see `sensors.NextGate`.

        Raises
        ------
        OperationError
            An expert failed to compute. A copy that fails only sends its expert to the CPU lane.
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
        if ahead and self.planner.available_at == "layer":
            self._follow(self.planner.on_layer(layer + 1, next_gates))
            self._book("planning_s")
        todo, counts = experts, positions
        while todo:
            dispatch = self.engine.layer(layer, todo, counts, self._miss)
            self._book("link_wait_s")  # where only a copy under way could make room
            self._compute(dispatch, run_gpu, run_cpu)
            self.engine.release(dispatch)
            todo, counts = dispatch.deferred
        score = self.planner.on_use(layer)
        if score is not None:
            self.engine.update_score(layer, experts, score)

    def on_verify(self, step: Step, following: Step | None = None) -> None:
        """End a verified window, and let the policy plan the next one.

        Parameters
        ----------
        step : Step
            The window.
        following : Step, optional
            The next window, for a policy that reads the future.
        """
        if self.log is not None:
            self.log.append(
                WindowEnd(np.array(self.engine.slots.priority.score, np.float32), self.planner.tau)
            )
        self.end_other_pass()
        self._finish("gpu", self.costs.head_s, "head", "dense_s")
        self._tokens = []
        self._plan(self.planner.on_verify, step, following)

    def resize(self, slots: int) -> list[tuple[int, int]]:
        """Change the number of slots, between two layers; see `Engine.resize`.

        Parameters
        ----------
        slots : int
            How many there are to be; a policy without slots ignores it.

        Returns
        -------
        list of (int, int)
            The old and the new slot of each resident that has moved.
        """
        moves = self.engine.resize(slots) if self.policy.slots else []
        self._booked = self.device.now()  # what was waited for is in no part
        return moves

    def restart(self) -> None:
        """Empty the slots, and start the policy anew. Counters stay."""
        self.engine.reset()
        self._booked = self.device.now()
        self.planner = self.policy.planner(self._context)

    def on_abort(self) -> None:
        """Take back a pass in which an operation failed: wait for what it started, and unpin everything.

        Not for an interrupt, which may leave a call half done; after one, make a new scheduler.
        """
        while self._running:
            with suppress(OperationError):  # it has been raised to the caller of `layer`
                self.device.wait(self._running[-1])
            self._running.pop()
        self.engine.abort()
        self.engine.begin_pass()
        self._tokens = []
        self._booked = self.device.now()  # what was lost is in no part

    def _show_draft(self, complete: bool) -> None:
        if self.planner.available_at == "drafted":
            gates = np.stack(self._gates) if self._gates else None
            self._follow(self.planner.on_draft(np.array(self._tokens), gates, complete))
            self._book("planning_s")

    def _plan(self, hook: Callable[..., Plan | None], seen: Prefill | Step, following: Step | None) -> None:
        """Let the policy plan, and charge its time before the plan holds.

        The time is what was measured, or what is modelled where no time passes.
        """
        if following is not None and not self.policy.reads_future:
            raise InvalidInputError(
                f"policy {self.policy.name!r} was given the window to come; expected: None, as the policy "
                "does not set reads_future"
            )
        start_s = self.device.now()
        plan = hook(seen, following)
        self.device.charge(self.device.now() - start_s or self.planner.planning_s(), "plan")
        self._follow(plan)
        self._book("planning_s")

    def _follow(self, plan: Plan | None) -> None:
        if plan is not None:
            self.engine.set_priorities(plan.scores, plan.wanted)
