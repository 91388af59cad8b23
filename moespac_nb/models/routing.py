"""Which experts a transformers model sends its tokens to, read while it runs.

It reads the indices and weights that each layer's experts are called with, so it is right for every router,
whatever that does before (softmax, groups, bias, sorted or not). Changes nothing in the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from threading import get_ident
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..utils.exceptions import InvalidInputError
from .inspection import ModelInfo, inspect_model
from .loading import check_is_whole_model, context_of

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["Routing", "observe"]


NONE: Mapping[str, Any] = MappingProxyType({})


class Routing:
    """Records what a model's routers choose in each forward of this thread while the `with` block runs.

    One sequence at a time; may be entered again and again. Python can be interrupted between a block and its
    `__exit__`, so code that catches the interrupt calls `remove_hooks`, which may be called at any time.

    Parameters
    ----------
    info : ModelInfo
        Of the model, from `inspect_model`.

    Examples
    --------
    >>> with Routing(inspect_model(model)) as routing:  # doctest: +SKIP
    ...     model(ids)
    ...     experts, gate_weights = routing.take(ids.shape[1])
    """

    def __init__(self, info: ModelInfo) -> None:
        self._modules = info.experts
        self._shape = info.shape
        self._hooks: list[Any] = []
        self._thread: int | None = None  # whose forwards are heard: others may run the model too
        self._chosen: list[tuple[Tensor, Tensor]] = []

    def __enter__(self) -> Routing:
        """Record from here on."""
        self._chosen, self._thread = [], get_ident()
        for module in self._modules:
            self._hooks.append(module.register_forward_pre_hook(self._listen, with_kwargs=True))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop recording."""
        self.remove_hooks()

    def remove_hooks(self) -> None:
        """Stop recording, if it is."""
        while self._hooks:
            self._hooks.pop().remove()

    def take(self, positions: int) -> tuple[np.ndarray, np.ndarray]:
        """Return what was chosen in the forward since the last call.

        Parameters
        ----------
        positions : int
            How many tokens that forward read; 0 if there was none.

        Returns
        -------
        experts : array, (positions, layers, top_k) int16
        gate_weights : array, (positions, layers, top_k) float32
        """
        chosen, self._chosen = self._chosen, []
        if not chosen:  # nothing was read, or nothing is routed
            shape = (positions, self._shape.layers, self._shape.top_k)
            return np.empty(shape, np.int16), np.empty(shape, np.float32)
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
    """Return the routing of one pass over a text.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    ids : sequence of int, (positions,)

    Returns
    -------
    experts : array, (positions, layers, top_k) int16
    gate_weights : array, (positions, layers, top_k) float32

    Raises
    ------
    InvalidInputError
        If the routing cannot be read, or the text does not fit the model's context.

    Examples
    --------
    >>> from moespac_nb import load_pair
    >>> observe(load_pair()[0], [5, 6, 7])[0].shape
    (3, 8, 4)
    """
    check_is_whole_model("model", model)
    info = inspect_model(model)
    if info.unread:
        raise InvalidInputError(
            f"the routing of {type(model).__name__} cannot be read: {info.unread}; expected: others"
        )
    limit = context_of(model)
    if not 0 < len(ids) <= limit:
        raise InvalidInputError(
            f"the text has {len(ids)} tokens; expected: 1 to {limit}, the model's context"
        )
    with Routing(info) as routing:
        model(input_ids=torch.as_tensor([list(ids)], device=model.device), use_cache=False, logits_to_keep=1)
        return routing.take(len(ids))
