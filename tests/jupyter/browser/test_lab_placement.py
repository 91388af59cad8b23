"""Balancer explorer and placement graph in real JupyterLab: the kernel solves, keys stay, nothing leaks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moespac_nb.trace.step import MoEShape
from tools.support.jupyterlab import (
    ACTIVE_CELL,
    CELL_COUNT,
    RUN_CELL,
    in_kernel,
    kernel_says,
    lab,
    write_notebook,
)
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.full]

SETUP = """
import ipywidgets
from moespac_nb import Trace
from moespac_nb.balancer import Joint, solve
from moespac_widgets import BalancerExplorer, PlacementGraph
trace = Trace.load("trace.npz")
"""
CELLS = [
    SETUP,
    "explorer = BalancerExplorer(trace, budget='20%', step=4)\nexplorer",
    "graph = PlacementGraph(trace, 'recency', '20%', step=4)\ngraph",
]
SOLVED = "print(solve(Joint(explorer.table())).tau.tolist())"


def sentence(page: Any, widget: int, words: str) -> str:
    page.wait_for_function(
        "([i, words]) => document.querySelectorAll('.ms-sentence')[i]?.textContent.includes(words)",
        arg=[widget, words],
    )
    return str(page.locator(".ms-sentence").nth(widget).text_content())


def test_both_are_driven_by_keyboard_and_mouse_beside_their_kernel(chromium: Path, tmp_path: Path) -> None:
    made_up(MoEShape(layers=4, experts=16, top_k=2), gamma=3, steps=12).save(tmp_path / "trace.npz")
    write_notebook(tmp_path / "n.ipynb", CELLS)
    with lab(tmp_path, chromium) as opened:
        assert not opened.run_all("n.ipynb")["errors"]
        page = opened.page
        sentence(page, 0, "Window 4, layer 0: ")
        sentence(page, 1, "Window 4: of ")
        _keys_stay(page)
        _the_kernel_solves(page)
        _the_graph_is_walked_and_asked(page)
        _a_rerun_leaves_nothing(page)
        assert not opened.foreign_requests
        assert not opened.console_errors


def _keys_stay(page: Any) -> None:
    page.locator(".moespac canvas").first.focus()
    before = page.evaluate(CELL_COUNT), page.evaluate(ACTIVE_CELL)
    for place in (".ms-dial input", "canvas", "button[aria-label=Next]", "select"):
        page.locator(f".moespac {place}").first.focus()
        for key in ("a", "b", "x", "d", "d", "m", "ArrowDown", "ArrowUp"):
            page.keyboard.press(key)
    assert (page.evaluate(CELL_COUNT), page.evaluate(ACTIVE_CELL)) == before


def _the_kernel_solves(page: Any) -> None:
    explorer = page.locator(".moespac").first
    slots = explorer.get_by_label("slots")
    slots.focus()
    page.keyboard.press("Home")
    for _ in range(5):  # dragged: the fast path answers while it goes on
        page.keyboard.press("ArrowRight")
    explorer.get_by_text("found in").wait_for()
    explorer.get_by_text("PuLP’s, proven the best").wait_for()
    kernel_says(page, "print(explorer.slots)", "6")
    kernel_says(page, "print(explorer.table().slots)", "6")
    taus = json.loads(in_kernel(page, SOLVED))
    row = explorer.locator(".ms-summary tbody tr").first
    assert [int(tau) for tau in row.locator("td").last.inner_text().split()] == taus
    in_kernel(page, "explorer.copy = 800")  # and the other way round
    page.wait_for_selector("input[aria-label='one copy'][aria-valuetext='800 %']")
    explorer.get_by_text("PuLP’s, proven the best").wait_for()
    taus = json.loads(in_kernel(page, SOLVED))
    assert [int(tau) for tau in row.locator("td").last.inner_text().split()] == taus


def _the_graph_is_walked_and_asked(page: Any) -> None:
    graph = page.locator(".moespac").nth(1)
    graph.locator("canvas").first.focus()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("l")
    sentence(page, 1, "Window 5: of ")
    sentence(page, 1, "Layer 0, expert 0: ")
    graph.get_by_label("moment").focus()
    page.keyboard.press("ArrowRight")
    sentence(page, 1, "Window 5, layer 0: of ")
    kernel_says(page, "print(graph.view_code)", "step=5&moment=1&layer=0&expert=0&view=placement")
    graph.get_by_label("view").first.select_option(label="experts asked for together")
    sentence(page, 1, "Asked for by the same tokens most: ")  # which only the kernel knows
    box = graph.locator("canvas").first.bounding_box()
    pos = json.loads(in_kernel(page, "print(list(graph.together(0).nodes[7]['pos']))"))
    page.mouse.click(
        box["x"] + (0.02 + 0.94 * pos[0]) * box["width"], box["y"] + (0.05 + 0.9 * pos[1]) * box["height"]
    )
    sentence(page, 1, "Layer 0, expert 7: ")


def _a_rerun_leaves_nothing(page: Any) -> None:
    counted = "print(len(ipywidgets.Widget.widgets))"
    page.evaluate(RUN_CELL, [1, None])
    sentence(page, 0, "Window 4, layer 0: ")
    alive = in_kernel(page, counted)
    for _ in range(3):
        page.evaluate(RUN_CELL, [1, None])
        sentence(page, 0, "Window 4, layer 0: ")
    assert in_kernel(page, counted) == alive
