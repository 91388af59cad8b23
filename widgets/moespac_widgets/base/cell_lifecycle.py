"""Which notebook cell made a widget, so that running the cell again leaves nothing of the first run behind.

ipywidgets keeps every widget alive until it is closed. JupyterLab names the cell with each request to run it;
where the front end does not (plain Python, some hosts), nothing is closed.
"""

from __future__ import annotations

import sys
import weakref
from dataclasses import dataclass, field
from typing import Any

__all__ = ["remember"]


@dataclass
class _Run:
    request: str
    widgets: list[weakref.ref[Any]] = field(default_factory=list)


_RUNS: dict[str, _Run] = {}


def remember(widget: Any) -> None:
    """Note the widget under the cell that runs now.

    The widgets of the cell's earlier runs, and those of deleted cells, are closed.

    Parameters
    ----------
    widget : ipywidgets.Widget
        What the cell has made.
    """
    request = _request()
    metadata = request.get("metadata") or {}
    for deleted in metadata.get("deletedCells") or ():
        _close(_RUNS.pop(deleted, None))
    cell, number = metadata.get("cellId"), (request.get("header") or {}).get("msg_id")
    if not cell or not number:
        return
    run = _RUNS.get(cell)
    if run is None or run.request != number:
        _close(run)
        run = _RUNS[cell] = _Run(number)
    run.widgets.append(weakref.ref(widget))


def _close(run: _Run | None) -> None:
    for reference in run.widgets if run else ():
        widget = reference()
        if widget is not None:
            widget.close()


def _request() -> dict[str, Any]:
    """Return the message that asked for this run, or nothing."""
    if "IPython" not in sys.modules:
        return {}
    from IPython import get_ipython

    parent = getattr(get_ipython(), "get_parent", dict)()
    return parent if isinstance(parent, dict) else {}
