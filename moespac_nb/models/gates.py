"""A model's gates, asked about states that the model did not give them: what predicting sensors do.

Most are called with hidden states alone. Some are given more by their layer, such as a bias or the ids of
tokens; one short pass of the model shows what that is.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from threading import get_ident
from typing import TYPE_CHECKING, Any

import torch

from ..utils.exceptions import InvalidInputError

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Gate", "gate_input", "ready_gates"]


class Gate:
    """A layer's router, with the arguments that it takes besides hidden states.

    Parameters
    ----------
    module : torch.nn.Module
        The router, of `ModelInfo.gates`.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module
        self._besides: tuple[Any, ...] = ()
        self._named: dict[str, Any] = {}
        self._dimensions = 2  # of the states it is called with

    def scores(self, states: Tensor) -> Tensor:
        """Return each expert's score, without calling any hook.

        Parameters
        ----------
        states : Tensor, (n, hidden)

        Returns
        -------
        Tensor, (n, experts)
        """
        besides = [_beside(value, states) for value in self._besides]
        named = {name: _beside(value, states) for name, value in self._named.items()}
        shaped = states[(None,) * (self._dimensions - 2)]
        scores: Tensor = self._module.forward(shaped, *besides, **named)[0]
        return scores.flatten(end_dim=-2)

    def note_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep what the gate is called with besides hidden states, which come first.

        Parameters
        ----------
        args, kwargs
            The arguments of its forward.
        """
        self._dimensions = gate_input(args, kwargs).ndim
        self._besides = args[1:]
        self._named = kwargs if args else dict(list(kwargs.items())[1:])


def gate_input(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
    """Return the hidden states among the arguments of a gate's forward: they come first.

    Parameters
    ----------
    args, kwargs
        The arguments.

    Returns
    -------
    Tensor
    """
    states: Tensor = [*args, *kwargs.values()][0]
    return states


def _beside(value: Any, states: Tensor) -> Any:
    """Move a tensor to the states: an offloaded model's biases move to the device."""
    return value.to(states.device) if isinstance(value, torch.Tensor) else value


@torch.inference_mode()
def ready_gates(model: Any, modules: Sequence[Any], needed_by: str) -> list[Gate]:
    """Return the gates by depth, ready to score any state; the model runs once if they need more arguments.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    modules : sequence of torch.nn.Module
        Its gates, see `ModelInfo.gates`.
    needed_by : str
        Named in the error.

    Returns
    -------
    list of Gate

    Raises
    ------
    InvalidInputError
        If a gate's choice depends on more than the state.
    """
    pairs = [(module, Gate(module)) for module in modules]
    if any(len(inspect.signature(module.forward).parameters) > 1 for module, _ in pairs):
        _try(model, pairs, needed_by)
    return [gate for _, gate in pairs]


def _try(model: Any, pairs: Sequence[tuple[Any, Gate]], needed_by: str) -> None:
    """Run the model once, note what its gates are called with, and call each of them again."""
    states: dict[Gate, Tensor] = {}
    thread = get_ident()  # others may run the model too

    def listen(gate: Gate, _module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        if get_ident() == thread:
            gate.note_arguments(args, kwargs)
            states[gate] = gate_input(args, kwargs).flatten(end_dim=-2)[:1]

    with ExitStack() as hooks:
        for module, gate in pairs:
            hook = partial(listen, gate)
            hooks.enter_context(module.register_forward_pre_hook(hook, with_kwargs=True))
        # Two tokens, so that what belongs to each of them is told from what does not.
        model(input_ids=torch.arange(2, device=model.device)[None], use_cache=False, logits_to_keep=1)
    for module, gate in pairs:
        try:
            rows = len(gate.scores(states[gate]))
        except (RuntimeError, TypeError, ValueError, IndexError, KeyError, AttributeError):
            rows = 0
        if rows != 1:
            raise InvalidInputError(
                f"{needed_by} asks the gates of {type(model).__name__} about other states, and its "
                f"{type(module).__name__} chooses by more than a state; expected: models whose gates do not"
            )
