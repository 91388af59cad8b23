"""Measure this machine by the clock, and write a profile of it as the bundled ones are.

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

from ..utils.exceptions import InvalidInputError
from ..utils.files import atomic_write
from .machine import GIB
from .memory import system_memory

__all__ = ["Calibration", "as_dict", "calibrate", "check_path", "to_toml", "write_machine"]

HIDDEN, EXPERT_WIDTH = 2048, 768  # of the paper's target: the experts that are timed have this shape
LAYERS, EXPERTS, GAMMA = 48, 128, 8  # of the paper's target and draft: the planning that is timed
COMPUTED_POSITIONS = 64  # enough for an expert to be bound by arithmetic
SMALL_COPY_BYTES = 64 * 1024
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


QUICK = Effort(buffer_bytes=256 * 2**20, experts=12, repeats=5)
THOROUGH = Effort(buffer_bytes=512 * 2**20, experts=24, repeats=15)


@dataclass(frozen=True)
class Calibration:
    """Constants of this machine.

    Parameters
    ----------
    about : str
        What the machine is, in words.
    on : str
        The date.
    versions : str
        Of the packages that it was measured with.
    values : mapping of str to float
        The constants, by the keys of a profile and in their units.
    how : mapping of str to str
        Where each comes from: "measured: …" or "assumption: …".
    """

    about: str
    on: str
    versions: str
    values: Mapping[str, float]
    how: Mapping[str, str]


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

    Examples
    --------
    >>> from moespac_nb.policies.timing import measure_planning_s
    >>> calibration = calibrate(planning_s=measure_planning_s)  # doctest: +SKIP
    """
    import numpy as np
    import torch

    effort, has_cuda = QUICK if quick else THOROUGH, torch.cuda.is_available()
    with torch.inference_mode():
        readings = _host(effort)
        readings |= _cuda(effort) if has_cuda else _host_as_device(effort, readings)
    readings["policy.plan_ms"] = (
        1e3 * planning_s(effort.repeats),
        f"measured: estimator and fast balancer, {LAYERS} layers of {EXPERTS} experts, γ = {GAMMA}, "
        "made-up routing",
    )
    device = torch.cuda.get_device_name() if has_cuda else "no CUDA"
    return Calibration(
        about=f"this machine: {platform.system()} {platform.machine()}, {device}",
        on=datetime.date.today().isoformat(),
        versions=f"moespac-nb {metadata.version('moespac-nb')}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, numpy {np.__version__}, {torch.get_num_threads()} threads"
        + (", quick" if quick else ""),
        values={key: value for key, (value, _) in readings.items()},
        how={key: how for key, (_, how) in readings.items()},
    )


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


def _host(effort: Effort) -> Readings:
    import torch

    source = torch.ones(effort.buffer_bytes // 4)
    read_s = median_seconds(source.sum, effort.repeats)
    # An expert a call, all different, so that none is still in a cache when its turn comes again.
    shapes = ((2 * EXPERT_WIDTH, HIDDEN), (HIDDEN, EXPERT_WIDTH))
    experts = [[torch.randn(shape) for shape in shapes] for _ in range(effort.experts)]
    expert_bytes = sum(weight.nbytes for weight in experts[0])

    def expert_s(positions: int) -> float:
        hidden = torch.randn(positions, HIDDEN)

        def run_experts() -> None:
            for gate_up, down in experts:
                gate, up = (hidden @ gate_up.T).chunk(2, dim=-1)
                (torch.nn.functional.silu(gate) * up) @ down.T

        return median_seconds(run_experts, effort.repeats) / len(experts)

    one_s, many_s = expert_s(1), expert_s(COMPUTED_POSITIONS)
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


def _link(effort: Effort, device: str) -> Readings:
    import torch

    is_cuda, large = device == "cuda", effort.buffer_bytes
    wait, where = (torch.cuda.synchronize, "from pinned memory") if is_cuda else (None, "in memory")

    def copy_s(size_bytes: int) -> float:
        source = torch.ones(size_bytes // 4, pin_memory=is_cuda)
        target = torch.zeros_like(source, device=device)
        return median_seconds(lambda: target.copy_(source, non_blocking=True), effort.repeats, wait)

    alpha_s, bytes_per_s = link_of(SMALL_COPY_BYTES, copy_s(SMALL_COPY_BYTES), large, copy_s(large))
    return {
        "link.alpha_ms": (1e3 * alpha_s, f"measured: a small copy {where}, less its bytes"),
        "link.bandwidth_gb_per_s": (bytes_per_s / 1e9, f"measured: copies {where}, small and large"),
    }


def _host_as_device(effort: Effort, host: Readings) -> Readings:
    gflops, how = host["host.gflops"]
    readings = {
        "device.memory_gib": host["host.memory_gib"],
        "device.bandwidth_gb_per_s": host["host.expert_gb_per_s"],
        "device.tflops": (gflops / 1e3, how),
        **_link(effort, "cpu"),
    }
    reserved_gib = min(RESERVED_GIB, host["host.memory_gib"][0] / 2)
    return {
        "device.reserved_gib": (reserved_gib, "assumption: the system and this process"),
        **{key: (value, f"{how}; no CUDA: the host is the device") for key, (value, how) in readings.items()},
    }


def _cuda(effort: Effort) -> Readings:
    import torch

    link = _link(effort, "cuda")
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


def to_toml(calibration: Calibration) -> str:
    """Return the profile in TOML, with a line for each constant, as `load_machine` reads it.

    Parameters
    ----------
    calibration : Calibration

    Returns
    -------
    str

    Examples
    --------
    >>> how = {"link.alpha_ms": "measured: a small copy"}
    >>> print(to_toml(Calibration("mine", "2026-11-28", "1.0", {"link.alpha_ms": 0.25}, how)))
    about = "mine"
    experts_in = "host"
    <BLANKLINE>
    [measured]
    on = "2026-11-28"
    versions = "1.0"
    <BLANKLINE>
    [link]
    alpha_ms = { value = 0.25, measured = "a small copy" }
    <BLANKLINE>
    """
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


def _quoted(text: str) -> str:
    # A JSON string is a TOML string, but for one character that JSON leaves as it is.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def check_path(path: Path) -> None:
    """Raise InvalidInputError unless a profile can be written at a path and read again from it."""
    if path.suffix != ".toml" or not path.parent.is_dir():
        raise InvalidInputError(
            f"the profile's path is {str(path)!r}; expected: a .toml file in a folder that is there"
        )


def write_machine(calibration: Calibration, path: Path) -> None:
    """Write the profile, the whole file or none; it then loads by its path wherever a machine is named.

    Parameters
    ----------
    calibration : Calibration
    path : Path
        A .toml file; one that exists is replaced.

    Raises
    ------
    InvalidInputError
        If it is none, or its folder is not there.
    MoespacError
        If the operating system refuses.
    """
    check_path(path)
    with atomic_write(path, "the machine's profile") as file:
        file.write(to_toml(calibration).encode())


def as_dict(calibration: Calibration) -> dict[str, Any]:
    """Return everything as plain values."""
    return asdict(calibration)
