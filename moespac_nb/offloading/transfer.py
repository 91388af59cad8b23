"""Move a model's tensors to another device for a while; they stay the same objects."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

__all__ = ["move", "put_back"]

Moved = list[tuple[Any, str, Any]]  # owner, attribute, value before


def move(
    model: nn.Module,
    device: torch.device,
    but: Iterable[tuple[Any, Mapping[str, nn.Parameter]]],
    moved: Moved,
) -> None:
    """Move all tensors that are on the CPU to a device.

    Parameters
    ----------
    model : torch.nn.Module
        Has the tensors.
    device : torch.device
        Where they go.
    but : iterable of (module, parameters)
        What stays.
    moved : list
        Each move is noted in it before it is made, for `put_back`.
    """
    stays = {id(weight) for _, weights in but for weight in weights.values()}
    tensors: Moved = [
        (weight, "data", weight.data) for weight in model.parameters() if id(weight) not in stays
    ]
    for module in model.modules():
        tensors += [(module, name, buffer) for name, buffer in module._buffers.items() if buffer is not None]
    for owner, name, tensor in tensors:
        if tensor.device == torch.device("cpu"):
            moved.append((owner, name, tensor))
            setattr(owner, name, tensor.to(device))


def put_back(moved: Moved) -> None:
    """Restore what was there before; calling it again does nothing."""
    for owner, name, tensor in moved:
        setattr(owner, name, tensor)
    moved.clear()
