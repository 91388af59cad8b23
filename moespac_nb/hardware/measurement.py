"""Measure what this machine's memories, link and processors can do, by the clock.

Medians of repeats over buffers larger than caches. Each lane is measured alone, then copies and experts on
the CPU at once, which read the same memory. Without CUDA the host plays the device too: its copies are the
link, its memory and its matrices are the device's.
"""

from __future__ import annotations

import statistics
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from time import perf_counter, sleep
from typing import Any

from .machine import GIB
from .memory import system_memory

__all__ = [
    "Effort",
    "Readings",
    "link_of",
    "measure_cuda",
    "measure_host",
    "measure_host_as_device",
    "median_seconds",
]

HIDDEN, EXPERT_WIDTH = 2048, 768  # of the paper's target: the experts that are timed have this shape
COMPUTED_POSITIONS = 64  # enough for an expert to be bound by arithmetic
SMALL_COPY_BYTES = 64 * 1024
BATCH = 16  # copies in a row
RESERVED_GIB = 1.0

Readings = dict[str, tuple[float, str]]  # by the key of a profile: a constant, and where it comes from


@dataclass(frozen=True)
class Effort:
    """How much is moved and how often: enough to leave the caches, in seconds or in a minute.

    Parameters
    ----------
    buffer_bytes : int
        Of a large copy.
    experts : int
        Different ones, of 19 MB each in float32.
    repeats : int
        Of each measurement.
    """

    buffer_bytes: int
    experts: int
    repeats: int


def median_seconds(
    run: Callable[[], object], repeats: int, wait: Callable[[], object] | None = None
) -> float:
    """Return the median of so many runs, after one that is not counted; `wait` ends each of them."""
    times = []
    for _ in range(repeats + 1):
        start = perf_counter()
        run()
        if wait is not None:
            wait()
        times.append(perf_counter() - start)
    return max(statistics.median(times[1:]), 1e-9)  # a clock too coarse must not divide by zero


def link_of(small_bytes: int, small_s: float, large_bytes: int, large_s: float) -> tuple[float, float]:
    """Fit a link's fixed cost and bandwidth to the times of a small and a large copy.

    Parameters
    ----------
    small_bytes, large_bytes : int
    small_s, large_s : float

    Returns
    -------
    alpha_s, bytes_per_s : float

    Examples
    --------
    >>> link_of(1000, 2.0, 5000, 4.0)
    (1.5, 2000.0)
    """
    if large_s <= small_s:
        return 0.0, large_bytes / large_s
    bytes_per_s = (large_bytes - small_bytes) / (large_s - small_s)
    return max(0.0, small_s - small_bytes / bytes_per_s), bytes_per_s


def measure_host(effort: Effort) -> Readings:
    """Measure memory and processors of the host: raw reads, and experts of one position and of many."""
    import torch

    source = torch.ones(effort.buffer_bytes // 4)
    read_s = median_seconds(source.sum, effort.repeats)
    experts = _experts(effort)
    expert_bytes = sum(weight.nbytes for weight in experts[0])
    one_s, many_s = (
        median_seconds(partial(_run, experts, positions), effort.repeats) / len(experts)
        for positions in (1, COMPUTED_POSITIONS)
    )
    shape = f"experts of {HIDDEN} × {EXPERT_WIDTH} in float32"
    return {
        "host.memory_gib": (system_memory()["total_bytes"] / GIB, "measured: as the system says"),
        "host.read_gb_per_s": (source.nbytes / read_s / 1e9, "measured: the sum of a large buffer"),
        "host.expert_gb_per_s": (expert_bytes / one_s / 1e9, f"measured: {shape}, one position"),
        "host.gflops": (
            COMPUTED_POSITIONS * 2 * (expert_bytes / 4) / many_s / 1e9,
            f"measured: {shape}, {COMPUTED_POSITIONS} positions",
        ),
    }


def _experts(effort: Effort) -> Any:
    """Return experts that are all different, so that none is still in a cache when its turn comes again."""
    import torch

    shapes = ((2 * EXPERT_WIDTH, HIDDEN), (HIDDEN, EXPERT_WIDTH))
    return [[torch.randn(shape) for shape in shapes] for _ in range(effort.experts)]


def _run(experts: Any, positions: int) -> None:
    import torch

    hidden = torch.ones(positions, HIDDEN)
    for gate_up, down in experts:
        gate, up = (hidden @ gate_up.T).chunk(2, dim=-1)
        (torch.nn.functional.silu(gate) * up) @ down.T


def _bus(effort: Effort, device: str) -> Readings:
    """Measure what a thread that copies and experts that compute read of the host's memory together."""
    import torch

    experts, is_cuda = _experts(effort), device == "cuda"
    source = torch.ones(effort.buffer_bytes // 8, pin_memory=is_cuda)
    target = torch.zeros_like(source, device=device)
    copies, stop = [0], threading.Event()

    def copy() -> None:
        with torch.inference_mode():  # each thread has its own
            while not stop.is_set():
                target.copy_(source, non_blocking=True)
                if is_cuda:
                    torch.cuda.synchronize()
                copies[0] += 1

    with ThreadPoolExecutor(1) as threads:
        copying = threads.submit(copy)
        while not copies[0] and not copying.done():
            sleep(0.001)
        first, start = copies[0], perf_counter()
        for _ in range(effort.repeats):
            _run(experts, 1)
        passed_s = max(perf_counter() - start, 1e-9)
        copied_bytes = (copies[0] - first) * source.nbytes
        stop.set()
        copying.result()
    computed_bytes = effort.repeats * sum(weight.nbytes for expert in experts for weight in expert)
    rate = (copied_bytes + computed_bytes) / passed_s / 1e9
    return {"host.bus_gb_per_s": (rate, "measured: copies and experts at once")}


def _link(effort: Effort, device: str) -> Readings:
    import torch

    is_cuda, large = device == "cuda", effort.buffer_bytes
    wait, where = (torch.cuda.synchronize, "from pinned memory") if is_cuda else (None, "in memory")

    def copy_s(size_bytes: int, copies: int = 1) -> float:
        source = torch.ones(size_bytes // 4, pin_memory=is_cuda)
        target = torch.zeros_like(source, device=device)

        def run() -> None:
            for _ in range(copies):
                target.copy_(source, non_blocking=True)

        return median_seconds(run, effort.repeats, wait)

    small_s = copy_s(SMALL_COPY_BYTES)
    alpha_s, bytes_per_s = link_of(SMALL_COPY_BYTES, small_s, large, copy_s(large))
    next_s = (copy_s(SMALL_COPY_BYTES, BATCH) - small_s) / (BATCH - 1) - SMALL_COPY_BYTES / bytes_per_s
    return {
        "link.next_alpha_ms": (
            1e3 * min(max(0.0, next_s), alpha_s),
            f"measured: each but the first of {BATCH} small copies in a row {where}, less its bytes",
        ),
        "link.alpha_ms": (1e3 * alpha_s, f"measured: a small copy {where}, less its bytes"),
        "link.bandwidth_gb_per_s": (bytes_per_s / 1e9, f"measured: copies {where}, small and large"),
    }


def measure_host_as_device(effort: Effort, host: Readings) -> Readings:
    """Let the host play the device, where there is no CUDA."""
    gflops, how = host["host.gflops"]
    readings = {
        "device.memory_gib": host["host.memory_gib"],
        "device.bandwidth_gb_per_s": host["host.expert_gb_per_s"],
        "device.tflops": (gflops / 1e3, how),
        **_link(effort, "cpu"),
        **_bus(effort, "cpu"),
    }
    reserved_gib = min(RESERVED_GIB, host["host.memory_gib"][0] / 2)
    return {
        "device.reserved_gib": (reserved_gib, "assumption: the system and this process"),
        **{key: (value, f"{how}; no CUDA: the host is the device") for key, (value, how) in readings.items()},
    }


def measure_cuda(effort: Effort) -> Readings:
    """Measure the GPU and its link."""
    import torch

    link = _link(effort, "cuda") | _bus(effort, "cuda")
    block = torch.ones(effort.buffer_bytes // 4, device="cuda")
    read_s = median_seconds(block.sum, effort.repeats, torch.cuda.synchronize)
    side = 4096
    square = torch.randn(side, side, device="cuda", dtype=torch.float16)
    product_s = median_seconds(lambda: square @ square, effort.repeats, torch.cuda.synchronize)
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    others_gib = max(0, total_bytes - free_bytes - torch.cuda.memory_reserved()) / GIB
    return {
        "device.memory_gib": (total_bytes / GIB, "measured: as the driver says"),
        "device.reserved_gib": (others_gib, "measured: taken by others and by the context of this process"),
        "device.bandwidth_gb_per_s": (block.nbytes / read_s / 1e9, "measured: the sum of a large buffer"),
        "device.tflops": (2 * side**3 / product_s / 1e12, f"measured: product of {side} × {side} in float16"),
        **link,
    }
