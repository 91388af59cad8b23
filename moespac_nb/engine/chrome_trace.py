"""Timelines as Chrome traces: JSON files that Perfetto and chrome://tracing open."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ..utils.files import atomic_write
from .devices import HOST_THREAD, LANES, Operation

__all__ = ["ROWS", "chrome_trace", "save_chrome_trace"]

ROWS = (HOST_THREAD, *LANES)


def chrome_trace(operations: Iterable[Operation], label: str = "modelled") -> dict[str, Any]:
    """Return a timeline as a Chrome trace, in plain values.

    Parameters
    ----------
    operations : iterable of Operation
        What ran.
    label : str, default "modelled"
        What the times are.

    Returns
    -------
    dict
        Times are in microseconds; each lane is a row.

    Examples
    --------
    >>> trace = chrome_trace([Operation("link", "copy L0 E1", start=1.5, end=2.25)])
    >>> trace["traceEvents"][-1]["ts"], trace["traceEvents"][-1]["dur"]
    (1500000.0, 750000.0)
    """
    events: list[dict[str, Any]] = [{"name": "process_name", "ph": "M", "pid": 1, "args": {"name": label}}]
    for row, lane in enumerate(ROWS):
        thread = {"ph": "M", "pid": 1, "tid": row}
        events.append({"name": "thread_name", **thread, "args": {"name": lane}})
        events.append({"name": "thread_sort_index", **thread, "args": {"sort_index": row}})
    for op in operations:
        events.append(
            {
                "name": op.label or op.lane,
                "cat": op.lane,
                "ph": "X",
                "ts": 1e6 * op.start,
                "dur": 1e6 * (op.end - op.start),
                "pid": 1,
                "tid": ROWS.index(op.lane),
                "args": {"size_bytes": op.size_bytes} | ({"failed": True} if op.failed else {}),
            }
        )
    return {"traceEvents": events, "displayTimeUnit": "ms", "otherData": {"label": label}}


def save_chrome_trace(operations: Iterable[Operation], path: str | Path, label: str = "modelled") -> None:
    """Write a timeline as a Chrome trace; the file is then the old one or the whole new one.

    Parameters
    ----------
    operations : iterable of Operation
        What ran, such as `Result.timeline`.
    path : str or Path
        The file, ``.json``.
    label : str, default "modelled"
        What the times are.

    Raises
    ------
    MoespacError
        The file cannot be written.
    """
    text = json.dumps(chrome_trace(operations, label), separators=(",", ":"))
    with atomic_write(Path(path), "the timeline") as file:
        file.write(text.encode())
