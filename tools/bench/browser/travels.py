"""What travels for a widget: its script, the data of its cell, and its page, which needs no kernel."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from moespac_widgets import Dashboard
from moespac_widgets.base.assets import bundle
from tools.bench.browser.shown import CASES, STEPS, made, trace_of

PAGES = "8x64"  # pages are written of this size


def measure(names: Iterable[str]) -> dict[str, dict[str, int]]:
    """Bytes by widget; a dashboard's are those of all its views."""
    traces = {size: trace_of(size, steps) for size, steps in STEPS.items()}
    found = {}
    for name in names:
        if name not in CASES:
            continue
        widgets = {size: made(name, trace, size) for size, trace in traces.items()}
        with tempfile.TemporaryDirectory() as folder:
            page = widgets[PAGES].to_html(Path(folder) / "page.html").stat().st_size
        scripts = {view.SCRIPT for view in _views(widgets[PAGES])}
        data = {
            f"data_{size}": sum(held(view._data) for view in _views(each)) for size, each in widgets.items()
        }
        found[name] = {"script": sum(len(bundle(each).encode()) for each in scripts), **data, "page": page}
    return found


def _views(widget: Any) -> tuple[Any, ...]:
    return widget.views if isinstance(widget, Dashboard) else (widget,)


def held(value: Any) -> int:
    """Bytes of arrays and text in a widget's data."""
    if isinstance(value, memoryview):
        return value.nbytes
    if isinstance(value, Mapping):
        return sum(len(str(key)) + held(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return sum(map(held, value))
    return len(str(value))
