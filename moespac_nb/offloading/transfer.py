"""A model's tensors on another device for a while, the same objects before and after."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["move", "put_back"]

Moved = list[tuple[Any, str, Any]]  # whose, under which name, what it was


def move(
    model: nn.Module,
    place: torch.device,
    but: Iterable[tuple[Any, Mapping[str, nn.Parameter]]],
    moved: Moved,
) -> None:
    """All that is on the CPU but these modules' parameters; each is noted in `moved` before it goes."""
    stays = {id(weight) for _, weights in but for weight in weights.values()}
    held: Moved = [(weight, "data", weight.data) for weight in model.parameters() if id(weight) not in stays]
    for module in model.modules():
        held += [(module, name, buffer) for name, buffer in module._buffers.items() if buffer is not None]
    for owner, name, tensor in held:
        if tensor.device == torch.device("cpu"):
            moved.append((owner, name, tensor))
            setattr(owner, name, tensor.to(place))


def put_back(moved: Moved) -> None:
    """What was there before; again: nothing."""
    for owner, name, tensor in moved:
        setattr(owner, name, tensor)
    moved.clear()
