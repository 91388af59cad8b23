"""Balancer explorer and placement graph in real JupyterLab: the kernel solves and is asked."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moespac_nb.trace.step import MoEShape
from tools.support.browser import without_a_fault
from tools.support.jupyterlab import Lab, lab, write_notebook
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.full]

CELLS = [
    """
from moespac_nb import Trace
from moespac_nb.balancer import Joint, solve
from moespac_widgets import BalancerExplorer, PlacementGraph
trace = Trace.load("trace.npz")
""",
    "explorer = BalancerExplorer(trace, budget='20%', step=4)\nexplorer",
    "graph = PlacementGraph(trace, 'recency', '20%', step=4)\ngraph",
]


def test_both_are_driven_beside_their_kernel(browser: Any, tmp_path: Path) -> None:
    """That keys stay and a rerun leaves nothing is test_lab_all's, of every widget."""
    made_up(MoEShape(layers=4, experts=16, top_k=2), gamma=3, steps=12).save(tmp_path / "trace.npz")
    write_notebook(tmp_path / "n.ipynb", CELLS)
    with lab(tmp_path, browser) as opened:
        assert not opened.run_all("n.ipynb")["errors"]
        opened.says("Window 4, layer 0: ", 0)
        opened.says("Window 4: of ", 1)
        _the_kernel_solves(opened)
        _the_graph_is_walked_and_asked(opened)
        without_a_fault(opened)


def _the_kernel_solves(opened: Lab) -> None:
    explorer = opened.page.locator(".moespac").first
    explorer.get_by_label("slots").focus()
    opened.page.keyboard.press("Home")
    for _ in range(5):  # dragged: the fast path answers while it goes on
        opened.page.keyboard.press("ArrowRight")
    explorer.get_by_text("found in").wait_for()
    explorer.get_by_text("PuLP’s, proven the best").wait_for()
    opened.kernel_says("print(explorer.slots, explorer.table().slots)", "6 6")
    _pulps_thresholds_are_shown(opened)
    opened.in_kernel("explorer.copy = 800")  # and the other way round
    opened.page.wait_for_selector("input[aria-label='one copy'][aria-valuetext='800 %']")
    _pulps_thresholds_are_shown(opened)


def _pulps_thresholds_are_shown(opened: Lab) -> None:
    explorer = opened.page.locator(".moespac").first
    explorer.get_by_text("PuLP’s, proven the best").wait_for()
    taus = json.loads(opened.in_kernel("print(solve(Joint(explorer.table())).tau.tolist())"))
    cell = explorer.locator(".ms-summary tbody tr").first.locator("td").last
    assert [int(tau) for tau in cell.inner_text().split()] == taus


def _the_graph_is_walked_and_asked(opened: Lab) -> None:
    graph = opened.page.locator(".moespac").nth(1)
    graph.locator("canvas").first.focus()
    opened.press("ArrowDown", "l")
    opened.says("Window 5: of ", 1)
    opened.says("Layer 0, expert 0: ", 1)
    graph.get_by_label("moment").focus()
    opened.press("ArrowRight")
    opened.says("Window 5, layer 0: of ", 1)
    opened.kernel_says("print(graph.view_code)", "step=5&moment=1&layer=0&expert=0&view=placement")
    graph.get_by_label("view").first.select_option(label="experts asked for together")
    opened.says("Asked for by the same tokens most: ", 1)  # which only the kernel knows
    box = graph.locator("canvas").first.bounding_box()
    x, y = json.loads(opened.in_kernel("print(list(graph.together(0).nodes[7]['pos']))"))
    opened.click(box["x"] + (0.02 + 0.94 * x) * box["width"], box["y"] + (0.05 + 0.9 * y) * box["height"])
    opened.says("Layer 0, expert 7: ", 1)
