"""A model's gates, to be asked about states that the model did not give them: what foretelling sensors do.

Most are called with hidden states alone. Some are given more by their layer, such as a bias or the ids of
tokens; what that is, one short pass of the model shows.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch

from ..utils.exceptions import MoespacError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Gate", "ready_gates"]


class Gate:
    """What chooses among a layer's experts, with what it is called with besides hidden states."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._besides: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        self._dimensions = 2  # of the states it is called with

    def scores(self, states: Tensor) -> Tensor:
        """Of each expert for each state, (n, experts); past all hooks, which hear the model's own calls."""
        besides = [_beside(value, states) for value in self._besides]
        named = {name: _beside(value, states) for name, value in self._named.items()}
        shaped = states[(None,) * (self._dimensions - 2)]
        found: Tensor = self._module.forward(shaped, *besides, **named)[0]
        return found.flatten(end_dim=-2)

    def hear(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keeps what the gate is called with; its hidden states come first."""
        self._dimensions = _states(args, kwargs).ndim
        self._besides = args[1:]
        self._named = kwargs if args else dict(list(kwargs.items())[1:])


def _states(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """What a gate reads."""
    states: Tensor = [*args, *kwargs.values()][0]
    return states


def _beside(value: Any, states: Tensor) -> Any:
    """Where the states are: an offloaded model's biases move to the device."""
    return value.to(states.device) if isinstance(value, torch.Tensor) else value


@torch.inference_mode()
def ready_gates(model: Any, modules: Sequence[Any], needed_by: str) -> list[Gate]:
    """The gates in order of depth, tried where they are called with more than states.

    Raises MoespacError where one cannot be asked, as its choice depends on more than the state.
    """
    found = [(module, Gate(module)) for module in modules]
    if any(len(inspect.signature(module.forward).parameters) > 1 for module, _ in found):
        _try(model, found, needed_by)
    return [gate for _, gate in found]


def _try(model: Any, found: Sequence[tuple[Any, Gate]], needed_by: str) -> None:
    """Runs the model once, so that the gates hear what they are given, and asks each of them again."""
    states: dict[Gate, Tensor] = {}
    thread = get_ident()  # others may run the model too

    def listen(gate: Gate, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if get_ident() == thread:
            gate.hear(args, kwargs)
            states[gate] = _states(args, kwargs).flatten(end_dim=-2)[:1]

    hooks: list[Any] = []
    try:
        for module, gate in found:
            hooks.append(module.register_forward_pre_hook(partial(listen, gate), with_kwargs=True))
        # Two tokens, so that what belongs to each of them is told from what does not.
        model(input_ids=torch.arange(2, device=model.device)[None], use_cache=False, logits_to_keep=1)
    finally:
        for hook in hooks:
            hook.remove()
    for module, gate in found:
        try:
            rows = len(gate.scores(states[gate]))
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
            rows = 0
        if rows != 1:
            raise MoespacError(
                f"{needed_by} asks the gates of {type(model).__name__} about other states, and its "
                f"{type(module).__name__} chooses by more than a state; expected: models whose gates do not"
            )
