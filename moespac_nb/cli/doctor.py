"""What this installation runs on, and whether it is whole: versions, devices, memory, bundled data."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

from packaging.requirements import Requirement

from .. import __version__
from ..datasets.files import data_root, read_manifest, verify_checksums
from ..hardware.memory import system_memory
from ..utils.exceptions import MoespacError

__all__ = ["describe", "examine"]

DISTRIBUTION = "moespac-nb"
# Loading the pair, a notebook kernel and its widgets was measured below this.
MEMORY_NEEDED_BYTES = 1 << 30


def examine() -> dict[str, Any]:
    """Return what is found; `advice` is one thing to do an entry, and empty where all is well."""
    packages, advice = _packages()
    devices, device_advice = _devices()
    memory, data = system_memory(), _data()
    advice += [*device_advice, *data["problems"]]
    available_bytes = memory["available_bytes"]
    if available_bytes is not None and available_bytes < MEMORY_NEEDED_BYTES:
        advice.append(
            f"{_gib(available_bytes)} of memory available, a notebook needs up to "
            f"{_gib(MEMORY_NEEDED_BYTES)}: close other programs or kernels"
        )
    return {
        "ok": not advice,
        "version": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": packages,  # by name the installed version, or None
        "devices": devices,
        "memory": memory,
        "data": data,
        "advice": advice,
    }


def describe(report: Mapping[str, Any]) -> str:
    """Return the report for a person to read."""
    devices, memory, data = report["devices"], report["memory"], report["data"]
    packages = ", ".join(f"{name} {version or 'missing'}" for name, version in report["packages"].items())
    cuda = ", ".join(devices["cuda"]) or "none"
    mps = "present, not used: everything runs on the CPU" if devices["mps"] else "none"
    lines = [
        f"moespac-nb {report['version']}, Python {report['python']}, {report['system']}",
        f"packages   {packages}",
        f"devices    {devices['cpu_count']} CPU cores; CUDA: {cuda}; Apple MPS: {mps}",
        f"memory     {_gib(memory['available_bytes'])} available of {_gib(memory['total_bytes'])}",
        f"data       {data['files']} files, {data['bytes'] / 1e6:.1f} MB in {data['path']}: "
        + (f"{len(data['problems'])} problems" if data["problems"] else "every checksum right"),
    ]
    lines += [f"to do      {line}" for line in report["advice"]] or ["all is well"]
    return "\n".join(lines)


def _packages() -> tuple[dict[str, str | None], list[str]]:
    try:
        required = [Requirement(line) for line in metadata.requires(DISTRIBUTION) or []]
    except metadata.PackageNotFoundError:
        return {}, [f"{DISTRIBUTION} is not installed here: python run.py lab, or pip install -e ."]
    found: dict[str, str | None] = {}
    advice = []
    for requirement in required:
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            version = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            version = None
        found[requirement.name] = version
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wanted = f"{requirement.name}{requirement.specifier}"
            advice.append(f"{requirement.name} is {version or 'missing'}: pip install '{wanted}'")
    return found, advice


def _devices() -> tuple[dict[str, Any], list[str]]:
    devices: dict[str, Any] = {"cpu_count": os.cpu_count(), "cuda": [], "mps": False}
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: a shared library that does not load
        return devices, [f"torch cannot be imported ({error}): pip install --force-reinstall torch"]
    devices["cuda"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    devices["mps"] = torch.backends.mps.is_available()
    return devices, []


def _data() -> dict[str, Any]:
    problems = [str(problem) for problem in verify_checksums()]
    try:
        listed = read_manifest(data_root())
    except MoespacError:
        return {"path": None, "files": 0, "bytes": 0, "problems": problems}
    size = sum(entry["bytes"] for entry in listed.values())
    return {"path": str(data_root()), "files": len(listed), "bytes": size, "problems": problems}


def _gib(size_bytes: int | None) -> str:
    return "unknown" if size_bytes is None else f"{size_bytes / 2**30:.1f} GiB"
