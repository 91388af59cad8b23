"""Drive a scheduler through the passes of one model: those of a decode, and any other forward.

A layer that is not the one that the text comes to next, or that another thread runs, begins another pass: a
plain forward, or one of the model's own `generate`. Threads wait for one another: decodes for a step, all
else for a pass, so that others get in between a step's passes and are counted apart.

An interrupt may cut a call of the scheduler anywhere. The next call then finds a new scheduler, with empty
slots and a policy that has seen nothing, and no token is wrong for it. What the old one had started may
still run: copies come before the new ones on the same link, and nothing reads what else it does.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from threading import RLock, get_ident

import numpy as np
import torch

from ..decoder.callbacks import DecodeCallback
from ..engine.devices import OperationError
from ..engine.scheduler import RunCpu, RunGpu, Scheduler
from ..trace.step import Prefill, Step
from ..utils.validation import warn
from .expert_store import ExpertStore

__all__ = ["SchedulerDriver"]


class SchedulerDriver(DecodeCallback):
    """Calls a scheduler as a run's decodes and forwards go on; its counts and times outlive the run.

    Parameters
    ----------
    scheduler : callable
        ``scheduler(slots)`` makes a scheduler.
    store : ExpertStore
        Has the slots' memory.
    slots : int
        How many to make; fewer where memory is short.

    Attributes
    ----------
    scheduler : Scheduler
        The one in use.
    slots : int
        How many there are.
    tokens : int
        Tokens of whole steps.
    windows_s : list of (float, float)
        Start and end of each window, in seconds on the device's clock.
    turn, passing : RLock
        Held for a step; for a pass, and for each call of the scheduler.
    """

    def __init__(self, scheduler: Callable[[int], Scheduler], store: ExpertStore, slots: int) -> None:
        self._make = scheduler
        self._store = store
        self._consistent = True  # no call of the scheduler was interrupted
        self._open = True
        self.turn = RLock()
        self.passing = RLock()
        self._begin: Callable[[Scheduler], None] | None = None  # the prompt or window under way
        self._next: int | None = None  # the layer that the text's pass comes to
        self._thread = 0  # in which it does
        self._next_apart: int | None = None  # the layer that any other pass comes to
        self._window_start_s = 0.0
        self.tokens = 0
        self.windows_s: list[tuple[float, float]] = []
        store.resize(slots)
        self.slots = store.count
        self.scheduler = scheduler(self.slots)

    @property
    def seconds(self) -> float:
        """Duration of all windows, on the device's clock."""
        return sum(end - start for start, end in self.windows_s)

    def close(self) -> None:
        """Make no more calls of the scheduler."""
        self._open = False

    def on_prefill_start(self, positions: int, /) -> None:
        """Start a prefill, whose pass comes next."""
        self._open_with(lambda scheduler: scheduler.on_prefill_start(positions))
        self._expect_the_pass()

    def on_prompt_read(self) -> None:
        """Report that the target has read the prompt."""
        self._call(Scheduler.on_prompt_read)

    def on_prefill_end(self, prefill: Prefill, /) -> None:
        """End the prefill."""
        self._call(lambda scheduler: scheduler.on_prefill_end(prefill))
        self._begin = None

    def on_step_start(self, token: int, /) -> None:
        """Open a window."""
        self._window_start_s = self.scheduler.device.now()
        self._open_with(lambda scheduler: scheduler.on_step_start(token))

    def on_draft_token(self, token: int, /) -> None:
        """Report a drafted token."""
        self._call(lambda scheduler: scheduler.on_draft_token(token))

    def on_draft_end(self) -> None:
        """Start the verification, whose pass comes next."""
        self._call(Scheduler.on_draft_end)
        self._expect_the_pass()

    def on_verify(self, step: Step, /) -> None:
        """End the window."""
        self._call(lambda scheduler: scheduler.on_verify(step))
        self._begin = None
        if self._open:
            self.windows_s.append((self._window_start_s, self.scheduler.device.now()))
            self.tokens += len(step.emitted)

    def on_abort(self) -> None:
        """Take back what is under way; after an out-of-memory error, give up slots."""
        with self.passing:
            self._next = self._begin = None
            if self._consistent:
                self._call(Scheduler.on_abort)
        if isinstance(sys.exception(), torch.OutOfMemoryError):  # of the model's other parts
            self.give_way()

    def give_way(self) -> bool:
        """Free half of the slots of a device out of memory, with a warning; False if there are none."""
        if not self._open or not self.slots:
            return False
        fewer = self.slots // 2
        warn(
            f"the device is out of memory; it goes on with {fewer} of {self.slots} slots; a smaller budget "
            "leaves room from the start"
        )
        self.resize(fewer)
        return True

    def layer(
        self,
        layer: int,
        experts: Sequence[int],
        positions: Sequence[int],
        run_gpu: RunGpu,
        run_cpu: RunCpu,
        next_gates: np.ndarray | None = None,
        *,
        pass_positions: int,
    ) -> None:
        """Run one layer of the pass under way, or of one that begins with it; see `Scheduler.layer`."""
        is_text = layer == self._next and get_ident() == self._thread
        following = layer + 1 if layer + 1 < len(self._store.layers) else None

        def run_layer(scheduler: Scheduler) -> None:
            if is_text:
                scheduler.end_other_pass()
            elif layer != self._next_apart:
                scheduler.begin_other_pass(pass_positions)
            scheduler.layer(layer, experts, positions, run_gpu, run_cpu, next_gates)

        self._call(run_layer)
        if is_text:
            self._next = following
        else:
            self._next_apart = following

    def resize(self, slots: int) -> None:
        """Change the number of slots."""
        self.slots = slots
        self._call(self._fit)

    def _fit(self, scheduler: Scheduler) -> None:
        self._store.resize(max(self.slots, self._store.count))
        self.slots = min(self.slots, self._store.count)
        for old, new in scheduler.resize(self.slots):
            self._store.move(old, new)
        self._store.resize(self.slots)

    def _open_with(self, begin: Callable[[Scheduler], None]) -> None:
        self._begin = None
        self._call(begin)
        self._begin = begin

    def _expect_the_pass(self) -> None:
        self._next, self._thread = 0, get_ident()

    def _call(self, call: Callable[[Scheduler], None]) -> None:
        with self.passing:
            if not self._open:
                return
            if not self._consistent:
                self._renew()
            self._consistent = False
            try:
                call(self.scheduler)
            except OperationError:  # the scheduler can take that back itself
                self.scheduler.on_abort()
                self._consistent = True
                raise
            self._consistent = True

    def _renew(self) -> None:
        self._store.resize(self.slots)
        self.slots = self._store.count
        interrupted, new = self.scheduler, self._make(self.slots)
        new.prefill, new.decode, new.other = interrupted.prefill, interrupted.decode, interrupted.other
        self.scheduler = new
        if self._begin is not None:  # another thread's pass was interrupted, in the middle of this text's
            self._begin(new)
