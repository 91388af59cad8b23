"""Stage 1: what is installed, which GPU it is, and what its link carries."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess

import torch

from tools.gpu.stage import Notes, NotRun, Setup
from tools.gpu.timing import run_s

PACKAGES = ("torch", "transformers", "numpy", "safetensors", "tokenizers", "triton", "accelerate", "pytest")
ASKED = ("driver_version", "pcie.link.gen.max", "pcie.link.width.max", "clocks.max.sm")


def run(setup: Setup, notes: Notes) -> None:
    for name in PACKAGES:
        try:
            notes.fact(name, importlib.metadata.version(name))
        except importlib.metadata.PackageNotFoundError:
            notes.fact(name, "not installed")
    notes.fact("Python", f"{platform.python_version()}, {platform.system()} {platform.machine()}")
    notes.fact("cores", len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    notes.fact("free host memory, bytes", free_host_bytes())
    if not setup.on_gpu:
        notes.fact("GPU", "no GPU (dry run)")
        _copies(setup, notes, 2**22)
        return
    if not torch.cuda.is_available():
        raise NotRun(f"torch {torch.__version__} finds no GPU")
    about = torch.cuda.get_device_properties(0)
    notes.fact("GPU", about.name)
    notes.fact("capability", f"{about.major}.{about.minor}, {about.multi_processor_count} multiprocessors")
    notes.fact("CUDA of torch", torch.version.cuda)
    free, total = torch.cuda.mem_get_info()
    notes.fact("free GPU memory, bytes", free)
    notes.fact("GPU memory, bytes", total)
    _driver(notes)
    _copies(setup, notes, 2**28)


def free_host_bytes() -> int:
    """What the system says can be taken without swapping; 0 where it does not say."""
    try:
        with open("/proc/meminfo", encoding="ascii") as file:
            lines = dict(line.split(":", 1) for line in file)
        return 1024 * int(lines["MemAvailable"].split()[0])
    except (OSError, KeyError, ValueError):
        return 0


def _driver(notes: Notes) -> None:
    command = ["nvidia-smi", f"--query-gpu={','.join(ASKED)}", "--format=csv,noheader", "--id=0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout
    except (OSError, subprocess.SubprocessError) as error:
        notes.fact("nvidia-smi", str(error))
        return
    for name, value in zip(ASKED, said.split(","), strict=False):
        notes.fact(name, value.strip())


def _copies(setup: Setup, notes: Notes, size_bytes: int) -> None:
    """Both ways over the link, out of pinned memory, where there is one."""
    host = torch.ones(size_bytes, dtype=torch.uint8)
    if setup.on_gpu:
        host = host.pin_memory()
    there = torch.zeros(size_bytes, dtype=torch.uint8, device=setup.place)
    for name, target, source in (("to the GPU", there, host), ("from the GPU", host, there)):
        seconds = run_s(
            setup.place, lambda target=target, source=source: target.copy_(source, non_blocking=True)
        )
        notes.fact(f"{size_bytes} bytes {name}, GB/s", size_bytes / seconds / 1e9)
