"""Stage 4: copies run beside kernels, and what a slot holds is read before it is overwritten.

Times are of events that the work itself records on its lane: what they say is what the lane did, and when.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import torch

from moespac_nb.engine.devices import CudaDevice, Device, HostDevice
from tools.gpu.stage import Notes, Setup
from tools.gpu.timing import finish, run_s

LONGER_AT_MOST = 1.1
RESOLUTION_S = 5e-6  # of two events on different streams


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
    sizes = DRY if setup.tiny else FULL
    if not setup.on_gpu:
        on_stand_in(notes, sizes)
    with closing(CudaDevice() if setup.on_gpu else HostDevice()) as device:
        lanes = Lanes(device, torch.cuda if setup.on_gpu else None)
        _order(setup, notes, sizes, lanes, device.kind)
        _overlap(setup, notes, sizes, lanes)


def on_stand_in(notes: Notes, sizes: Sizes) -> None:
    """The same order on the stand-in for a GPU, whose copies wait until everything has been submitted."""
    from tools.support.fake_cuda import FakeCuda

    fake = FakeCuda()
    with closing(CudaDevice(cuda=fake)) as device:
        held: list[Callable[[], None]] = []
        device.submit("link", 0.0, lambda: held.append(fake.hold()), label="held")
        lanes = Lanes(device, fake, fake.launch)
        setup = Setup(tiny=True, on_gpu=False, out=Path())
        _order(setup, notes, sizes, lanes, "the stand-in", lambda: held[0]())


class Lanes:
    """A device whose work says when it began and ended.

    cuda: whose events say so; None takes the clock. launch: what work has to be given to.
    """

    def __init__(
        self, device: Device, cuda: Any, launch: Callable[[Callable[[], object]], object] | None = None
    ) -> None:
        self._device, self._cuda = device, cuda
        self._launch = launch or (lambda work: work())

    def submit(self, lane: str, work: Callable[[], object], after: Sequence[Any] = ()) -> Ran:
        ran = Ran()

        def marked() -> None:
            ran.begin = self._mark()
            self._launch(work)
            ran.end = self._mark()

        ran.event = self._device.submit(lane, 0.0, marked, after)
        return ran

    def wait(self, ran: Ran) -> None:
        self._device.wait(ran.event)

    def apart_s(self, mark: Any, later: Any) -> float:
        return later - mark if self._cuda is None else mark.elapsed_time(later) / 1e3

    def _mark(self) -> Any:
        if self._cuda is None:
            return perf_counter()
        event = self._cuda.Event(enable_timing=True, blocking=True)
        event.record(self._cuda.current_stream())
        return event


class Ran:
    """One operation: its event, and when its lane began and ended it."""

    event: Any
    begin: Any
    end: Any


def _order(
    setup: Setup,
    notes: Notes,
    sizes: Sizes,
    lanes: Lanes,
    kind: str,
    submitted: Callable[[], object] = lambda: None,
) -> None:
    """Each slot is filled, read, filled anew and read again; nobody waits on the host in between.

    submitted: is called when all of it has been.
    """
    numbers = torch.arange(1, 2 * sizes.slots + 1).to(torch.bfloat16).view(2, sizes.slots, 1)  # one a copy
    source = numbers.expand(-1, -1, sizes.expert_numbers).contiguous()
    source = source.pin_memory() if setup.on_gpu else source
    slots = torch.zeros_like(source[0], device=setup.place)
    seen = torch.zeros_like(source, device=setup.place)
    finish(setup.place)
    steps: list[list[Ran]] = [[] for _ in range(sizes.slots)]
    for turn in range(2):
        for slot, ran in enumerate(steps):
            for lane, target, of in (
                ("link", slots[slot], source[turn, slot]),
                ("gpu", seen[turn, slot], slots[slot]),
            ):
                ran.append(lanes.submit(lane, _copy(target, of), [ran[-1].event] if ran else []))
    submitted()
    for ran in steps:
        lanes.wait(ran[-1])
    same = torch.equal(seen.cpu(), source.cpu())
    notes.claim(f"{kind}: every reader of a slot saw the copy it came after", same)
    apart_s = [lanes.apart_s(ran[i].end, ran[i + 1].begin) for ran in steps for i in range(3)]
    notes.claim(
        f"{kind}: the events of a slot come in order: copied, read, copied, read",
        min(apart_s) >= -RESOLUTION_S,
        f"at least {1e6 * min(apart_s):.1f} µs from an end to the next start",
    )


def _overlap(setup: Setup, notes: Notes, sizes: Sizes, lanes: Lanes) -> None:
    source = torch.ones(sizes.copies, sizes.expert_numbers, dtype=torch.bfloat16)
    source = source.pin_memory() if setup.on_gpu else source
    slots = torch.empty_like(source, device=setup.place)
    square = torch.randn(sizes.side, sizes.side, device=setup.place).to(torch.bfloat16)
    product = torch.empty_like(square)
    once_s = run_s(setup.place, lambda: torch.mm(square, square, out=product))
    copies_s = run_s(setup.place, lambda: slots.copy_(source, non_blocking=True))
    count = max(1, round(copies_s / once_s))

    def copies() -> list[Ran]:
        return [lanes.submit("link", _copy(slots[i], source[i])) for i in range(sizes.copies)]

    def products() -> list[Ran]:
        def work() -> None:
            for _ in range(count):
                torch.mm(square, square, out=product)

        return [lanes.submit("gpu", work)]

    ways = {"copies alone": (copies,), "kernels alone": (products,), "both": (products, copies)}
    times: dict[str, list[float]] = {name: [] for name in (*ways, "kernels, in both")}
    for _ in range(sizes.repeats):
        for name, parts in ways.items():
            ran = [each for part in parts for each in part()]
            for each in ran:
                lanes.wait(each)
            first = ran[0].begin
            begins = [lanes.apart_s(first, each.begin) for each in ran]
            ends = [lanes.apart_s(first, each.end) for each in ran]
            times[name].append(max(ends) - min(begins))
        times["kernels, in both"].append(ends[0])
    medians = {name: statistics.median(seconds) for name, seconds in times.items()}
    for name, seconds in medians.items():
        notes.row("Time by the lanes' own events", what=name, ms=1e3 * seconds)
    ratio = medians["both"] / max(medians["copies alone"], medians["kernels alone"])
    notes.fact("matrix products beside the copies", count)
    notes.claim(
        f"{sizes.copies} copies beside matrix products take at most {LONGER_AT_MOST} × the longer of both",
        ratio <= LONGER_AT_MOST if setup.on_gpu else None,
        f"{ratio:.3f} ×",
    )


def _copy(target: torch.Tensor, source: torch.Tensor) -> Callable[[], object]:
    return lambda: target.copy_(source, non_blocking=True)
