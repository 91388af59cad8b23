"""A model while it is offloaded: what decodes, counts, changes its budget, and makes it whole again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
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
from ..hardware.budget import Budget, Room, parse_budget
from ..hardware.cost_model import Costs
from ..models.gates import Gate
from ..models.inspection import ModelInfo
from ..policies import Policy
from ..utils.exceptions import MoespacError
from ..utils.validation import warn
from .driver import SchedulerDriver
from .expert_layer import ExpertLayer
from .expert_store import ExpertStore, expert_parameters
from .stand_in import Away, StandIns
from .transfer import move, put_back

__all__ = ["Run"]


class Run:
    """An offloaded model. Its counts and its timeline outlive it.

    costs: what the policy reckons with, and the truth of a virtual device. ahead: every layer's gate, for a
    policy that asks them a layer ahead. away: what an earlier run has of the model, and hands over.
    """

    def __init__(
        self,
        model: Any,
        info: ModelInfo,
        device: Device,
        costs: Costs,
        policy: Policy,
        room: Room,
        ahead: Sequence[Gate],
        away: Away | None = None,
        *,
        gamma: int,
        profile: np.ndarray | None,
        in_flight: int,
    ) -> None:
        self.model, self.device, self.costs, self.gamma = model, device, costs, gamma
        self.policy = policy.name
        self.geometry = info.shape
        self.expert_bytes = costs.expert_bytes
        self.slots: int
        self._has_slots = policy.slots
        self._take(room)
        # The same objects come back at the end; while they are away, whoever reads them meets meta tensors.
        self._away = away or [(module, expert_parameters(module)) for module in info.experts]
        self._moved: list[tuple[Any, str, Any]] = []  # what went to the GPU for the run
        self.is_open = True
        self.in_block = False  # of its `with`, which alone ends it
        self._stand_ins = StandIns(self, self._away)
        self._store = ExpertStore([away for _, away in self._away], device)
        try:
            self._move_the_rest(model)  # first: slots take what it leaves
            self._passes = SchedulerDriver(
                lambda slots: Scheduler(
                    device,
                    costs,
                    policy,
                    self.geometry,
                    slots,
                    gamma=gamma,
                    profile=profile,
                    copy=self._store.copy,
                    in_flight=in_flight,
                ),
                self._store,
                self.slots,
            )
        except BaseException:
            put_back(self._moved)
            device.close()
            raise
        try:
            self._take_what_fits()
            share_cores(device)
            following = [*ahead[1:], None] if ahead else [None] * len(self._away)
            for index, ((module, weights), gate) in enumerate(zip(self._away, following, strict=True)):
                layer = ExpertLayer(module, index, self._store, self._passes, gate)
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
        """Decode a prompt from slots; the options are those of `moespac_nb.decode`."""
        self._check_open()
        draft = options.get("draft")
        draft = draft.model if isinstance(draft, ModelDraft) else draft
        if isinstance(draft, nn.Module):
            self._move_the_rest(draft)
        callbacks = [combine_callbacks(options.pop("callbacks", ())), self._passes]
        options = {"gamma": self.gamma, **options, "callbacks": callbacks}
        return decode(self.model, prompt, **options)

    def resize(self, budget: Budget | str | int) -> None:
        """Another budget from now on; between two steps of a decode, or two forwards.

        What is resident stays as far as there is room, the most useful first, and the memory of slots that
        are no more is given back at once.
        """
        self._check_open()
        experts = self.geometry.layers * self.geometry.experts
        self._take(parse_budget(budget).room(self.expert_bytes, experts))
        self._passes.resize(self.slots)
        self._take_what_fits()

    @property
    def counters(self) -> Counters:
        """A snapshot of all that was counted: decoding, prompts, and passes apart from both."""
        on = self._passes.scheduler
        counted = [phase.counters for phase in (on.prefill, on.decode, on.other)]
        names = [field.name for field in fields(Counters)]
        return Counters(**{name: sum(getattr(each, name) for each in counted) for name in names})

    @property
    def resident(self) -> np.ndarray:
        """(layers, experts) bool: what is in a slot now, its copy done; copies under way are left out."""
        return self._passes.scheduler.engine.slots.resident()

    @property
    def passing(self) -> RLock:
        """Held by the thread whose forward runs."""
        return self._passes.passing

    @property
    def torch_device(self) -> torch.device:
        """Where everything but the experts is."""
        return self._store.device

    @property
    def timeline(self) -> list[Operation]:
        """What ran when, by start; modelled on the virtual device, measured on others."""
        return self.device.timeline()

    @property
    def windows_s(self) -> tuple[tuple[float, float], ...]:
        """When each decoded window opened, and when it had been learned from, on the timeline's clock."""
        return tuple(self._passes.windows_s)

    @property
    def label(self) -> Literal["modelled", "measured"]:
        """What all times here are."""
        return "modelled" if self.device.kind == "virtual" else "measured"

    def summary(self) -> dict[str, Any]:
        """Figures of decoding so far, prompts apart; whatever comes from a time says what that is."""
        passes, decoding = self._passes, self._passes.scheduler.decode
        counted, seconds, tokens = decoding.counters, passes.seconds, passes.tokens
        asked = counted.ready + counted.late + counted.miss
        return {
            "policy": self.policy,
            "device": self.device.kind,
            "budget_bytes": self.budget_bytes,
            "slots": self.slots,
            "tokens": tokens,
            "windows": len(passes.windows_s),
            f"tokens_per_second_{self.label}": tokens / seconds if seconds else None,
            f"stall_share_{self.label}": decoding.parts.link_wait_s / seconds if seconds else None,
            "hit_rate": counted.ready / asked if asked else None,
            "late_rate": counted.late / asked if asked else None,
            "cpu_share": counted.cpu_pairs / counted.pairs if counted.pairs else None,
            "bytes_per_token": counted.bytes / tokens if tokens else None,
            "wasted_bytes": counted.wasted_bytes,
            "prefill_bytes": passes.scheduler.prefill.counters.bytes,
        }

    def close(self) -> None:
        """The model is itself again, the slots' memory is free, no thread is left. Again: nothing."""
        try:
            self._restore()
        except BaseException:  # an interrupt: the user's, who did not ask for half a model
            self._restore()
            raise

    def hand_over(self, make: Callable[..., Run]) -> Run:
        """End, and let another run have the model: in between no thread meets experts that are half away."""
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
        with self.passing:  # whoever computes is through with it
            self._stand_ins.back()
            for module, away in self._away:
                for name, weight in away.items():
                    if (meta := module._parameters[name]) is not None:
                        weight.requires_grad_(meta.requires_grad)
                module._parameters.update(away)
            put_back(self._moved)
            self._away = []
            self.is_open = False
            self._end()

    def _end(self) -> None:
        self._passes.close()
        self.device.close()
        self._store.free()

    def _take_what_fits(self) -> None:
        if self._passes.slots < self.slots:
            warn(
                f"the device has memory for {self._passes.slots} of the {self.slots} slots of this budget; "
                "it goes on with those"
            )
            self.slots = self._passes.slots

    def _take(self, room: Room) -> None:
        self.budget_bytes = room.budget_bytes
        self.slots = room.slots if self._has_slots else 0

    def _check_open(self) -> None:
        if not self.is_open:
            raise MoespacError(
                "this run is closed and its model is whole again; decode within the block, offload the model "
                "anew, or call moespac_nb.decode(model, …)"
            )

    def _move_the_rest(self, model: nn.Module) -> None:
        """To the device, where that has a memory of its own: all but the experts; of a draft, all."""
        if self._store.device != self._store.host_device:
            move(model, self._store.device, self._away, self._moved)

    def __enter__(self) -> Run:
        self._check_open()
        self.in_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
