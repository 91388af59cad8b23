"""Measures this machine and writes a profile of it: what a bundled one publishes or assumes, by the clock.

    moespac calibrate --out my_machine.toml

Medians of repeats over buffers larger than caches. Each lane is measured alone: lanes that run side by side
share cores and memory, and are slower. Without CUDA the host plays the device too: its copies are the link,
its memory and its matrices are the device's.
"""

from __future__ import annotations

import datetime
import json
import platform
import statistics
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from ..utils.exceptions import MoespacError
from ..utils.files import atomic_write

__all__ = ["Calibration", "calibrate", "write_machine"]

GIB = 2**30
HIDDEN, EXPERT_WIDTH = 2048, 768  # of the paper's target: the experts that are timed have this shape
LAYERS, EXPERTS, GAMMA = 48, 128, 8  # of the paper's target and draft: the planning that is timed
COMPUTED_POSITIONS = 64  # enough for an expert to be bound by arithmetic
SMALL_COPY_BYTES = 64 * 1024
RESERVED_GIB = 1.0


@dataclass(frozen=True)
class Effort:
    """How much is moved and how often: enough to leave the caches, in seconds or in a minute."""

    buffer_bytes: int
    experts: int  # distinct ones, of 19 MB each in float32
    repeats: int


QUICK = Effort(buffer_bytes=256 * 2**20, experts=12, repeats=5)
THOROUGH = Effort(buffer_bytes=512 * 2**20, experts=24, repeats=15)


@dataclass(frozen=True)
class Calibration:
    """Constants of this machine by the keys of a profile, and how each was come by."""

    about: str
    on: str  # date
    versions: str
    values: Mapping[str, float]
    how: Mapping[str, str]  # "measured: …" or "assumption: …"


def calibrate(*, planning_s: Callable[[int], float], quick: bool = False) -> Calibration:
    """Measure this machine. Needs torch.

    Parameters
    ----------
    planning_s : callable
        Measures the policy's planning of one window: takes the number of repeats and returns seconds; see
        `policies.timing.measure_planning_s`.
    quick : bool, default False
        Measure for some seconds instead of about a minute.

    Returns
    -------
    Calibration
        The machine's constants, each with the way in which it was measured.
    """
    import torch

    effort = QUICK if quick else THOROUGH
    found: dict[str, tuple[float, str]] = {}
    with torch.inference_mode():
        found |= _host(effort)
        found |= _cuda(effort) if torch.cuda.is_available() else _host_as_device(effort, found)
    found["policy.plan_ms"] = (
        1e3 * planning_s(effort.repeats),
        f"measured: estimator and fast balancer, {LAYERS} layers of {EXPERTS} experts, γ = {GAMMA}, "
        "made-up routing",
    )
    return Calibration(
        about=_about(),
        on=datetime.date.today().isoformat(),
        versions=f"moespac-nb {metadata.version('moespac-nb')}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads"
        + (", quick" if quick else ""),
        values={key: value for key, (value, _) in found.items()},
        how={key: how for key, (_, how) in found.items()},
    )


def median_seconds(run: Callable[[], object], repeats: int) -> float:
    """Median of so many runs, after one that is not counted."""
    times = []
    for _ in range(repeats + 1):
        start = perf_counter()
        run()
        times.append(perf_counter() - start)
    return max(statistics.median(times[1:]), 1e-9)  # a clock too coarse must not divide by zero


def link_of(small_bytes: int, small_s: float, large_bytes: int, large_s: float) -> tuple[float, float]:
    """α in seconds and bytes a second of a link, from the times of a small and a large copy."""
    if large_s <= small_s:
        return 0.0, large_bytes / large_s
    bytes_per_s = (large_bytes - small_bytes) / (large_s - small_s)
    return max(0.0, small_s - small_bytes / bytes_per_s), bytes_per_s


def _host(effort: Effort) -> dict[str, tuple[float, str]]:
    import torch

    from .memory import system_memory

    source = torch.ones(effort.buffer_bytes // 4)
    read_s = median_seconds(lambda: source.sum(), effort.repeats)
    # An expert a call, all different, so that none is still in a cache when its turn comes again.
    shapes = ((2 * EXPERT_WIDTH, HIDDEN), (HIDDEN, EXPERT_WIDTH))
    experts = [[torch.randn(shape) for shape in shapes] for _ in range(effort.experts)]
    expert_bytes = sum(weight.nbytes for weight in experts[0])

    def serve(positions: int) -> float:
        hidden = torch.randn(positions, HIDDEN)

        def all_of_them() -> None:
            for gate_up, down in experts:
                gate, up = (hidden @ gate_up.T).chunk(2, dim=-1)
                (torch.nn.functional.silu(gate) * up) @ down.T

        return median_seconds(all_of_them, effort.repeats) / len(experts)

    one_s, many_s = serve(1), serve(COMPUTED_POSITIONS)
    total_bytes = system_memory()["total_bytes"]
    shape = f"experts of {HIDDEN} × {EXPERT_WIDTH} in float32"
    return {
        "host.memory_gib": (
            (total_bytes or 8 * GIB) / GIB,
            "measured: as the system says" if total_bytes else "assumption: the system does not say",
        ),
        "host.read_gb_per_s": (source.nbytes / read_s / 1e9, "measured: the sum of a large buffer"),
        "host.expert_gb_per_s": (expert_bytes / one_s / 1e9, f"measured: {shape}, one position"),
        "host.gflops": (
            COMPUTED_POSITIONS * 2 * (expert_bytes / 4) / many_s / 1e9,
            f"measured: {shape}, {COMPUTED_POSITIONS} positions",
        ),
    }


def _host_as_device(effort: Effort, host: Mapping[str, tuple[float, str]]) -> dict[str, tuple[float, str]]:
    import torch

    def copy_s(size_bytes: int) -> float:
        source = torch.ones(size_bytes // 4)
        target = torch.zeros_like(source)
        return median_seconds(lambda: target.copy_(source), effort.repeats)

    large = effort.buffer_bytes
    alpha_s, bytes_per_s = link_of(SMALL_COPY_BYTES, copy_s(SMALL_COPY_BYTES), large, copy_s(large))
    shared = "; no CUDA: the host is the device"
    memory, expert = host["host.memory_gib"], host["host.expert_gb_per_s"]
    return {
        "device.memory_gib": (memory[0], memory[1] + shared),
        "device.reserved_gib": (min(RESERVED_GIB, memory[0] / 2), "assumption: the system and this process"),
        "device.bandwidth_gb_per_s": (expert[0], expert[1] + shared),
        "device.tflops": (host["host.gflops"][0] / 1e3, host["host.gflops"][1] + shared),
        "link.alpha_ms": (1e3 * alpha_s, "measured: a small copy in memory, less its bytes" + shared),
        "link.bandwidth_gb_per_s": (
            bytes_per_s / 1e9,
            "measured: copies in memory, small and large" + shared,
        ),
    }


def _cuda(effort: Effort) -> dict[str, tuple[float, str]]:
    import torch

    def timed_s(run: Callable[[], object]) -> float:
        def finished() -> None:
            run()
            torch.cuda.synchronize()

        return median_seconds(finished, effort.repeats)

    def copy_s(size_bytes: int) -> float:
        source = torch.ones(size_bytes // 4).pin_memory()
        target = torch.zeros_like(source, device="cuda")
        return timed_s(lambda: target.copy_(source, non_blocking=True))

    large = effort.buffer_bytes
    alpha_s, bytes_per_s = link_of(SMALL_COPY_BYTES, copy_s(SMALL_COPY_BYTES), large, copy_s(large))
    block = torch.ones(large // 4, device="cuda")
    read_s = timed_s(lambda: block.sum())
    side = 4096
    square = torch.randn(side, side, device="cuda", dtype=torch.float16)
    product_s = timed_s(lambda: square @ square)
    free_bytes, total_bytes = torch.cuda.mem_get_info()
    ours_bytes = torch.cuda.memory_reserved()
    return {
        "device.memory_gib": (total_bytes / GIB, "measured: as the driver says"),
        "device.reserved_gib": (
            max(0, total_bytes - free_bytes - ours_bytes) / GIB,
            "measured: taken by others and by the context of this process",
        ),
        "device.bandwidth_gb_per_s": (block.nbytes / read_s / 1e9, "measured: the sum of a large buffer"),
        "device.tflops": (2 * side**3 / product_s / 1e12, f"measured: product of {side} × {side} in float16"),
        "link.alpha_ms": (1e3 * alpha_s, "measured: a small copy from pinned memory, less its bytes"),
        "link.bandwidth_gb_per_s": (
            bytes_per_s / 1e9,
            "measured: copies from pinned memory, small and large",
        ),
    }


def _about() -> str:
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "no CUDA"
    return f"this machine: {platform.system()} {platform.machine()}, {device}"


def to_toml(calibration: Calibration) -> str:
    """The profile that `machines.machine` reads."""
    lines = [f"about = {_quoted(calibration.about)}", 'experts_in = "host"', ""]
    lines += ["[measured]", f"on = {_quoted(calibration.on)}", f"versions = {_quoted(calibration.versions)}"]
    table = ""
    for key, value in sorted(calibration.values.items()):
        above, name = key.split(".")
        if above != table:
            lines += ["", f"[{above}]"]
            table = above
        origin, words = calibration.how[key].split(": ", 1)
        lines.append(f"{name} = {{ value = {float(f'{value:.6g}')!r}, {origin} = {_quoted(words)} }}")
    return "\n".join(lines) + "\n"


def check_path(path: Path) -> None:
    """Raises MoespacError unless a profile can be written there and read again."""
    if path.suffix != ".toml" or not path.parent.is_dir():
        raise MoespacError(f"--out is {str(path)!r}; expected: a .toml file in a folder that is there")


def write_machine(calibration: Calibration, path: Path) -> None:
    """Write the profile, the whole file or none. It then loads by its path wherever a machine is named."""
    check_path(path)
    with atomic_write(path, "the machine's profile") as file:
        file.write(to_toml(calibration).encode())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # a JSON string is a TOML string


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """Everything as plain values."""
    return asdict(calibration)
