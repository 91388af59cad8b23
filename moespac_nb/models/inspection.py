"""What the other modules need to know of a transformers model, found in one walk over its modules."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import nn

from ..trace.step import MoEShape
from .compat import goes_through_the_interface

__all__ = ["ModelInfo", "inspect_model"]

# A layer or its experts by the name of the class; a whole model's ends in Model, ForCausalLM and the like.
_NAMED = re.compile(r"(experts?|moe)(block|layer)?$", re.IGNORECASE)


@dataclass(frozen=True, eq=False)
class ModelInfo:
    """A model's mixture-of-experts layers and sizes.

    Attributes
    ----------
    model : torch.nn.Module
    layers : tuple of torch.nn.Module
        Its mixture-of-experts layers, by depth; none for a dense model and where `unread` says why.
    experts : tuple of torch.nn.Module
        Each layer's `experts` module.
    gates : tuple of torch.nn.Module
        Each layer's router: called with hidden states, it returns (scores, weights, indices).
    unread : str or None
        Why the routing of a model with experts cannot be read; None where it can, and for dense models.
    parameters : int
        Numbers in all weights together; tied weights count once.
    expert_parameters : int
        Numbers in the weights of all `experts` modules.
    shape : MoEShape
        Layers, experts and top-k; zeros where there are no such layers. Where no module says how many experts
        it chooses, the model runs once, on one token.
    """

    model: Any
    layers: tuple[Any, ...]
    experts: tuple[Any, ...]
    gates: tuple[Any, ...]
    unread: str | None
    parameters: int
    expert_parameters: int

    @cached_property
    def shape(self) -> MoEShape:
        """Layers, experts and top-k; see the class."""
        if not self.experts:
            return MoEShape(layers=0, experts=0, top_k=0)
        return MoEShape(len(self.experts), int(self.experts[0].num_experts), self._top_k())

    def _top_k(self) -> int:
        """Return what the gate or its layer says, else what it is seen to choose: configs have many names."""
        for module in (self.layers[0], self.gates[0]):
            for name in ("top_k", "num_experts_per_tok"):
                if isinstance(top_k := getattr(module, name, None), int):
                    return top_k
        chosen: list[int] = []

        def note(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
            _hidden, indices, _weights = (*args, *kwargs.values())
            chosen.append(indices.shape[-1])

        token = torch.zeros(1, 1, dtype=torch.long, device=self.model.device)
        with self.experts[0].register_forward_pre_hook(note, with_kwargs=True), torch.inference_mode():
            self.model(input_ids=token, use_cache=False)
        return chosen[0]


def inspect_model(model: Any) -> ModelInfo:
    """Find a model's experts, routers, shape and sizes.

    Parameters
    ----------
    model : torch.nn.Module
        A transformers model, dense or with experts; anything else has none.

    Returns
    -------
    ModelInfo

    Examples
    --------
    >>> from moespac_nb import load_pair
    >>> target, draft = load_pair()
    >>> inspect_model(target).shape
    MoEShape(layers=8, experts=64, top_k=4)
    >>> inspect_model(draft).experts
    ()
    """
    layers: list[Any] = []  # modules that hold `experts` and the `gate` or `router` that chooses among them
    other: Any = None  # the first module that holds or routes to experts in another way
    sizes: dict[int, int] = {}
    for module in model.modules() if isinstance(model, nn.Module) else ():
        sizes |= {id(weight): weight.numel() for weight in module.parameters(recurse=False)}
        if hasattr(module, "experts") and (hasattr(module, "gate") or hasattr(module, "router")):
            layers.append(module)
        elif other is None and (hasattr(module, "experts") or _NAMED.search(type(module).__name__)):
            other = module
    unread = _why_unread(layers, other)
    if unread is not None:
        layers = []
    experts = tuple(layer.experts for layer in layers)
    gates = tuple(layer.gate if hasattr(layer, "gate") else layer.router for layer in layers)
    of_experts = sum(weight.numel() for module in experts for weight in module.parameters())
    return ModelInfo(model, tuple(layers), experts, gates, unread, sum(sizes.values()), of_experts)


def _why_unread(layers: Sequence[Any], other: Any) -> str | None:
    for layer in layers:
        if not goes_through_the_interface(layer.experts):
            return f"{type(layer.experts).__name__} does not go through transformers' experts interface"
    if len(sizes := sorted({layer.experts.num_experts for layer in layers})) > 1:
        return f"its layers have {', '.join(map(str, sizes))} experts"
    if not layers and other is not None:
        return f"{type(other).__name__} holds its experts or their router in a way of its own"
    return None
