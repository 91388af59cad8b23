"""How long work takes: on the GPU by its own events, on the host by the clock."""

from __future__ import annotations

import statistics
from collections.abc import Callable
from time import perf_counter

import torch


def finish(place: str) -> None:
    if place == "cuda":
        torch.cuda.synchronize()


def run_s(place: str, work: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds of the work itself, after one run that is not counted."""
    return statistics.median([_once_s(place, work) for _ in range(repeats + 1)][1:])


def _once_s(place: str, work: Callable[[], object]) -> float:
    if place != "cuda":
        start = perf_counter()
        work()
        return perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    torch.cuda.synchronize()
    begin.record()
    work()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1e3


def issue_s(place: str, work: Callable[[], object], repeats: int = 5) -> float:
    """Median seconds until the call returns, whether or not the GPU is through."""
    times = []
    for _ in range(repeats + 1):
        finish(place)
        start = perf_counter()
        work()
        times.append(perf_counter() - start)
    finish(place)
    return statistics.median(times[1:])
