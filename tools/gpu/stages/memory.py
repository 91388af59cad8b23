"""Stage 7: a run takes the memory it was given, gives it back, and ends whole where there is too little."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Callable, Iterator
from typing import Any

import torch

from moespac_nb import offload
from tools.gpu.decodes import Case, slow_cpu, tiny_family
from tools.gpu.stage import Notes, Setup

Held = Callable[[], int]
GRAIN_BYTES = 512  # torch's allocator rounds each tensor up to it
SHAPE = {"num_hidden_layers": 4, "hidden_size": 512, "intermediate_size": 512, "moe_intermediate_size": 256}
TENSORS = 8  # of slots, at most: each may be rounded up


def run(setup: Setup, notes: Notes) -> None:
    case = _case(setup)
    with contextlib.nullcontext(held_on_gpu) if setup.on_gpu else held_on_host() as held:
        _run(setup, notes, case, held)


def _run(setup: Setup, notes: Notes, case: Case, held_bytes: Held) -> None:
    weights = {id(each): each.nbytes for each in case.model.parameters()}
    experts = _expert_bytes(case.model)
    before, resident = held_bytes(), resident_bytes()
    with offload(
        case.model, "10%", policy="on-demand", device=setup.device, costs=slow_cpu(), gamma=case.gamma
    ) as run:
        small, slots = held_bytes(), run.slots
        run.resize("60%")
        large = held_bytes()
        grown, promised = large - small, (run.slots - slots) * run.expert_bytes
        notes.row("Memory of the device, bytes", when="offloaded at 10 %", more_than_before=small - before)
        notes.row("Memory of the device, bytes", when="resized to 60 %", more_than_before=large - before)
        new_ids = case.decoded(run)
        decoded = held_bytes()
        notes.row("Memory of the device, bytes", when="after a decode", more_than_before=decoded - before)
        notes.claim(
            "more slots take their bytes and no more",
            0 <= grown - promised + TENSORS * GRAIN_BYTES <= 2 * TENSORS * GRAIN_BYTES,
            f"{run.slots - slots} slots of {run.expert_bytes} bytes took {grown}",
        )
        notes.claim("slots fit the budget", run.slots * run.expert_bytes <= run.budget_bytes)
    if not setup.on_gpu:
        moved, grain = 0, 0
    else:
        moved, grain = sum(weights.values()) - experts, GRAIN_BYTES * len(weights)
    notes.claim(
        "beside the slots only what is no expert moved to the device",
        abs(small - before - slots * run.expert_bytes - moved) <= grain + 2**16,
        f"{small - before - slots * run.expert_bytes} bytes, {moved} are no expert's",
    )
    del run
    after = held_bytes()
    notes.row("Memory of the device, bytes", when="closed", more_than_before=after - before)
    notes.claim("nothing is left on the device after the run", after <= before, f"{after - before} bytes")
    notes.claim(
        "the text was the plain model's", case.difference(new_ids, 1e-4, setup) in ("equal", "near tie")
    )
    notes.fact("all experts, bytes", experts)
    notes.fact("this process in host memory, more than before, bytes", resident_bytes() - resident)
    _too_little(setup, notes, case, held_bytes)


def _case(setup: Setup) -> Case:
    """A tiny model, wide enough that its slots are more than the allocator's grain."""
    import transformers

    model, _, prompt = tiny_family("qwen3_moe")
    if not setup.tiny:
        config = transformers.AutoConfig.for_model(**{**model.config.to_dict(), **SHAPE})
        torch.manual_seed(0)
        model = transformers.AutoModelForCausalLM.from_config(config).eval()
    return Case.of("a tiny model", model, model, prompt, setup, gamma=4, new_tokens=12)


def _expert_bytes(model: Any) -> int:
    return sum(each.nbytes for name, each in model.named_parameters() if ".experts." in name)


def _too_little(setup: Setup, notes: Notes, case: Case, held_bytes: Held) -> None:
    """The GPU is made to look full: whatever the run says, the model is whole and no memory is lost."""
    if not setup.on_gpu:
        notes.fact("a GPU that is full", "not run: no GPU")
        return
    gc.collect()
    torch.cuda.empty_cache()
    before, (_, total) = held_bytes(), torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**20) / total)
    said = "nothing: it fitted"
    try:
        with offload(case.model, "100%", policy="on-demand", device="cuda", costs=slow_cpu()) as run:
            case.decoded(run)
    except Exception as error:
        said = f"{type(error).__name__}: {error}"
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    notes.fact("an offload onto a full GPU says", said)
    whole = not any(each.is_meta or each.device.type != "cpu" for each in case.model.parameters())
    left = held_bytes() - before
    notes.claim("after it the model is whole and nothing is left", whole and left <= 0, f"{left} bytes left")
    with offload(case.model, "25%", policy="on-demand", device="cuda", costs=slow_cpu()) as run:
        again = case.decoded(run)
    notes.claim("and it can be offloaded again", case.difference(again, 1e-4, setup) in ("equal", "near tie"))


def held_on_gpu() -> int:
    """What tensors hold on the GPU, as its allocator says."""
    gc.collect()
    torch.cuda.synchronize()
    return torch.cuda.memory_allocated()


@contextlib.contextmanager
def held_on_host() -> Iterator[Held]:
    """What tensors made within the block hold, each memory counted once."""

    def sizes() -> dict[int, int]:
        gc.collect()
        tensors = [each for each in gc.get_objects() if issubclass(type(each), torch.Tensor)]
        storages = [each.untyped_storage() for each in tensors if not each.is_meta]
        return {each.data_ptr(): each.nbytes() for each in storages}

    before = sizes()
    gc.freeze()  # what is there already is not looked through again
    try:
        yield lambda: sum(size for at, size in sizes().items() if at not in before)
    finally:
        gc.unfreeze()


def resident_bytes() -> int:
    """Of this process, in host memory; 0 where the system does not say."""
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return next(1024 * int(line.split()[1]) for line in file if line.startswith("VmRSS"))
    except (OSError, StopIteration):
        return 0
