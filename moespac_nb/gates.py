"""A model's gates, to be asked about states that the model did not give them: what foretelling sensors do.

Most are called with hidden states alone. Some are given more by their layer, such as a bias or the token's ids;
what that is, one short pass of the model shows.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from .errors import MoespacError
from .routing import gates, geometry

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Gate", "ready_gates"]


class Gate:
    """What chooses among a layer's experts, with what it is called with besides hidden states."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._besides: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}

    def scores(self, states: Tensor) -> Tensor:
        """Of each expert for each state, (n, experts); past all hooks, which hear the model's own calls."""
        besides = [_beside(value, states) for value in self._besides]
        named = {name: _beside(value, states) for name, value in self._named.items()}
        found: Tensor = self._module.forward(states, *besides, **named)[0]
        return found

    def heard(self, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """As a hook: keeps what the gate is called with; its hidden states come first."""
        self._besides = args[1:]
        self._named = kwargs if args else dict(list(kwargs.items())[1:])


def _beside(value: Any, states: Tensor) -> Any:
    """Where the states are: an offloaded model's biases move to the device."""
    return value.to(states.device) if isinstance(value, torch.Tensor) else value


@torch.inference_mode()
def ready_gates(model: Any, needed_by: str) -> list[Gate]:
    """The gates in order of depth, each tried on a state.

    Raises MoespacError where one cannot be asked, as its choice depends on more than the state.
    """
    found = [(module, Gate(module)) for module in gates(model)]
    states: dict[int, Tensor] = {}

    def keep(layer: int, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        states[layer] = [*args, *kwargs.values()][0].flatten(end_dim=-2)[:1]

    hooks = []
    try:
        for layer, (module, gate) in enumerate(found):
            hooks.append(module.register_forward_pre_hook(gate.heard, with_kwargs=True))
            hooks.append(module.register_forward_pre_hook(partial(keep, layer), with_kwargs=True))
        ids = torch.arange(2, device=model.device)[None]  # two, so that what belongs to a token is told from a bias
        model(input_ids=ids, use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    for layer, (module, gate) in enumerate(found):
        try:
            shape = tuple(gate.scores(states[layer]).shape)
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
            shape = None
        if shape != (1, geometry(model).experts):
            raise MoespacError(
                f"{needed_by} asks the gates of {type(model).__name__} about other states, and its "
                f"{type(module).__name__} chooses by more than a state; accepted: models whose gates do not"
            )
    return [gate for _, gate in found]
