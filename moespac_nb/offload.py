"""A transformers model whose experts live in slots: it decodes under a memory budget, losslessly.

The experts' weights leave the model for a host store, and what the layers compute with are copies in one pool
of equal slots, shared by all layers. An expert that is asked for and not in a slot is copied there and then,
over the one used least recently; nothing is foreseen, and nothing runs beside anything else. Nothing is known
here of how an expert computes: each layer's own code runs, on the slots in place of its weights.

    with offload(model, budget="25%") as run:
        for step in run.decode("Once upon a time", draft=draft):
            ...
        print(run.counters)

For models on the CPU, whose memory is then store and device in one.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn

from .budget import Budget, parse_budget
from .decoding import Decoding, decode
from .errors import MoespacError
from .routing import expert_modules

__all__ = ["Counters", "Run", "offload"]


def offload(model: Any, budget: Budget | str | int = "25%") -> Run:
    """Moves the model's experts out, until the `with` block or `Run.close` ends it.

    model: a transformers mixture-of-experts model on the CPU; everything it does, `generate` included, is
    then done from slots. budget: bytes for slots: a share of all experts, such as "25%", a size, such as
    "512MiB", or a number of bytes. Above what all experts take it is capped, with a warning.
    Raises MoespacError, with nothing changed, for a bad budget or a model that cannot be offloaded.
    """
    return Run(model, parse_budget(budget))


@dataclass(frozen=True)
class Counters:
    """What happened so far, counted. An event is one layer in one pass, with the distinct experts it uses."""

    hits: int  # experts that an event found in a slot
    misses: int  # experts that were copied into one
    evictions: int  # experts that had to make room
    bytes_copied: int


class Run:
    """An offloaded model. Its counts outlive it."""

    def __init__(self, model: Any, budget: Budget) -> None:
        self.model = model
        modules = _checked_modules(model)
        # The same objects come back at the end; while they are away, whoever reads them meets meta tensors.
        self._away = [(module, _expert_parameters(module)) for module in modules]
        stores = [{name: weight.detach() for name, weight in away.items()} for _, away in self._away]
        self.expert_bytes = sum(weight[0].nbytes for weight in stores[0].values())
        room = budget.room(self.expert_bytes, experts=sum(module.num_experts for module in modules))
        self.budget_bytes = room.budget_bytes
        self.slots = room.slots
        self._pool = _Pool(stores, room.slots)
        self._open = True
        try:
            for index, (module, away) in enumerate(self._away):
                module.forward = _Layer(module, index, self._pool)
                for name, weight in away.items():
                    meta = torch.empty_like(weight, device="meta")
                    setattr(module, name, nn.Parameter(meta, requires_grad=weight.requires_grad))
        except BaseException:
            self.close()
            raise

    def decode(self, prompt: str | Sequence[int], **options: Any) -> Decoding:
        """Decode a prompt from slots; the options are those of `moespac_nb.decode`."""
        if not self._open:
            raise MoespacError(
                "this run is closed and its model is whole again; decode within the block, offload the model "
                "anew, or call moespac_nb.decode(model, …)"
            )
        return decode(self.model, prompt, **options)

    @property
    def counters(self) -> Counters:
        """A snapshot of the counts."""
        return Counters(self.hits, self.misses, self.evictions, self.bytes_copied)

    @property
    def hits(self) -> int:
        return self._pool.hits

    @property
    def misses(self) -> int:
        return self._pool.misses

    @property
    def evictions(self) -> int:
        return self._pool.evictions

    @property
    def bytes_copied(self) -> int:
        return self._pool.bytes_copied

    def close(self) -> None:
        """The model is itself again and the slots' memory is free. Closing again does nothing."""
        try:
            self._restore()
        except BaseException:  # an interrupt: the user's, who did not ask for half a model
            self._restore()
            raise

    def _restore(self) -> None:
        for module, away in self._away:
            vars(module).pop("forward", None)
            module._parameters.update(away)
        self._away = []
        self._pool.free()
        self._open = False

    def __enter__(self) -> Run:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Pool:
    """Slots over all layers, and which expert is in which: a key is (layer, expert).

    An interrupt at any point costs a copy at most: what is resident by `_slot_of` has been copied completely.
    """

    def __init__(self, stores: list[dict[str, Tensor]], slots: int) -> None:
        self.slots = slots
        self.hits = self.misses = self.evictions = self.bytes_copied = 0
        self._stores = stores  # a layer's weights, (experts, …) each
        with torch.inference_mode(False):  # may be written and freed in any mode
            self.tensors = {  # (slots, …) each
                name: torch.empty(slots, *weight.shape[1:], dtype=weight.dtype)
                for name, weight in stores[0].items()
            }
        self._slot_of: dict[tuple[int, int], int] = {}
        # What was last copied into each slot, the least recently used first; None: nothing yet.
        self._holds: OrderedDict[int, tuple[int, int] | None] = OrderedDict.fromkeys(range(slots))

    def bring(self, layer: int, experts: list[int]) -> Iterator[dict[int, int]]:
        """The slots {expert: slot} of distinct experts, in as few groups as the slots allow.

        A group may be read until the next is asked for. Residents come first: none is evicted before its use.
        """
        ordered = sorted(experts, key=lambda expert: (layer, expert) not in self._slot_of)
        for start in range(0, len(ordered), self.slots):
            group = ordered[start : start + self.slots]
            yield {expert: self._slot_for((layer, expert)) for expert in group}

    def _slot_for(self, key: tuple[int, int]) -> int:
        slot = self._slot_of.get(key)
        if slot is None:
            slot = next(iter(self._holds))
            self._copy(key, slot)
        else:
            self.hits += 1
        self._holds.move_to_end(slot)
        return slot

    def _copy(self, key: tuple[int, int], slot: int) -> None:
        # The order matters to an interrupt: first nothing is resident in this slot, last the newcomer is.
        held = self._holds[slot]
        if held is not None and self._slot_of.pop(held, None) is not None:
            self.evictions += 1
        layer, expert = key
        for name, weight in self._stores[layer].items():
            self.tensors[name][slot].copy_(weight[expert])
            self.bytes_copied += weight[expert].nbytes
        self.misses += 1
        self._holds[slot] = key
        self._slot_of[key] = slot

    def free(self) -> None:
        """Gives the slots' memory back, even where a traceback still holds on to their tensors."""
        for tensor in self.tensors.values():
            tensor.data = tensor.new_empty(0)
        self.tensors, self._stores = {}, []


class _Layer:
    """Stands in for the forward of one layer's experts, as transformers' experts interface calls it."""

    def __init__(self, module: Any, index: int, pool: _Pool) -> None:
        self._index = index
        self._pool = pool
        self._experts = int(module.num_experts)
        # The layer's double has the slots for weights, and as many experts as there are slots.
        self._double = copy.copy(module)
        self._double._parameters = {**module._parameters, **pool.tensors}
        self._double.num_experts = pool.slots

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = _WithoutGradient.apply(self, *args, *kwargs.values())  # type: ignore[no-untyped-call]
        return out

    def compute(self, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """hidden (tokens, H), experts and their gate weights (tokens, k) → (tokens, H)."""
        tokens, k = indices.shape
        wanted, gates = indices.reshape(-1), weights.reshape(-1, 1)  # pair p is an expert of token p // k
        out = hidden.new_empty(tokens * k, hidden.shape[-1])
        distinct: list[int] = torch.unique(wanted).tolist()
        for group in self._pool.bring(self._index, distinct):
            slot_of = wanted.new_full((self._experts,), -1)
            slot_of[list(group)] = wanted.new_tensor(list(group.values()))
            slots = slot_of[wanted]
            pairs = (slots >= 0).nonzero().squeeze(-1)
            out[pairs] = type(self._double).forward(
                self._double, hidden[pairs // k], slots[pairs, None], gates[pairs]
            )
        return out.view(tokens, k, hidden.shape[-1]).sum(1)


class _WithoutGradient(torch.autograd.Function):
    """Computes in any mode, but cannot be trained through: slots are overwritten before a backward comes."""

    @staticmethod
    def forward(_ctx: Any, layer: _Layer, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        return layer.compute(hidden, indices, weights)

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> Any:
        raise MoespacError("an offloaded model cannot be trained; end its run first, or call run.close()")


def _expert_parameters(module: Any) -> dict[str, nn.Parameter]:
    """The parameters that hold one entry an expert: projections, and biases where there are any."""
    return {
        name: weight
        for name, weight in module._parameters.items()
        if weight is not None and weight.ndim > 0 and len(weight) == module.num_experts
    }


def _checked_modules(model: Any) -> list[Any]:
    """The layers' experts modules, fit to be offloaded."""
    name = type(model).__name__
    modules = expert_modules(model) if isinstance(model, nn.Module) else []
    if not modules:
        raise MoespacError(
            f"{name} has no mixture-of-experts layers to offload; accepted: a transformers "
            "mixture-of-experts model, such as load_pair()'s first"
        )
    if any(isinstance(vars(module).get("forward"), _Layer) for module in modules):
        raise MoespacError(
            f"this {name} is offloaded already; accepted: one run at a time; leave its block or call close() "
            "on its run, first"
        )
    # What transformers' decorator for its experts interface leaves behind: no other calling convention fits.
    if not all(hasattr(module, "is_transposed") and _expert_parameters(module) for module in modules):
        raise MoespacError(
            f"{name} keeps its experts in a way of its own; accepted: models whose experts lie in one tensor "
            "a layer and go through transformers' experts interface: Qwen3-MoE, Mixtral, OLMoE, GPT-OSS, …"
        )
    shapes = {
        tuple((part, weight.shape[1:], weight.dtype) for part, weight in _expert_parameters(module).items())
        for module in modules
    }
    if len(shapes) > 1:
        raise MoespacError(f"{name} has experts of {len(shapes)} sizes; accepted: equal ones in all layers")
    devices = {weight.device.type for module in modules for weight in _expert_parameters(module).values()}
    if devices != {"cpu"}:
        raise MoespacError(
            f"{name} has experts on {', '.join(sorted(devices))}; accepted: on the CPU, see model.to('cpu')"
        )
    return modules
