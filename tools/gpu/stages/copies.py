"""Stage 3: what a copy to the GPU costs, by its size, the memory it comes from and how many are in flight."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tools.gpu.stage import Notes, Setup
from tools.gpu.timing import issue_s, run_s

WITHIN = 0.1
ISSUED_AT_MOST = 0.1  # of the copy's time


@dataclass(frozen=True)
class Sizes:
    copies_bytes: tuple[int, ...]
    in_flight_bytes: tuple[int, ...]
    expert_bytes: tuple[int, int]  # gate and up, down: what a copy in two calls brings
    experts: int  # that a batch brings


FULL = Sizes(
    copies_bytes=tuple(2**n for n in (16, 18, 20, 22, 24, 26, 28)),
    in_flight_bytes=(2**16, 2**20, 9 * 2**20),
    expert_bytes=(6 * 2**20, 3 * 2**20),  # 2048 × 768 in bfloat16
    experts=64,
)
DRY = Sizes((2**16, 2**18, 2**20), (2**16,), (2 * 2**16, 2**16), experts=4)


def run(setup: Setup, notes: Notes) -> None:
    sizes = DRY if setup.tiny else FULL
    room = max(*sizes.copies_bytes, sizes.experts * sum(sizes.expert_bytes), 8 * max(sizes.in_flight_bytes))
    there = torch.empty(room, dtype=torch.uint8, device=setup.place)
    largest_s: dict[str, tuple[float, float]] = {}
    for kind, memory in MEMORIES.items():
        if not setup.on_gpu and kind != "pageable":
            notes.fact(kind, "not run: no GPU")
            continue
        with memory(room) as host:
            if setup.on_gpu:
                notes.fact(f"{kind}: torch takes it for pinned", host.is_pinned())
            largest_s[kind] = _by_size(setup, notes, sizes, kind, host, there)
            if kind == "pageable" and setup.on_gpu:
                continue  # such a copy ends before the call does: none is ever in flight
            _in_flight(setup, notes, sizes, kind, host, there)
            _experts(setup, notes, sizes, kind, host, there)
    pinned, registered = (largest_s.get(kind) for kind in ("pinned", "registered in place"))
    notes.claim(
        f"memory registered in place is copied as fast as pinned memory, within {WITHIN:.0%}",
        registered[0] <= (1 + WITHIN) * pinned[0] if pinned and registered else None,
    )
    notes.claim(
        "a copy from it goes on while the host does",
        registered[1] <= ISSUED_AT_MOST * registered[0] if registered else None,
    )


def _by_size(
    setup: Setup, notes: Notes, sizes: Sizes, kind: str, host: Tensor, there: Tensor
) -> tuple[float, float]:
    """What the largest copy takes, and how long until its call returns."""
    seconds = []
    for size in sizes.copies_bytes:
        copy = _copy(there[:size], host[:size])
        seconds.append(run_s(setup.place, copy))
        issued_s = issue_s(setup.place, copy)
        notes.row(
            "One copy",
            memory=kind,
            bytes=size,
            us=1e6 * seconds[-1],
            GB_per_s=size / seconds[-1] / 1e9,
            issue_us=1e6 * issued_s,
        )
    alpha_s, bytes_per_s = fit(sizes.copies_bytes, seconds)
    notes.fact(f"{kind}: α, µs", 1e6 * alpha_s)
    notes.fact(f"{kind}: bandwidth, GB/s", bytes_per_s / 1e9)
    return seconds[-1], issued_s


def fit(sizes_bytes: tuple[int, ...], seconds: list[float]) -> tuple[float, float]:
    """α and bytes a second of t = α + bytes / bandwidth, by least squares of the relative error."""
    at, t = np.array(sizes_bytes, float), np.array(seconds)
    (alpha_s, s_per_byte), *_ = np.linalg.lstsq(
        np.stack([1 / t, at / t], axis=1), np.ones(len(t)), rcond=None
    )
    if alpha_s < 0 or s_per_byte <= 0:  # no such line: what the largest says
        return 0.0, float(at[-1] / t[-1])
    return float(alpha_s), float(1 / s_per_byte)


def _in_flight(setup: Setup, notes: Notes, sizes: Sizes, kind: str, host: Tensor, there: Tensor) -> None:
    for size in sizes.in_flight_bytes:
        for count in (1, 2, 4, 8):
            copies = [
                _copy(there[at : at + size], host[at : at + size]) for at in range(0, count * size, size)
            ]
            seconds = run_s(setup.place, lambda copies=copies: [copy() for copy in copies])
            notes.row(
                "Several in flight on one stream", memory=kind, bytes=size, in_flight=count,
                us_a_copy=1e6 * seconds / count, GB_per_s=count * size / seconds / 1e9,
            )  # fmt: skip


def _experts(setup: Setup, notes: Notes, sizes: Sizes, kind: str, host: Tensor, there: Tensor) -> None:
    first, second = sizes.expert_bytes
    size, starts = first + second, range(0, sizes.experts * (first + second), first + second)
    parts = [(at, at + first) for at in starts], [(at + first, at + size) for at in starts]
    halves = [(there[a:b], host[a:b]) for pair in zip(*parts, strict=True) for a, b in pair]
    whole = [(there[at : at + size], host[at : at + size]) for at in starts]
    ways: dict[str, Callable[[], object]] = {
        "two calls an expert": lambda: [_copy(*pair)() for pair in halves],
        "one call an expert": lambda: [_copy(*pair)() for pair in whole],
        "one call for all, by foreach": lambda: torch._foreach_copy_(
            [target for target, _ in whole], [source for _, source in whole], non_blocking=True
        ),
        "one copy of their bytes": _copy(there[: len(starts) * size], host[: len(starts) * size]),
    }
    for way, work in ways.items():
        seconds, issued_s = run_s(setup.place, work), issue_s(setup.place, work)
        notes.row(
            f"{sizes.experts} experts of {size} bytes", memory=kind, way=way, ms=1e3 * seconds,
            GB_per_s=len(starts) * size / seconds / 1e9, issue_us_an_expert=1e6 * issued_s / len(starts),
        )  # fmt: skip


def _copy(target: Tensor, source: Tensor) -> Callable[[], object]:
    return lambda: target.copy_(source, non_blocking=True)


@contextmanager
def _pageable(size: int) -> Iterator[Tensor]:
    yield torch.ones(size, dtype=torch.uint8)


@contextmanager
def _pinned(size: int) -> Iterator[Tensor]:
    yield torch.ones(size, dtype=torch.uint8).pin_memory()


@contextmanager
def _registered(size: int) -> Iterator[Tensor]:
    """Memory of its own, which CUDA is told of where it is."""
    host, driver = torch.ones(size, dtype=torch.uint8), torch.cuda.cudart()
    code = int(driver.cudaHostRegister(host.data_ptr(), size, 0))
    if code:
        raise RuntimeError(f"cudaHostRegister of {size} bytes answered {code}")
    try:
        yield host
    finally:
        torch.cuda.synchronize()
        driver.cudaHostUnregister(host.data_ptr())


MEMORIES = {"pageable": _pageable, "pinned": _pinned, "registered in place": _registered}
