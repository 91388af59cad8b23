"""The dashboard in a browser: the page that the command writes, and the widget in real JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moespac_nb.cli import main as cli
from moespac_nb.trace.step import MoEShape
from moespac_widgets import Dashboard
from tools.support.browser import Show, without_a_fault
from tools.support.jupyterlab import lab, write_notebook
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser]

SMALL = MoEShape(4, 16, 2)
PLACES = ("Decoding stepper", "Demand map", "Placement graph", "Timeline")
# Every view is as wide as its column, and none is wider than the page.
FITS = """() => [...document.querySelectorAll('.moespac')].every(each =>
  each.scrollWidth <= each.clientWidth + 1 && each.getBoundingClientRect().right <= innerWidth)"""
LEFT = "() => [...document.querySelectorAll('.moespac')].map(each => each.getBoundingClientRect().left)"


def all_are_at(page: Any, step: int) -> None:
    """Wait until each view that has a step says this one."""
    page.wait_for_function(
        """step => [['Decoding stepper', 'Round'], ['Demand map', 'Step'], ['Placement graph', 'Window'],
          ['Timeline', 'Window']].every(([name, noun]) => {
            const words = document.querySelector(`.moespac[aria-label^="${name}"] .ms-sentence`)?.textContent;
            return words?.startsWith(`${noun} ${step}:`) || words?.startsWith(`${noun} ${step},`);
          }) && document.querySelector('.moespac[aria-label="Budget lab"] .ms-sentence')
            ?.textContent.includes(`Window ${step} takes `)""",
        arg=step,
    )


def test_the_commands_page_is_stepped_in_every_view(show: Show, tmp_path: Path) -> None:
    made_up(SMALL, gamma=4, steps=12, seed=1).save(tmp_path / "own.npz")
    path = tmp_path / "page.html"
    assert cli.main(["dashboard", str(tmp_path / "own.npz"), "--html", str(path)]) == 0
    lab = '.moespac[aria-label="Budget lab"]'
    for scheme in ("light", "dark"):
        opened = show(path, scheme)
        page = opened.page
        page.set_viewport_size({"width": 1280, "height": 900})
        opened.settle()
        assert page.evaluate(FITS)
        assert len({round(left) for left in page.evaluate(LEFT)}) == 2  # two columns
        all_are_at(page, 0)
        for step, name in enumerate(PLACES, 1):
            page.locator(f'.moespac[aria-label^="{name}"] canvas').first.focus()
            opened.press("l")
            all_are_at(page, step)
        opened.press("End")
        all_are_at(page, 11)
        before = page.locator(f"{lab} .ms-sentence").text_content()
        page.locator(lab).get_by_label("Budget", exact=True).focus()
        opened.press("End")
        told = page.locator(f"{lab} .ms-sentence").text_content()
        assert "100 %" in told != before
        assert "Window 11 takes " in told
        all_are_at(page, 11)
        page.wait_for_function(
            "() => location.hash.match(/step=11\\b/g)?.length === 5 && location.hash.includes('budget=100&')"
        )
        page.reload()
        all_are_at(page, 11)


@pytest.mark.full
@pytest.mark.slow
def test_in_jupyterlab_all_follow_each_other_and_the_kernel(browser: Any, tmp_path: Path) -> None:
    made_up(SMALL, gamma=4, steps=12, seed=1).save(tmp_path / "own.npz")
    cells = [
        "from ipywidgets.widgets import widget\nfrom moespac_widgets import Dashboard",
        "board = Dashboard('own.npz', 'recency')\nboard",
    ]
    write_notebook(tmp_path / "n.ipynb", cells)
    with lab(tmp_path, browser) as opened:
        assert not opened.run_all("n.ipynb")["errors"]
        page = opened.page
        all_are_at(page, 0)
        assert page.evaluate(FITS)
        asked = "print(*(view.step for view in board._stepping))"
        for step, name in enumerate(PLACES, 1):
            page.locator(f'.moespac[aria-label^="{name}"] canvas').first.focus()
            page.keyboard.press("l")
            all_are_at(page, step)
            opened.kernel_says(asked, " ".join([str(step)] * 5))
        for _ in range(40):  # to and fro, faster than the kernel hears of it
            page.keyboard.press("j")
            page.keyboard.press("l")
        page.keyboard.press("l")
        all_are_at(page, 5)
        opened.kernel_says(asked, "5 5 5 5 5")
        opened.in_kernel("board.step = 9")
        all_are_at(page, 9)
        opened.in_kernel("board.timeline.step = 2")
        all_are_at(page, 2)
        opened.kernel_says(asked, "2 2 2 2 2")
        opened.in_kernel("board.close()")
        page.wait_for_function("() => !document.querySelector('.moespac')")
        opened.kernel_says("print(len(widget._instances))", "0")
        without_a_fault(opened)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.full)])
def test_a_page_is_small_and_steps_without_a_kernel(show: Show, tmp_path: Path, scheme: str) -> None:
    path = Dashboard("math", gamma=4, events=800).to_html(tmp_path / "dashboard.html")
    assert path.stat().st_size <= 600_000
    opened = show(path, scheme)
    all_are_at(opened.page, 0)
    opened.page.locator('.moespac[aria-label^="Decoding stepper"] canvas').focus()
    opened.press("l", "l")
    all_are_at(opened.page, 2)
