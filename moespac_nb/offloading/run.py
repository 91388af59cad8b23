"""A model while it is offloaded: decode, count, change the budget, and make the model whole again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import partial
from threading import RLock
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from ..decoder.callbacks import combine_callbacks
from ..decoder.decoding import Decoding
from ..decoder.drafts import ModelDraft
from ..decoder.speculative import decode
from ..engine.devices import Device, Operation
from ..engine.devices.host import share_cores
from ..engine.placement import Counters
from ..engine.scheduler import Scheduler
from ..hardware.budget import Allotment, Budget, parse_budget
from ..hardware.costs import Costs
from ..models.gates import Gate
from ..models.inspection import ModelInfo
from ..policies import Policy
from ..utils.exceptions import ClosedSessionError
from ..utils.validation import warn
from .driver import SchedulerDriver
from .expert_layer import ExpertLayer
from .expert_store import ExpertStore, expert_parameters
from .stand_in import Away, StandIns
from .transfer import move, put_back

__all__ = ["Run"]


class Run:
    """An offloaded model, made by `offload`; a context manager. Its counts and its timeline outlive it.

    Parameters
    ----------
    model, device, costs, policy, gamma, in_flight
        As in `offload`.
    info : ModelInfo
        Of the model.
    allotment : Allotment
        The budget, in bytes and slots.
    gates : sequence of Gate
        Every layer's, for a policy that asks them a layer ahead.
    away : sequence of (module, parameters), optional
        What an earlier run has of the model, and hands over.
    expert_usage : ndarray, shape (layers, experts), optional
        How often other texts used each expert.

    Attributes
    ----------
    device : Device
        Runs the lanes, and has the clock.
    costs : Costs
        What the policy assumes, and the truth of a virtual device.
    policy : str
        Its name.
    gamma : int
        Draft length, in tokens.
    budget_bytes : int
        Memory for slots.
    expert_bytes : float
        Memory of one expert.
    geometry : MoEShape
        Layers, experts and top-k.
    is_open : bool
        Whether the model is still offloaded.
    """

    def __init__(
        self,
        model: Any,
        info: ModelInfo,
        device: Device,
        costs: Costs,
        policy: Policy,
        allotment: Allotment,
        gates: Sequence[Gate],
        away: Away | None = None,
        *,
        gamma: int,
        **options: Any,
    ) -> None:
        self.model, self.device, self.costs, self.gamma = model, device, costs, gamma
        self.policy = policy.name
        self.geometry = info.shape
        self.expert_bytes = costs.expert_bytes
        self._has_slots = policy.slots
        # The same objects come back at the end; while they are away, code that reads them meets meta tensors.
        self._away = away or [(module, expert_parameters(module)) for module in info.experts]
        self._moved: list[tuple[Any, str, Any]] = []  # what went to the GPU for the run
        self.is_open = True
        self.in_block = False  # of its `with`, which alone ends it
        self._stand_ins = StandIns(self, self._away)
        self._store = ExpertStore([weights for _, weights in self._away], device)
        try:
            self._move_the_rest(model)  # first: slots take what it leaves
            options |= {"gamma": gamma, "copy": self._store.copy}
            scheduler = partial(Scheduler, device, costs, policy, self.geometry, **options)
            slots = self._slots_of(allotment)
            self._driver = SchedulerDriver(scheduler, self._store, slots)
        except BaseException:
            put_back(self._moved)
            device.close()
            raise
        try:
            self._warn_if_fewer(slots)
            share_cores(device)
            following = [*gates[1:], None] if gates else [None] * len(self._away)
            for index, ((module, weights), gate) in enumerate(zip(self._away, following, strict=True)):
                layer = ExpertLayer(module, index, self._store, self._driver, gate)
                self._stand_ins.put(module, "forward", layer)
                for name, weight in weights.items():
                    meta = torch.empty_like(weight, device="meta")
                    setattr(module, name, nn.Parameter(meta, requires_grad=weight.requires_grad))
            self._stand_ins.put(model, "forward")
            self._stand_ins.guard(model)
        except BaseException:
            self.close()
            raise

    def decode(self, prompt: str | Sequence[int], **options: Any) -> Decoding:
        """Decode a prompt from slots.

        Parameters
        ----------
        prompt, **options
            As in `moespac_nb.decode`; `gamma` is the run's unless given.

        Returns
        -------
        Decoding

        Raises
        ------
        ClosedSessionError
            If the run has ended.
        """
        self._check_open()
        draft = options.get("draft")
        draft = draft.model if isinstance(draft, ModelDraft) else draft
        if isinstance(draft, nn.Module):
            self._move_the_rest(draft)
        callbacks = [combine_callbacks(options.pop("callbacks", ())), self._driver]
        options = {"gamma": self.gamma, **options, "callbacks": callbacks}
        return decode(self.model, prompt, **options)

    def resize(self, budget: Budget | str | int) -> None:
        """Change the budget, between two steps of a decode or two forwards.

        What is resident stays as far as there is room, the most useful first; the memory of other slots is
        freed at once.

        Parameters
        ----------
        budget : str or int or Budget
            As in `offload`.

        Raises
        ------
        ClosedSessionError
            If the run has ended.
        """
        self._check_open()
        experts = self.geometry.layers * self.geometry.experts
        slots = self._slots_of(parse_budget(budget).allot(self.expert_bytes, experts))
        self._driver.resize(slots)
        self._warn_if_fewer(slots)

    @property
    def slots(self) -> int:
        """How many slots there are now."""
        return self._driver.slots

    @property
    def counters(self) -> Counters:
        """A snapshot of all counts: of decoding, prompts, and passes apart from both."""
        scheduler = self._driver.scheduler
        phases = (scheduler.prefill, scheduler.decode, scheduler.other)
        return Counters(*map(sum, zip(*(astuple(phase.counters) for phase in phases), strict=True)))

    @property
    def resident(self) -> np.ndarray:
        """(layers, experts) bool: which experts are in a slot now, their copies done."""
        return self._driver.scheduler.engine.slots.resident()

    @property
    def passing(self) -> RLock:
        """Held by the thread whose forward runs."""
        return self._driver.passing

    @property
    def torch_device(self) -> torch.device:
        """Where all weights but the experts' are."""
        return self._store.device

    @property
    def timeline(self) -> list[Operation]:
        """All operations by start; modelled on the virtual device, measured on others."""
        return self.device.timeline()

    @property
    def windows_s(self) -> tuple[tuple[float, float], ...]:
        """Start and end of each decoded window, in seconds on the timeline's clock."""
        return tuple(self._driver.windows_s)

    @property
    def label(self) -> Literal["modelled", "measured"]:
        """What all times of this run are."""
        return "modelled" if self.device.kind == "virtual" else "measured"

    def summary(self) -> dict[str, Any]:
        """Return figures of decoding so far, without prompts; their names tell modelled from measured."""
        driver, decoding = self._driver, self._driver.scheduler.decode
        counters, seconds, tokens = decoding.counters, driver.seconds, driver.tokens
        return {
            "policy": self.policy,
            "device": self.device.kind,
            "budget_bytes": self.budget_bytes,
            "slots": self.slots,
            "tokens": tokens,
            "windows": len(driver.windows_s),
            f"tokens_per_second_{self.label}": tokens / seconds if seconds else None,
            f"stall_share_{self.label}": decoding.parts.link_wait_s / seconds if seconds else None,
            "hit_rate": counters.hit_rate if counters.requested else None,
            "late_rate": counters.late_rate if counters.requested else None,
            "cpu_share": counters.cpu_share if counters.pairs else None,
            "bytes_per_token": counters.bytes / tokens if tokens else None,
            "wasted_bytes": counters.wasted_bytes,
            "prefill_bytes": driver.scheduler.prefill.counters.bytes,
        }

    def close(self) -> None:
        """Make the model whole again and free the slots; calling it again does nothing."""
        try:
            self._restore()
        except BaseException:  # an interrupt must not leave half a model
            self._restore()
            raise

    def hand_over(self, make: Callable[..., Run]) -> Run:
        """End, and let another run have the model, without a moment in which it is whole."""
        with self.passing:
            put_back(self._moved)
            self.is_open = False
            self._end()
            try:
                run = make(away=self._away)
            except BaseException:
                self._restore()
                raise
            self._away = []
            self._stand_ins.drop()
            return run

    def _restore(self) -> None:
        with self.passing:  # no thread computes now
            for module, away in self._away:
                for name, weight in away.items():
                    if (meta := module._parameters[name]) is not None:
                        weight.requires_grad_(meta.requires_grad)
                module._parameters.update(away)
            put_back(self._moved)
            self.is_open = False
            self._stand_ins.back()  # last: until then a forward of another thread waits for its turn
            self._away = []
            self._end()

    def _end(self) -> None:
        self._driver.close()
        self.device.close()
        self._store.free()

    def _slots_of(self, allotment: Allotment) -> int:
        self.budget_bytes = allotment.budget_bytes
        return allotment.slots if self._has_slots else 0

    def _warn_if_fewer(self, slots: int) -> None:
        if self.slots < slots:
            warn(
                f"the device has memory for {self.slots} of the {slots} slots of this budget; it goes on "
                "with those"
            )

    def _check_open(self) -> None:
        if not self.is_open:
            raise ClosedSessionError(
                "this run is closed and its model is whole again; decode within the block, offload the model "
                "anew, or call moespac_nb.decode(model, …)"
            )

    def _move_the_rest(self, model: nn.Module) -> None:
        """To a device with memory of its own: all but the experts; of a draft, all."""
        if self._store.device != torch.device("cpu"):
            move(model, self._store.device, self._away, self._moved)

    def __enter__(self) -> Run:
        """Begin the block; its end closes the run."""
        self._check_open()
        self.in_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the run."""
        self.close()
