"""Slots on a device of its own memory: what is announced to the copy stream holds what it is to keep."""

import torch

from moespac_nb.offloading.expert_store import ExpertStore


class Announced:
    """A device apart that keeps what each tensor held when it was announced."""

    kind, place = "cuda", "cpu"

    def __init__(self):
        self.held = []

    def pinned(self, tensor):
        return tensor.clone()

    def room(self, tensor):
        self.held.append(tensor.clone())
        return tensor


def test_resized_slots_are_announced_after_they_are_filled():
    device = Announced()
    store = ExpertStore([{"up": torch.arange(12.0).view(4, 3)}], device)
    store.resize(2)
    store.copy(0, 3, slot=1)
    store.resize(3)
    assert torch.equal(device.held[-1][1], torch.tensor([9.0, 10.0, 11.0]))
    assert torch.equal(store.slots["up"][1], torch.tensor([9.0, 10.0, 11.0]))
