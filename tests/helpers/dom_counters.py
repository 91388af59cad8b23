"""How much a page holds on to: DOM nodes and event listeners."""

from __future__ import annotations

from typing import Any


def counters(page: Any) -> dict[str, int]:
    """What the page holds after a thorough garbage collection."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    held = session.send("Memory.getDOMCounters")
    session.detach()
    return {"nodes": int(held["nodes"]), "listeners": int(held["jsEventListeners"])}
