"""Stage 5: experts in a grouped product over all slots, or a loop over those in use; what a wait costs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from tools.gpu.stage import Notes, Setup
from tools.gpu.timing import issue_s, run_s


@dataclass(frozen=True)
class Sizes:
    hidden: int
    rows: int  # of an expert's first matrix: gate and up
    groups: tuple[int, ...]
    top_k: int
    positions: tuple[int, ...]


# 614 slots are 10 % of the paper's target; torch's kernel for bfloat16 refuses 1024 groups and more.
FULL = Sizes(hidden=2048, rows=2 * 768, groups=(64, 614, 1023, 1024), top_k=8, positions=(1, 9))
DRY = Sizes(hidden=64, rows=32, groups=(16, 64), top_k=2, positions=(1, 9))
CLOSE = 2e-2  # bfloat16 keeps 8 bits; the two ways add in another order


def run(setup: Setup, notes: Notes) -> None:
    sizes = DRY if setup.tiny else FULL
    torch.manual_seed(0)
    with torch.inference_mode():
        weights = _random(setup, max(sizes.groups), sizes.rows, sizes.hidden).div_(sizes.hidden**0.5)
        apart = [
            _products(setup, notes, sizes, weights[:groups], positions)
            for groups in sizes.groups
            for positions in sizes.positions
        ]
        compared = [each for each in apart if each is not None]
        notes.claim(
            "a loop over the experts in use gives the grouped product",
            max(compared) < CLOSE if compared else None,
            f"{len(compared)} of {len(apart)} compared, apart by {max(compared, default=0):.2g} of the norm",
        )
        _waits(setup, notes)


def _random(setup: Setup, *shape: int) -> Tensor:
    return torch.randn(shape, device=setup.place, dtype=torch.bfloat16)


def _products(setup: Setup, notes: Notes, sizes: Sizes, weights: Tensor, positions: int) -> float | None:
    """Times both ways; how far apart their products are, None where torch refuses the grouped one."""
    groups, rows = len(weights), positions * sizes.top_k
    # About half of a window's choices fall on an expert that another position has chosen.
    distinct = sizes.top_k if positions == 1 else min(groups, max(sizes.top_k, rows // 2))
    active = torch.randperm(groups)[:distinct].sort().values
    counts = torch.zeros(groups, dtype=torch.int64)
    counts[active] = torch.bincount(torch.arange(rows) % distinct, minlength=distinct)
    ends = counts.cumsum(0)
    offsets = ends.to(setup.place, torch.int32)
    hidden = _random(setup, rows, sizes.hidden)
    parts = [(int(e), int(ends[e] - counts[e]), int(ends[e])) for e in active]

    def grouped() -> Tensor:
        return _grouped_mm()(hidden, weights.transpose(-2, -1), offs=offsets)

    def loop() -> Tensor:
        return torch.cat([functional.linear(hidden[a:b], weights[expert]) for expert, a, b in parts])

    cells: dict[str, Any] = {"groups": groups, "positions": positions, "active": distinct}
    cells |= {"loop_us": 1e6 * run_s(setup.place, loop), "loop_issue_us": 1e6 * issue_s(setup.place, loop)}
    apart = None
    try:
        cells["grouped_us"] = 1e6 * run_s(setup.place, grouped)
        cells["grouped_issue_us"] = 1e6 * issue_s(setup.place, grouped)
        by_group, by_loop = grouped().float(), loop().float()
        apart = float((by_group - by_loop).norm() / by_loop.norm())
    except (RuntimeError, AttributeError) as error:
        cells["refused"] = str(error).splitlines()[0]
    notes.row("One product of a layer, bfloat16", **cells)
    return apart


def _grouped_mm() -> Any:
    return getattr(functional, "grouped_mm", None) or torch._grouped_mm


def _waits(setup: Setup, notes: Notes) -> None:
    """What a layer pays to ask the GPU anything."""
    indices = torch.zeros(72, dtype=torch.int64, device=setup.place)
    hidden = _random(setup, 9, 2048)
    costs: dict[str, Callable[[], object]] = {
        "launching one small kernel": lambda: hidden.add_(1),
        "72 indices to the host": lambda: indices.cpu(),
        "hidden states of 9 positions to the host": lambda: hidden.cpu(),
    }
    if setup.on_gpu:
        pinned = torch.empty(9, 2048, dtype=torch.bfloat16).pin_memory()

        def wait(blocking: bool) -> None:
            event = torch.cuda.Event(enable_timing=True, blocking=blocking)
            pinned.copy_(hidden, non_blocking=True)
            event.record()
            event.synchronize()

        costs["the same into pinned memory, waiting asleep"] = lambda: wait(blocking=True)
        costs["the same into pinned memory, waiting awake"] = lambda: wait(blocking=False)
    for what, work in costs.items():
        notes.row("Time until the host goes on", what=what, us=1e6 * issue_s(setup.place, work, repeats=50))
