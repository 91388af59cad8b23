"""Stage 4: copies run beside kernels, and what a slot holds is read before it is overwritten."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from gpu.stage import ROOT, Notes, Setup
from gpu.timing import finish, run_s
from moespac_nb.devices import CudaDevice, Device, HostDevice

LONGER_AT_MOST = 1.1
CLOCK_S = 50e-6  # what two readings of the GPU's clock may differ by


@dataclass(frozen=True)
class Sizes:
    copies: int
    expert_numbers: int  # of bfloat16
    side: int  # of the matrices that are multiplied
    slots: int
    repeats: int


FULL = Sizes(copies=64, expert_numbers=3 * 2048 * 768, side=4096, slots=16, repeats=5)
DRY = Sizes(copies=8, expert_numbers=3 * 64 * 16, side=128, slots=3, repeats=2)


def run(setup: Setup, notes: Notes) -> None:
    sizes = DRY if setup.dry_run else FULL
    if setup.dry_run:
        on_stand_in(notes, sizes)
    with closing(HostDevice() if setup.dry_run else CudaDevice()) as device:
        order(setup, notes, sizes, device)
        _overlap(setup, notes, sizes, device)


def on_stand_in(notes: Notes, sizes: Sizes) -> None:
    """The same order on the stand-in for a GPU, whose copies wait until everything has been submitted."""
    sys.path.insert(0, str(ROOT / "tests"))
    try:
        from fake_cuda import FakeCuda
    finally:
        sys.path.remove(str(ROOT / "tests"))
    fake = FakeCuda()
    with closing(CudaDevice(cuda=fake)) as device:
        held: list[Callable[[], None]] = []
        device.submit("link", 0.0, lambda: held.append(fake.hold()), label="held")
        order(Setup(True, Path()), notes, sizes, device, fake.launch, lambda: held[0]())


def _overlap(setup: Setup, notes: Notes, sizes: Sizes, device: Device) -> None:
    source = torch.ones(sizes.copies, sizes.expert_numbers, dtype=torch.bfloat16)
    source = source if setup.dry_run else source.pin_memory()
    slots = torch.empty_like(source, device=setup.place)
    square = torch.randn(sizes.side, sizes.side, device=setup.place).to(torch.bfloat16)
    product = torch.empty_like(square)
    once_s = run_s(setup.place, lambda: torch.mm(square, square, out=product))
    copies_s = run_s(setup.place, lambda: slots.copy_(source, non_blocking=True))
    count = max(1, round(copies_s / once_s))

    def copies(label: str) -> list[Any]:
        return [
            device.submit("link", 0.0, _copy(slots[i], source[i]), label=label) for i in range(sizes.copies)
        ]

    def products(label: str) -> list[Any]:
        def work() -> None:
            for _ in range(count):
                torch.mm(square, square, out=product)

        return [device.submit("gpu", 0.0, work, label=label)]

    times: dict[str, list[float]] = {
        "copies alone": [],
        "kernels alone": [],
        "both": [],
        "kernels in both": [],
    }
    for at in range(sizes.repeats):
        for name, lanes in (
            ("copies alone", (copies,)),
            ("kernels alone", (products,)),
            ("both", (products, copies)),
        ):
            events = [event for lane in lanes for event in lane(f"{name} {at} {lane.__name__}")]
            for event in events:
                device.wait(event)
            ran = [each for each in device.timeline() if each.label.startswith(f"{name} {at} ")]
            times[name].append(max(each.end for each in ran) - min(each.start for each in ran))
        kernels = [each for each in ran if each.lane == "gpu"]
        times["kernels in both"].append(kernels[0].end - kernels[0].start)
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        notes.row("Time by the lanes' events", what=name, ms=1e3 * seconds)
    ratio = medians["both"] / max(medians["copies alone"], medians["kernels alone"])
    notes.fact("matrix products beside the copies", count)
    notes.claim(
        f"{sizes.copies} copies of experts beside matrix products take at most {LONGER_AT_MOST} × the longer of both",
        None if setup.dry_run else ratio <= LONGER_AT_MOST,
        f"{ratio:.3f} ×",
    )


def _copy(target: torch.Tensor, source: torch.Tensor) -> Callable[[], object]:
    return lambda: target.copy_(source, non_blocking=True)


def order(
    setup: Setup,
    notes: Notes,
    sizes: Sizes,
    device: Device,
    launch: Callable[[Callable[[], object]], object] = lambda work: work(),
    submitted: Callable[[], object] = lambda: None,
) -> None:
    """Each slot is filled, read, filled anew and read again; nobody waits on the host in between.

    launch: what work has to be given to. submitted: is called when all of it has been.
    """
    numbers = torch.arange(1, 2 * sizes.slots + 1).to(torch.bfloat16).view(2, sizes.slots, 1)  # one a copy
    source = numbers.expand(-1, -1, sizes.expert_numbers).contiguous()
    source = source if setup.dry_run else source.pin_memory()
    slots = torch.zeros_like(source[0], device=setup.place)
    seen = torch.zeros_like(source, device=setup.place)
    finish(setup.place)
    last: list[tuple[Any, ...]] = [()] * sizes.slots
    for turn in range(2):
        for slot in range(sizes.slots):
            steps = ("link", slots[slot], source[turn, slot]), ("gpu", seen[turn, slot], slots[slot])
            for step, (lane, target, of) in enumerate(steps, 2 * turn):
                copy = _copy(target, of)
                event = device.submit(
                    lane, 0.0, lambda copy=copy: launch(copy), last[slot], f"slot {slot} {step}"
                )
                last[slot] = (event,)
    submitted()
    for (event,) in last:
        device.wait(event)
    kind = "the stand-in" if setup.dry_run and device.kind == "cuda" else device.kind
    notes.claim(
        f"{kind}: every reader of a slot saw the copy it came after", torch.equal(seen.cpu(), source.cpu())
    )
    ran = {each.label: each for each in device.timeline()}
    late_s = [
        ran[f"slot {slot} {step}"].end - ran[f"slot {slot} {step + 1}"].start
        for slot in range(sizes.slots)
        for step in range(3)
    ]
    notes.claim(
        f"{kind}: the events of a slot come in order: copied, read, copied, read",
        max(late_s) <= CLOCK_S,
        f"an end is at most {1e6 * max(late_s):.1f} µs after the next start",
    )
