"""The experts of an offloaded model: all of them in a host store, some in slots on the device.

The store is the model's own weights, or, for a CUDA device, a copy of them in pinned memory. The slots are
one pool over all layers: for each of an expert's tensors (projections, and biases where there are any) one
tensor (slots, …). Knows nothing of what is in which slot, nor of when to copy: that is the engine's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ExpertStore", "expert_parameters"]


def expert_parameters(module: Any) -> dict[str, nn.Parameter]:
    """Return a layer's parameters that have one entry per expert."""
    return {
        name: weight
        for name, weight in module._parameters.items()
        if weight is not None and weight.ndim > 0 and len(weight) == module.num_experts
    }


class ExpertStore:
    """All experts of a model on the host, and slots for some of them on a device.

    Parameters
    ----------
    layers : sequence of mappings
        Each layer's parameters by name, (experts, …); equal shapes in all layers.
    device : Device
        Runs the copies.

    Attributes
    ----------
    slots : dict of Tensor
        By the parameter's name, (slots, …). The objects stay; their memory changes with their number.
    count : int
        How many slots there are.
    """

    def __init__(self, layers: Sequence[Mapping[str, Tensor]], device: Any) -> None:
        self._device = device
        self._is_apart = device.kind == "cuda"
        self.device = torch.device(getattr(device, "place", "cpu"))
        self.layers = [
            {name: self._stored(weight.detach()) for name, weight in layer.items()} for layer in layers
        ]
        self.dtype = next(iter(self.layers[0].values())).dtype
        self.count = 0
        with torch.inference_mode(False):  # may be written and freed in any mode
            self.slots = {
                name: weight.new_empty(0, *weight.shape[1:], device=self.device)
                for name, weight in self.layers[0].items()
            }

    def on_host(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Return tensors where the CPU lane can read them."""
        fetched: Sequence[Tensor] = self._device.fetched(*tensors) if self._is_apart else tensors
        return fetched

    def on_device(self, *tensors: Tensor) -> Sequence[Tensor]:
        """Return tensors where the slots are."""
        sent: Sequence[Tensor] = self._device.sent(*tensors) if self._is_apart else tensors
        return sent

    def copy(self, layer: int, expert: int, slot: int) -> None:
        """Copy one expert into a slot; runs on the link's lane."""
        for name, weight in self.layers[layer].items():
            self.slots[name][slot].copy_(weight[expert], non_blocking=self._is_apart)

    def move(self, old: int, new: int) -> None:
        """Copy from slot to slot, with no other copy under way."""
        for slots in self.slots.values():
            slots[new].copy_(slots[old])

    @torch.inference_mode(False)
    @torch.no_grad()
    def resize(self, count: int) -> None:
        """Change the number of slots, with no copy under way; the first ones keep what they hold.

        While it runs, the old and the new slots of one of an expert's tensors are held. Where the device has
        no room for `count` slots there are fewer: see `self.count`.
        """
        if count == self.count:
            return
        kept = min(count, max(self.count, 0))
        self.count = -1  # an interrupt leaves neither the one number nor the other
        try:
            self._make_room(count, kept)
        except torch.OutOfMemoryError:
            fewer = max(kept, count * 3 // 4)
            if fewer == count:
                raise
            self._make_room(kept, kept)  # all tensors have as many slots again
            self.count = kept
            self.resize(fewer)
        else:
            self.count = count

    def _make_room(self, count: int, kept: int) -> None:
        for slots in self.slots.values():
            if len(slots) != count:
                room = slots.new_empty(count, *slots.shape[1:])
                room[:kept].copy_(slots[:kept])
                # Announced once filled: a copy that came earlier would be overwritten by what was there.
                slots.data = self._device.room(room) if self._is_apart else room

    def free(self) -> None:
        """Free the slots' memory, even where a traceback still refers to their tensors."""
        for slots in self.slots.values():
            slots.data = slots.new_empty(0)
        self.layers, self.slots, self.count = [], {}, 0

    def _stored(self, weight: Tensor) -> Tensor:
        pinned: Tensor = self._device.pinned(weight) if self._is_apart else weight
        return pinned
