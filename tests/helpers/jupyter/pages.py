"""What a page holds on to, and a page that takes itself to have a kernel."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

NO_KERNEL = 'send() {\n    throw new Error("a page has no kernel");\n  }'


def counters(page: Any) -> dict[str, int]:
    """DOM nodes and event listeners after a thorough garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    held = session.send("Memory.getDOMCounters")
    session.detach()
    return {"nodes": int(held["nodes"]), "listeners": int(held["jsEventListeners"])}


def growth(page: Any, rerun: Callable[[], Any]) -> dict[str, float]:
    """How much more the page holds after each of five reruns, in the median: what stays is there each time.

    JupyterLab's own may grow once, by a hundred listeners and more.
    """
    held = [counters(page)]
    for _ in range(5):
        rerun()
        held.append(counters(page))
    return {name: median(b[name] - a[name] for a, b in pairwise(held)) for name in held[0]}


def with_a_kernel(path: Path, send: str) -> None:
    """Rewrite a page so that its widgets ask a kernel, which is this method of the page's model."""
    page = path.read_text(encoding="utf-8").replace('"_kernel": false', '"_kernel": true')
    assert NO_KERNEL in page
    path.write_text(page.replace(NO_KERNEL, send), encoding="utf-8")
