"""Main memory of this machine, limits of a container included."""

from __future__ import annotations

from pathlib import Path

import psutil

__all__ = ["system_memory"]


def system_memory() -> dict[str, int]:
    """Measure the main memory that this process may use.

    Returns
    -------
    dict
        `total_bytes` and `available_bytes` of the system, or of the container if that has less.

    Examples
    --------
    >>> sorted(system_memory())
    ['available_bytes', 'total_bytes']
    """
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    # In a container (Binder is one) psutil reads the host's memory; its own limit stands only here.
    limit, used = (_cgroup(name) for name in ("memory.max", "memory.current"))
    if limit is not None and limit < total:
        total = limit
        if used is not None:
            available = min(available, limit - used)
    return {"total_bytes": total, "available_bytes": available}


def _cgroup(name: str) -> int | None:
    try:
        return int(Path("/sys/fs/cgroup", name).read_text())
    except (OSError, ValueError):
        return None
