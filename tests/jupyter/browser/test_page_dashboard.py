"""The dashboard in a browser: the page that the command writes, and the widget in real JupyterLab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moespac_nb.cli import main as cli
from moespac_nb.trace.step import MoEShape
from tools.support.browser import open_page, without_a_fault
from tools.support.jupyterlab import in_kernel, kernel_says, lab, write_notebook
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


def test_the_page_that_the_command_writes_is_stepped_by_keyboard_in_every_view(
    browser: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made_up(SMALL, gamma=4, steps=12, seed=1).save(tmp_path / "own.npz")
    path = tmp_path / "page.html"
    assert cli.main(["dashboard", str(tmp_path / "own.npz"), "--html", str(path)]) == 0
    for scheme in ("light", "dark"):
        opened = open_page(browser, path, scheme)
        opened.page.set_viewport_size({"width": 1280, "height": 900})
        opened.settle()
        assert opened.page.evaluate(FITS)
        assert len({round(left) for left in opened.page.evaluate(LEFT)}) == 2  # two columns
        all_are_at(opened.page, 0)
        for step, name in enumerate(PLACES, 1):
            opened.page.locator(f'.moespac[aria-label^="{name}"] canvas').first.focus()
            opened.press("l")
            all_are_at(opened.page, step)
        opened.press("End")
        all_are_at(opened.page, 11)
        before = opened.page.locator('.moespac[aria-label="Budget lab"] .ms-sentence').text_content()
        opened.page.locator('.moespac[aria-label="Budget lab"]').get_by_label("Budget", exact=True).focus()
        opened.press("End")
        after = opened.page.locator('.moespac[aria-label="Budget lab"] .ms-sentence').text_content()
        assert "100 %" in str(after) != before
        assert "Window 11 takes " in str(after)
        all_are_at(opened.page, 11)
        opened.page.wait_for_function(
            "() => location.hash.match(/step=11\\b/g)?.length === 5 && location.hash.includes('budget=100&')"
        )
        opened.page.reload()
        all_are_at(opened.page, 11)
        without_a_fault(opened)
        opened.page.close()


@pytest.mark.full
@pytest.mark.slow
def test_in_jupyterlab_all_follow_each_other_and_the_kernel(chromium: Path, tmp_path: Path) -> None:
    made_up(SMALL, gamma=4, steps=12, seed=1).save(tmp_path / "own.npz")
    cells = [
        "from ipywidgets.widgets import widget\nfrom moespac_widgets import Dashboard",
        "board = Dashboard('own.npz', 'recency')\nboard",
    ]
    write_notebook(tmp_path / "n.ipynb", cells)
    with lab(tmp_path, chromium) as opened:
        assert not opened.run_all("n.ipynb")["errors"]
        page = opened.page
        all_are_at(page, 0)
        assert page.evaluate(FITS)
        asked = "print(*(view.step for view in board._stepping))"
        for step, name in enumerate(PLACES, 1):
            page.locator(f'.moespac[aria-label^="{name}"] canvas').first.focus()
            page.keyboard.press("l")
            all_are_at(page, step)
            kernel_says(page, asked, " ".join([str(step)] * 5))
        for _ in range(40):  # to and fro, faster than the kernel hears of it
            page.keyboard.press("j")
            page.keyboard.press("l")
        page.keyboard.press("l")
        all_are_at(page, 5)
        kernel_says(page, asked, "5 5 5 5 5")
        in_kernel(page, "board.step = 9")
        all_are_at(page, 9)
        in_kernel(page, "board.timeline.step = 2")
        all_are_at(page, 2)
        kernel_says(page, asked, "2 2 2 2 2")
        in_kernel(page, "board.close()")
        page.wait_for_function("() => !document.querySelector('.moespac')")
        kernel_says(page, "print(len(widget._instances))", "0")
        assert not opened.foreign_requests
        assert not opened.console_errors


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.full)])
def test_the_gallerys_page_is_small_and_steps_without_a_kernel(browser: Any, root: Path, scheme: str) -> None:
    path = root / "docs/gallery/dashboard.html"
    assert path.stat().st_size <= 600_000
    opened = open_page(browser, path, scheme)
    all_are_at(opened.page, 0)
    opened.page.locator('.moespac[aria-label^="Decoding stepper"] canvas').focus()
    opened.press("l", "l")
    all_are_at(opened.page, 2)
    without_a_fault(opened)
    opened.page.close()
