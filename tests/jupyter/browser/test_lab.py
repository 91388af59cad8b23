"""The widgets in real JupyterLab: its shortcuts stay away, a reload and a dead kernel lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.dom_counters import counters
from tests.helpers.trace_strategies import one_text
from tools.support.jupyterlab import (
    ACTIVE_CELL,
    CELL_COUNT,
    IN_KERNEL,
    OPEN,
    RUN_CELL,
    Page,
    in_kernel,
    kernel_says,
    lab,
    write_notebook,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import ipywidgets
from moespac_nb import Trace
from moespac_widgets import DemandMap, Stepper, UtilityInspector
trace = Trace.load("trace.npz")
"""
CELLS = [SETUP, "stepper = Stepper(trace, step=1)\nstepper"]


def notebook(folder: Path, cells: list[str]) -> str:
    one_text(3, sampled=True, steps=9).save(folder / "trace.npz")
    write_notebook(folder / "widgets.ipynb", cells)
    return "widgets.ipynb"


def sentence_starts(page: Any, words: str) -> None:
    page.wait_for_function(
        "words => document.querySelector('.ms-sentence')?.textContent.startsWith(words)", arg=words
    )


def test_keys_reach_the_widget_and_a_reload_a_rerun_and_a_dead_kernel_lose_nothing(
    chromium: Path, tmp_path: Path
) -> None:
    path = notebook(tmp_path, CELLS)
    with lab(tmp_path, chromium) as opened:
        state = opened.run_all(path)
        assert not state["errors"]
        page = opened.page
        sentence_starts(page, "Round 1: ")
        _keys_stay_in_the_widget(page)
        _every_widget_steps_and_asks_its_kernel(page)
        _a_rerun_leaves_nothing(page)
        _a_reload_keeps_the_state(opened, path)
        assert not opened.console_errors  # what JupyterLab itself says of a dead kernel is none of ours
        _a_dead_kernel_is_said(page)
        assert not opened.foreign_requests


def _keys_stay_in_the_widget(page: Any) -> None:
    cells = page.evaluate(CELL_COUNT)
    page.locator(".moespac canvas").focus()
    before = page.evaluate(ACTIVE_CELL)
    # On a button, on the slider, on the map: `a`, `b`, `x`, `d d` would insert, cut and delete cells.
    for place in ("button[aria-label=Next]", "input[type=range]", "canvas", "button.ms-card"):
        page.locator(f".moespac {place}").first.focus()
        for key in ("a", "b", "x", "d", "d", "m", "ArrowDown", "ArrowUp"):
            page.keyboard.press(key)
    assert page.evaluate(CELL_COUNT) == cells
    assert page.evaluate(ACTIVE_CELL) == before
    page.locator(".moespac button[aria-label=Next]").focus()
    page.keyboard.press("Home")
    for key in ("j", "l", "ArrowRight", "l"):
        page.keyboard.press(key)
    sentence_starts(page, "Round 3: ")
    page.keyboard.press("k")  # plays
    page.get_by_label("Pause", exact=True).wait_for()
    sentence_starts(page, "Round 4: ")
    page.keyboard.press("k")  # pauses
    page.get_by_label("Play", exact=True).wait_for()
    page.keyboard.press("Home")
    for _ in range(3):
        page.keyboard.press("l")
    sentence_starts(page, "Round 3: ")
    kernel_says(page, "print(stepper.step)", "3")
    page.evaluate(IN_KERNEL, "stepper.step = 5")
    sentence_starts(page, "Round 5: ")


def _every_widget_steps_and_asks_its_kernel(page: Any) -> None:
    page.evaluate(RUN_CELL, [1, "view = DemandMap(trace)\nview"])
    sentence_starts(page, "Step 0, ")
    page.locator(".moespac canvas").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("l")
    sentence_starts(page, "Step 1, layer 1")
    kernel_says(page, "print(view.step, view.layer)", "1 1")
    # A limit that one layer keeps and two do not: the second is asked for when it is chosen.
    page.evaluate(RUN_CELL, [1, "view = UtilityInspector(trace, limit_bytes=1500)\nview"])
    sentence_starts(page, "Step 0, layer 0")
    page.get_by_label("layer", exact=True).focus()
    page.keyboard.press("ArrowDown")
    sentence_starts(page, "Step 0, layer 1, expert")
    assert not page.get_by_role("alert").is_visible()
    page.evaluate(RUN_CELL, [1, CELLS[1]])
    sentence_starts(page, "Round 1: ")


def _a_rerun_leaves_nothing(page: Any) -> None:
    def rerun() -> int:
        page.evaluate(RUN_CELL, [1, None])
        page.wait_for_function("() => document.querySelectorAll('.moespac').length === 1")
        sentence_starts(page, "Round 1: ")
        return int(in_kernel(page, "print(len(ipywidgets.widgets.widget._instances))"))

    rerun()
    first, alive = counters(page), rerun()
    for _ in range(4):
        assert rerun() == alive
    last = counters(page)
    # A widget has some 150 nodes and 30 listeners: five that stayed would be far above.
    assert last["listeners"] - first["listeners"] < 60
    assert last["nodes"] - first["nodes"] < 400


def _a_reload_keeps_the_state(opened: Page, path: str) -> None:
    page = opened.page
    page.locator(".moespac canvas").focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("l")
    sentence_starts(page, "Round 2: ")
    kernel_says(page, "print(stepper.view_code)", "step=2&token=-1&layer=1&expert=0")
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.wait_for_function("() => window.jupyterapp !== undefined", timeout=120_000)
    page.evaluate(OPEN, path)
    sentence_starts(page, "Round 2: ")
    assert page.get_by_text("◆ Layer 1, expert 0").is_visible()


def _a_dead_kernel_is_said(page: Any) -> None:
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown(); }")
    page.locator(".moespac canvas").focus()
    page.keyboard.press("l")
    sentence_starts(page, "Round 3: ")
    page.get_by_text("The kernel does not answer").wait_for(timeout=30_000)
    page.keyboard.press("l")
    sentence_starts(page, "Round 4: ")
