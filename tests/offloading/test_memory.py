"""What a device with a memory of its own is given, and gives back: model, draft, as many slots as fit."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from moespac_nb.offloading.expert_store import ExpertStore
from moespac_nb.offloading.session import offload
from tests.helpers.offload_cases import SLOW_CPU, OnStandIn
from tools.support.tiny_moe import PROMPT, QWEN, TOKENS, Untouched, begun, expert_bytes, plain_text


class Elsewhere(OnStandIn):
    """A stand-in whose memory is not where the model was: torch copies to `cpu:0`, and calls it the CPU."""

    place = "cpu:0"


def places(model: Any) -> set[int]:
    return {tensor.data_ptr() for tensor in (*model.parameters(), *model.buffers()) if not tensor.is_meta}


def test_the_model_and_its_draft_move_to_the_device_and_come_back(model, draft):
    untouched = Untouched(model), Untouched(draft)
    device = Elsewhere()
    before = places(model), places(draft)
    with offload(model, "25%", policy="on-demand", device=device, costs=SLOW_CPU) as run:
        assert not places(model) & before[0]
        assert len(device.fake.registered) == 2 * 3  # two tensors a layer, pinned where they are
        assert places(draft) == before[1]
        decoding = begun(run.decode, draft)
        assert not places(draft) & before[1]
        list(decoding)
    assert decoding.new_ids == plain_text(QWEN)
    assert device.fake.registered == []
    for each in untouched:
        each.check()


def test_a_model_that_does_not_move_stays_where_it_was(model, monkeypatch):
    own, moved = torch.Tensor.to, []

    def to(self: Any, *args: Any, **options: Any) -> Any:
        moved.append(self)
        if len(moved) > 5:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(self, *args, **options)

    device = Elsewhere()
    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "to", to)
        with pytest.raises(torch.OutOfMemoryError):
            offload(model, "25%", device=device)
    assert len(moved) == 6
    assert device.fake.registered == []


class Full(OnStandIn):
    """A stand-in with memory for so many slots; `room` is where slots are announced to it."""

    def __init__(self, slots: int) -> None:
        super().__init__()
        self.fits = slots

    def room(self, tensor: Any) -> Any:
        if len(tensor) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().room(tensor)


@pytest.mark.parametrize(("fits", "got"), [(24, 12), (12, 12), (11, 9), (5, 4), (0, 0)])
def test_of_slots_that_do_not_fit_it_takes_what_does(model, draft, fits, got):
    options = {"policy": "on-demand", "device": Full(fits), "costs": SLOW_CPU}
    if got < 12:
        with pytest.warns(UserWarning, match=f"memory for {got} of the 12 slots") as warned:
            run = offload(model, 12 * expert_bytes(model), **options)
        assert [warning.filename for warning in warned] == [__file__]
    else:
        run = offload(model, 12 * expert_bytes(model), **options)
    with run:
        assert run.slots == run._store.count == run._driver.scheduler.engine.slots.count() == got
        decoding = run.decode(PROMPT, draft=draft, max_new_tokens=TOKENS, stop_ids=())
        list(decoding)
    assert decoding.new_ids == plain_text(QWEN)


def test_out_of_memory_while_growing_keeps_the_slots_there_are():
    weights = [{"up": torch.arange(8.0).view(4, 2), "down": torch.arange(4.0).view(4, 1)}]
    device = Full(5)
    store = ExpertStore(weights, device)
    store.resize(3)
    for slot in range(3):
        store.copy(0, slot + 1, slot)
    device.close()
    store.resize(20)
    assert 3 <= store.count <= 5
    for slot in range(3):
        for name, slots in store.slots.items():
            assert len(slots) == store.count
            assert torch.equal(slots[slot], weights[0][name][slot + 1])


class Announced:
    """A device apart that keeps what each tensor held when it was announced."""

    kind, place = "cuda", "cpu"

    def __init__(self) -> None:
        self.held: list[torch.Tensor] = []

    def pinned(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.clone()

    def room(self, tensor: torch.Tensor) -> torch.Tensor:
        self.held.append(tensor.clone())
        return tensor


def test_resized_slots_are_announced_after_they_are_filled():
    device = Announced()
    store = ExpertStore([{"up": torch.arange(12.0).view(4, 3)}], device)
    store.resize(2)
    store.copy(0, 3, slot=1)
    store.resize(3)
    for slots in (device.held[-1], store.slots["up"]):
        assert torch.equal(slots[1], torch.tensor([9.0, 10.0, 11.0]))


@pytest.mark.parametrize("where", ["experts", "beside"])
def test_out_of_memory_in_a_forward_takes_slots_and_no_token(model, draft, where, monkeypatch):
    from moespac_nb.offloading import expert_layer as layers

    calls = 0

    def fail(*args: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls in (5, 9):
            raise torch.OutOfMemoryError("CUDA out of memory")
        return own(*args)

    owner, name = (layers.ExpertRows, "compute") if where == "experts" else (layers, "added")
    own = getattr(owner, name)
    with offload(model, 12 * expert_bytes(model), policy="on-demand") as run:
        monkeypatch.setattr(owner, name, fail)
        decoding = begun(run.decode, draft)
        with pytest.warns(UserWarning, match="out of memory; it goes on with 6 of 12 slots"):
            list(decoding)
        monkeypatch.undo()
        assert run._store.count == run.slots == run.summary()["slots"] == 3
    assert decoding.new_ids == plain_text(QWEN)


def test_out_of_memory_beside_the_experts_leaves_room_to_retry(model, draft, monkeypatch):
    with offload(model, 12 * expert_bytes(model), policy="on-demand") as run:
        decoding = begun(run.decode, draft)
        next(decoding)

        def fail(*_: Any, **__: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

        with monkeypatch.context() as patch:
            patch.setattr(model.lm_head, "forward", fail)
            with pytest.raises(torch.OutOfMemoryError), pytest.warns(UserWarning, match="6 of 12 slots"):
                next(decoding)
        list(decoding)
        assert run._store.count == 6
    assert decoding.new_ids == plain_text(QWEN)
