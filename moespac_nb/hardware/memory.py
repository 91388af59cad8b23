"""Main memory of this machine, limits of a container included."""

from __future__ import annotations

import os
import sys
from pathlib import Path

__all__ = ["_cgroup", "system_memory"]


def system_memory() -> dict[str, int | None]:
    """`total_bytes` and `available_bytes` of this system or its container; None where it does not say."""
    total: int | None = None
    available: int | None = None
    try:
        import psutil  # comes with the notebook kernel; knows every system

        total, available = psutil.virtual_memory().total, psutil.virtual_memory().available
    except ImportError:
        if sys.platform != "win32":
            total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        if sys.platform == "linux":
            available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    # A container (Binder is one) sees its host's memory there, and its own limit only here.
    limit, used = (_cgroup(name) for name in ("memory.max", "memory.current"))
    if limit is not None and total is not None and limit < total:
        total = limit
        if available is not None and used is not None:
            available = min(available, limit - used)
    return {"total_bytes": total, "available_bytes": available}


def _cgroup(name: str) -> int | None:
    try:
        return int(Path("/sys/fs/cgroup", name).read_text())
    except (OSError, ValueError):
        return None
