"""Which experts a transformers mixture-of-experts model sends its tokens to, read while it runs.

Reads the indices and weights that each layer's experts are called with, so it is right for every router that
ends there, whatever it does before (softmax, groups, bias, sorted or not). Changes nothing in the model.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..trace.step import MoEShape
from ..utils.exceptions import MoespacError
from .compat import goes_through_the_interface
from .loading import check_is_whole_model, context_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["MoEShape", "Routing", "expert_modules", "gates", "moe_shape", "observe", "unread"]


NONE: Mapping[str, Any] = MappingProxyType({})


def expert_modules(model: nn.Module) -> list[Any]:
    """The `experts` module of each mixture-of-experts layer, by depth; none where `unread` says why."""
    return [layer.experts for layer in _layers(model)]


def gates(model: nn.Module) -> list[Any]:
    """What chooses among them: called with hidden states, it returns (scores, weights, indices)."""
    return [_gate(layer) for layer in _layers(model)]


def unread(model: Any) -> str | None:
    """Why the routing of a model with experts cannot be read; None where it can, and for dense models."""
    return _unread(model, _candidates(model))


def _unread(model: Any, layers: list[Any]) -> str | None:
    for layer in layers:
        if not goes_through_the_interface(layer.experts):
            return f"{type(layer.experts).__name__} does not go through transformers' experts interface"
    if sizes := sorted({layer.experts.num_experts for layer in layers}):
        return None if len(sizes) == 1 else f"its layers have {', '.join(map(str, sizes))} experts"
    for module in model.modules():
        if hasattr(module, "experts") or _NAMED.search(type(module).__name__):
            return f"{type(module).__name__} holds its experts or their router in a way of its own"
    return None


# A layer or its experts by the name of the class; a whole model's ends in Model, ForCausalLM and the like.
_NAMED = re.compile(r"(experts?|moe)(block|layer)?$", re.IGNORECASE)


def _layers(model: nn.Module) -> list[Any]:
    layers = _candidates(model)
    return [] if _unread(model, layers) else layers


def _candidates(model: nn.Module) -> list[Any]:
    """Modules that hold `experts` beside the `gate` or `router` that chooses among them."""
    return [
        module
        for module in model.modules()
        if hasattr(module, "experts") and (hasattr(module, "gate") or hasattr(module, "router"))
    ]


def _gate(layer: Any) -> Any:
    return layer.gate if hasattr(layer, "gate") else layer.router


def moe_shape(model: Any) -> MoEShape:
    """Layers, experts and top-k of a transformers model; 0 for a dense one, and where `unread` says why."""
    layers = _layers(model)
    if not layers:
        return MoEShape(layers=0, experts=0, top_k=0)
    return MoEShape(len(layers), int(layers[0].experts.num_experts), _top_k(model, layers[0]))


def _top_k(model: Any, layer: Any) -> int:
    """As the layer or its gate says, else as it is seen to choose: configs have many names for it."""
    for module in (layer, _gate(layer)):
        for name in ("top_k", "num_experts_per_tok"):
            if isinstance(found := getattr(module, name, None), int):
                return found
    with torch.inference_mode(), Routing(model, MoEShape(1, 1, 1)) as routing:
        model(input_ids=torch.zeros(1, 1, dtype=torch.long, device=model.device), use_cache=False)
        return int(routing.take(1)[0].shape[2])


class Routing:
    """What a model's routers choose in each forward while the block runs, one sequence at a time.

    >>> with Routing(model) as routing:                    # doctest: +SKIP
    ...     model(ids)
    ...     experts, weights = routing.take(ids.shape[1])

    Used again and again by one decoding. Python can be interrupted between a block and its `__exit__`; so who
    catches the interrupt calls `remove_hooks`, which may be called at any time.
    """

    def __init__(self, model: nn.Module, shape: MoEShape | None = None) -> None:
        self._modules = expert_modules(model)
        self.geometry = shape or moe_shape(model)
        self._hooks: list[Any] = []
        self._thread: int | None = None  # whose forwards are heard: others may run the model too
        self._chosen: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> Routing:
        self._chosen, self._thread = [], get_ident()
        for module in self._modules:
            self._hooks.append(module.register_forward_pre_hook(self._listen, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        self.remove_hooks()

    def remove_hooks(self) -> None:
        """Stop listening, if listening."""
        while self._hooks:
            self._hooks.pop().remove()

    def take(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Experts (positions, layers, k) int16 and gate weights, float32, of the forward since the last call.

        positions: how many tokens it read; 0 where there was none.
        """
        chosen, self._chosen = self._chosen, []
        if not chosen:  # nothing was read, or nothing is routed
            nothing = (positions, self.geometry.layers, self.geometry.top_k)
            return np.empty(nothing, np.int16), np.empty(nothing, np.float32)
        experts = torch.stack([indices for indices, _ in chosen], dim=1).to(torch.int16)
        weights = torch.stack([weights for _, weights in chosen], dim=1).float()
        return experts.cpu().numpy(), weights.cpu().numpy()

    def _listen(self, _module: nn.Module, args: tuple[Any, ...], kwargs: Mapping[str, Any] = NONE) -> None:
        # Another thread's call may come while a hook is put or removed, and then without its keywords.
        if get_ident() != self._thread:
            return
        _hidden, indices, weights = (*args, *kwargs.values())
        self._chosen.append((indices, weights))


@torch.inference_mode()
def observe(model: Any, ids: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Experts and gate weights (positions, layers, k) of one pass over a given text."""
    check_is_whole_model("model", model)
    if why := unread(model):
        raise MoespacError(f"the routing of {type(model).__name__} cannot be read: {why}; expected: others")
    limit = context_of(model)
    if not 0 < len(ids) <= limit:
        raise MoespacError(f"the text has {len(ids)} tokens; expected: 1 to {limit}, the model's context")
    with Routing(model) as routing:
        model(input_ids=torch.as_tensor([list(ids)], device=model.device), use_cache=False, logits_to_keep=1)
        return routing.take(len(ids))
