"""A transformers model whose experts live in slots: it decodes under a memory budget, losslessly.

The experts' weights leave the model for a host store. What the layers compute with are copies in one pool of
equal slots, shared by all layers, which the engine fills as the policy says; an expert in no slot computes
straight from the store, on the CPU lane. Nothing is known here of how an expert computes: each layer's own
code runs, on a double of it whose weights are the slots, or the store's.

    with offload(model, budget="25%") as run:
        for step in run.decode("Once upon a time", draft=draft):
            ...
        print(run.counters, run.summary())

Threads may share the model: forwards wait for one another, and rounds of `Run.decode` do.

Three devices: `virtual`, where the arithmetic is real and the time is a named machine's, the same each time;
`host`, with threads, the wall clock and a throttled link; `cuda`, where the experts stay on the host and
everything else of the model moves to the GPU for the run. No GPU has checked the last one: the order of its
copies, kernels and waits is tested on a stand-in.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from threading import RLock
from types import TracebackType
from typing import Any, Literal

import numpy as np
import torch
from torch import nn

from .budget import Budget, Room, parse_budget
from .costs import Costs
from .costs import costs as costs_of
from .decoding import Decoding, checked_whole, decode
from .devices import Device, Operation
from .drafts import ModelDraft
from .errors import MoespacError
from .expert_layer import ExpertLayer
from .expert_store import ExpertStore, expert_parameters
from .gates import Gate
from .listener import Listeners
from .machines import Machine
from .model_shape import ModelProfile
from .moved import move, put_back
from .offload_check import checked_device, checked_gates, checked_modules, checked_policy
from .own_profile import own_profile, profile_for
from .passes import Passes
from .placement import Counters
from .policies import Policy
from .routing import expert_modules, geometry
from .scheduler import Scheduler
from .stand_in import StandIns, run_of
from .trace import Trace

__all__ = ["Run", "offload", "offloaded"]


def offload(
    model: Any,
    budget: Budget | str | int = "25%",
    *,
    policy: str | Policy = "spac-joint",
    device: str | Device = "virtual",
    machine: Machine | str | Path = "rtx4090",
    model_profile: ModelProfile | str | Path | None = None,
    costs: Costs | None = None,
    link_bytes_per_s: float | None = None,
    gamma: int = 8,
    profile: np.ndarray | Trace | None = None,
    in_flight: int = 4,
) -> Run:
    """Moves the model's experts out, until the `with` block or `Run.close` ends it.

    Without a block it also ends as the model is offloaded anew; `offloaded` finds it.

    model: a transformers mixture-of-experts model on the CPU; everything it does, `generate` included, is
    then done from slots. budget: bytes for slots: a share of all experts, such as "25%", a size, such as
    "512MiB", or a number of bytes. Above what all experts take it is capped, with a warning.
    policy: any but those that read the future. device: `virtual`, `host`, `cuda`, or one's own `Device`,
    which ends with the run.
    machine, model_profile: what is true on the virtual device, and what policies reckon with on any; without
    a profile, the model's own sizes. costs: instead of the two. link_bytes_per_s: instead of the machine's.
    On the virtual device experts are as large as these say, budgets too; on others as large as they are.
    gamma: the draft length that policies reckon with, and `decode` takes. in_flight: copies at a time.
    profile: (layers, experts), how often other texts used each expert, or a trace that says so, for policies
    that need one; the bundled target brings its own.
    Raises MoespacError, with nothing changed, for what is not accepted or a model that cannot be offloaded.
    """
    earlier = offloaded(model)
    modules = checked_modules(model, earlier)
    shape = geometry(model)
    played = checked_policy(policy)
    ahead = checked_gates(model, played)
    known = profile_for(model, shape, profile, needed_by=played.name if played.needs_profile else None)
    wanted = parse_budget(budget)
    gamma = checked_whole("gamma", gamma, least=0)
    in_flight = checked_whole("in_flight", in_flight, least=1)
    on = checked_device(device)
    as_it_is = on.kind != "virtual" or (costs is None and model_profile is None)
    if costs is None:
        costs = costs_of(machine, model_profile or own_profile(model), geometry=shape)
    if as_it_is:
        one = [weight[0] for weight in expert_parameters(modules[0]).values()]
        costs = replace(
            costs,
            expert_bytes=sum(weight.nbytes for weight in one),
            expert_flops=2.0 * sum(weight.numel() for weight in one),
        )
    if link_bytes_per_s is not None:
        costs = replace(costs, link_bytes_per_s=link_bytes_per_s)
    room = wanted.room(costs.expert_bytes, shape.layers * shape.experts)
    if earlier is not None:
        earlier.close()
    return Run(model, on, costs, played, room, ahead, gamma=gamma, profile=known, in_flight=in_flight)


def offloaded(model: Any) -> Run | None:
    """The run that has offloaded a model; None where its experts are its own."""
    run: Run | None = run_of(model)
    return run


class Run:
    """An offloaded model. Its counts and its timeline outlive it.

    costs: what the policy reckons with, and the truth of a virtual device. ahead: every layer's gate, for a
    policy that asks them a layer ahead.
    """

    def __init__(
        self,
        model: Any,
        device: Device,
        costs: Costs,
        policy: Policy,
        room: Room,
        ahead: Sequence[Gate],
        *,
        gamma: int,
        profile: np.ndarray | None,
        in_flight: int,
    ) -> None:
        self.model, self.device, self.costs, self.gamma = model, device, costs, gamma
        self.policy = policy.name
        self.geometry = geometry(model)
        self.expert_bytes = costs.expert_bytes
        self.slots: int
        self._has_slots = policy.slots
        self._take(room)
        modules = expert_modules(model)
        # The same objects come back at the end; while they are away, whoever reads them meets meta tensors.
        self._away = [(module, expert_parameters(module)) for module in modules]
        self._moved: list[tuple[Any, str, Any]] = []  # what went to the GPU for the run
        self.is_open = True
        self.in_block = False  # of its `with`, which alone ends it
        self._stand_ins = StandIns(self, self._away)
        self._store = ExpertStore([away for _, away in self._away], device)
        try:
            self._move_the_rest(model)  # first: slots take what it leaves
            self._passes = Passes(
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
            self._share_cores()
            following = [*ahead[1:], None] if ahead else [None] * len(self._away)
            for index, ((module, away), gate) in enumerate(zip(self._away, following, strict=True)):
                layer = ExpertLayer(module, index, self._store, self._passes, gate)
                self._stand_ins.put(module, "forward", layer)
                for name, weight in away.items():
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
        own = options.pop("listener", None)
        listener = self._passes if own is None else Listeners(self._passes, own)
        return decode(self.model, prompt, **{"gamma": self.gamma, **options}, listener=listener)

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
        counted = [phase.counters for phase in (on.prefill, on.decode, on.apart)]
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
    def place(self) -> torch.device:
        """Where everything but the experts is."""
        return self._store.place

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
            self._passes.close()
            self.device.close()
            self._store.free()

    def _take_what_fits(self) -> None:
        if self._passes.slots < self.slots:
            warnings.warn(
                f"the device has memory for {self._passes.slots} of the {self.slots} slots of this budget; "
                "it goes on with those",
                stacklevel=4,
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

    def _share_cores(self) -> None:
        """Lanes that compute at the same time in threads have half of torch's threads each."""
        lanes = {"virtual": (), "host": ("gpu", "cpu"), "cuda": ("cpu",)}[self.device.kind]
        threads = torch.get_num_threads()
        if lanes:
            torch.set_num_threads(max(1, threads // 2))
            try:  # a thread keeps the number that it finds when it first asks
                for lane in lanes:
                    self.device.wait(self.device.submit(lane, 0.0, torch.get_num_threads, label="threads"))
            finally:
                torch.set_num_threads(threads)

    def _move_the_rest(self, model: nn.Module) -> None:
        """To the device, where that has a memory of its own: all but the experts; of a draft, all."""
        if self._store.place != self._store.host:
            move(model, self._store.place, self._away, self._moved)

    def __enter__(self) -> Run:
        self._check_open()
        self.in_block = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
