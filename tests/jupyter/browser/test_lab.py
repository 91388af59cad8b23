"""The widgets in real JupyterLab: its shortcuts stay away, a reload and a dead kernel lose nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.jupyter.pages import growth
from tests.helpers.traces.strategies import one_text
from tools.support.browser import without_a_fault
from tools.support.jupyterlab import Lab, lab, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow]

SETUP = """
import ipywidgets
from moespac_nb import Trace
from moespac_widgets import DemandMap, Stepper, UtilityInspector
trace = Trace.load("trace.npz")
"""
STEPPER = "stepper = Stepper(trace, step=1)\nstepper"


def test_reload_rerun_and_dead_kernel_lose_nothing(browser: Any, tmp_path: Path) -> None:
    one_text(3, sampled=True, steps=9).save(tmp_path / "trace.npz")
    write_notebook(tmp_path / "widgets.ipynb", [SETUP, STEPPER])
    with lab(tmp_path, browser) as opened:
        assert not opened.run_all("widgets.ipynb")["errors"]
        opened.says("Round 1: ")
        _keys_stay_in_the_widget(opened)
        _every_widget_steps_and_asks_its_kernel(opened)
        _a_rerun_leaves_nothing(opened)
        _a_reload_keeps_the_state(opened)
        without_a_fault(opened)  # what JupyterLab itself says of a dead kernel is none of ours
        _a_dead_kernel_is_said(opened)
        assert not opened.requests


def _keys_stay_in_the_widget(opened: Lab) -> None:
    page = opened.page
    page.locator(".moespac canvas").focus()
    before = opened.cells
    # On a button, on the slider, on the map: `a`, `b`, `x`, `d d` would insert, cut and delete cells.
    for place in ("button[aria-label=Next]", "input[type=range]", "canvas", "button.ms-card"):
        page.locator(f".moespac {place}").first.focus()
        opened.press("a", "b", "x", "d", "d", "m", "ArrowDown", "ArrowUp")
    assert opened.cells == before
    page.locator(".moespac button[aria-label=Next]").focus()
    opened.press("Home", "j", "l", "ArrowRight", "l")
    opened.says("Round 3: ")
    opened.press("k")  # plays
    page.get_by_label("Pause", exact=True).wait_for()
    opened.says("Round 4: ")
    opened.press("k")  # pauses
    page.get_by_label("Play", exact=True).wait_for()
    opened.press("Home", "l", "l", "l")
    opened.says("Round 3: ")
    opened.kernel_says("print(stepper.step)", "3")
    opened.in_kernel("stepper.step = 5")
    opened.says("Round 5: ")


def _every_widget_steps_and_asks_its_kernel(opened: Lab) -> None:
    opened.run_cell(1, "view = DemandMap(trace)\nview")
    opened.says("Step 0, ")
    opened.page.locator(".moespac canvas").first.focus()
    opened.press("ArrowDown", "l")
    opened.says("Step 1, layer 1")
    opened.kernel_says("print(view.step, view.layer)", "1 1")
    # A limit that one layer keeps and two do not: the second is asked for when it is chosen.
    opened.run_cell(1, "view = UtilityInspector(trace, limit_bytes=1500)\nview")
    opened.says("Step 0, layer 0")
    opened.page.get_by_label("layer", exact=True).focus()
    opened.press("ArrowDown")
    opened.says("Step 0, layer 1, expert")
    assert not opened.page.get_by_role("alert").is_visible()
    opened.run_cell(1, STEPPER)
    opened.says("Round 1: ")


def _a_rerun_leaves_nothing(opened: Lab) -> None:
    def rerun() -> int:
        opened.run_cell(1)
        opened.page.wait_for_function("() => document.querySelectorAll('.moespac').length === 1")
        opened.says("Round 1: ")
        return int(opened.in_kernel("print(len(ipywidgets.widgets.widget._instances))"))

    rerun()
    alive = rerun()
    grown = growth(opened.page, rerun)
    assert rerun() == alive
    # A widget has some 150 nodes and 30 listeners.
    assert grown["listeners"] < 12
    assert grown["nodes"] < 80


def _a_reload_keeps_the_state(opened: Lab) -> None:
    opened.page.locator(".moespac canvas").focus()
    opened.press("ArrowDown", "l")
    opened.says("Round 2: ")
    opened.kernel_says("print(stepper.view_code)", "step=2&token=-1&layer=1&expert=0")
    opened.save_and_reload("widgets.ipynb")
    opened.says("Round 2: ")
    assert opened.page.get_by_text("◆ Layer 1, expert 0").is_visible()


def _a_dead_kernel_is_said(opened: Lab) -> None:
    opened.stop_kernel()
    opened.page.locator(".moespac canvas").focus()
    opened.press("l")
    opened.says("Round 3: ")
    opened.page.get_by_text("The kernel does not answer").wait_for(timeout=30_000)
    opened.press("l")
    opened.says("Round 4: ")
