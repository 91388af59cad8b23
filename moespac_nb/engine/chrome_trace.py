"""What ran when, as a Chrome trace: a JSON file that Perfetto and chrome://tracing open.

save_chrome_trace(result.timeline, "run.json", label="modelled: recency, 17%, rtx4090")
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..utils.files import atomic_write
from .devices import HOST_THREAD, LANES, Operation

__all__ = ["chrome_trace", "save_chrome_trace"]

ROWS = (HOST_THREAD, "draft", "gpu", "cpu", "link")
assert set(ROWS) == {HOST_THREAD, *LANES}


def chrome_trace(operations: Iterable[Operation], label: str = "modelled") -> dict[str, Any]:
    """The trace as plain values; times in microseconds, one row a lane. label: what the times are."""
    named: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": label}}]
    for row, lane in enumerate(ROWS):
        at = {"ph": "M", "pid": 1, "tid": row}
        named.append({"name": "thread_name", **at, "args": {"name": lane}})
        named.append({"name": "thread_sort_index", **at, "args": {"sort_index": row}})
    ran = [
        {
            "name": one.label or one.lane,
            "cat": one.lane,
            "ph": "X",
            "ts": 1e6 * one.start,
            "dur": 1e6 * (one.end - one.start),
            "pid": 1,
            "tid": ROWS.index(one.lane),
            "args": {"size_bytes": one.size_bytes} | ({"failed": True} if one.failed else {}),
        }
        for one in operations
    ]
    return {"traceEvents": named + ran, "displayTimeUnit": "ms", "otherData": {"label": label}}


def save_chrome_trace(operations: Iterable[Operation], path: str | Path, label: str = "modelled") -> None:
    """Write it; the file is then the old one or the whole new one."""
    text = json.dumps(chrome_trace(operations, label), separators=(",", ":"))
    with atomic_write(Path(path), "the timeline") as file:
        file.write(text.encode())
