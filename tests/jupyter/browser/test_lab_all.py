"""Every live widget in real JupyterLab: driven by keyboard, run again and again, and left by its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.all_widgets import MAKERS
from tests.helpers.dom_counters import counters
from tools.support.jupyterlab import (
    ACTIVE_CELL,
    CELL_COUNT,
    OPEN,
    RUN_CELL,
    Page,
    in_kernel,
    lab,
    write_notebook,
)

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.full]

NAMES = [*MAKERS, "Dashboard"]
SETUP = """
import sys
from ipywidgets.widgets import widget
from tests.helpers.all_widgets import MAKERS, small
from moespac_widgets import Dashboard
MAKERS["Dashboard"] = lambda trace: Dashboard(trace, "recency", "20%")
trace = small()
"""
SAYS = """([place, before]) => {
  const said = document.querySelectorAll('.ms-sentence')[place]?.textContent;
  return said && said !== before;
}"""
ALIVE = "import gc; gc.collect(); print(len(widget._instances))"


@pytest.fixture(scope="module")
def opened(chromium: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A notebook with the widgets' cell, filled anew by each test."""
    folder = tmp_path_factory.mktemp("lab")
    tests = str(Path(__file__).resolve().parents[3])
    write_notebook(folder / "n.ipynb", [SETUP.format(tests=tests), "None"])
    with lab(folder, chromium) as page:
        assert not page.run_all("n.ipynb")["errors"]
        yield page


def show(page: Any, source: str | None) -> None:
    page.evaluate(RUN_CELL, [1, source])
    page.wait_for_function(SAYS, arg=[0, ""])


def scrub(page: Any, place: int, key: str) -> None:
    """Move a widget's first slider, and wait until its sentence has changed."""
    before = page.locator(".ms-sentence").nth(place).text_content()
    page.locator(".moespac").nth(place).get_by_role("slider").first.focus()
    page.keyboard.press(key)
    page.wait_for_function(SAYS, arg=[place, before])


@pytest.mark.parametrize("name", NAMES)
def test_keys_stay_in_the_widget_and_play_and_pause_by_key(opened: Page, name: str) -> None:
    page = opened.page
    show(page, f"MAKERS[{name!r}](trace)")
    before = page.evaluate(CELL_COUNT), page.evaluate(ACTIVE_CELL)
    controls = page.locator(".moespac").first.locator("button, select, input, canvas[tabindex], summary")
    for control in [each for each in controls.all() if each.is_visible()]:
        control.focus()
        for key in ("a", "b", "x", "d", "d", "m", "ArrowUp", "ArrowDown"):
            page.keyboard.press(key)
    assert (page.evaluate(CELL_COUNT), page.evaluate(ACTIVE_CELL)) == before
    if name == "BudgetLab":
        return  # nothing in it goes on by itself
    page.get_by_label("First").first.focus()
    page.keyboard.press("Home")
    first = page.locator(".ms-sentence").first.text_content()
    page.keyboard.press("k")
    page.get_by_label("Pause").first.wait_for()
    page.wait_for_function(SAYS, arg=[0, first])
    page.keyboard.press("k")
    page.get_by_label("Play", exact=True).first.wait_for()
    assert not page.locator(".ms-alert").first.is_visible()
    assert not opened.console_errors
    assert not opened.foreign_requests


@pytest.mark.parametrize("name", NAMES)
def test_a_rerun_leaves_nothing_in_the_kernel_or_in_the_page(opened: Page, name: str) -> None:
    page = opened.page
    show(page, f"MAKERS[{name!r}](trace)")
    views = page.locator(".moespac").count()

    def rerun() -> int:
        show(page, None)
        page.wait_for_function(f"() => document.querySelectorAll('.moespac').length === {views}")
        return int(in_kernel(page, ALIVE))

    rerun()
    first, alive = counters(page), rerun()
    for _ in range(4):
        assert rerun() == alive
    last = counters(page)
    # A widget has some 150 nodes and 30 listeners: one that stayed each time would be five times as many.
    assert last["listeners"] - first["listeners"] < 60 * views
    assert last["nodes"] - first["nodes"] < 400 * views


@pytest.mark.parametrize("name", NAMES)
def test_a_click_on_the_drawing_reaches_the_kernel(opened: Page, name: str) -> None:
    page = opened.page
    show(page, f"view = MAKERS[{name!r}](trace); view")
    asked = "print(view.stepper.view_code if hasattr(view, 'stepper') else view.view_code)"
    code = in_kernel(page, asked)
    canvas = page.locator(".moespac").first.locator(".ms-body canvas:visible").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for across in (0.3, 0.45, 0.6):  # somewhere there is something
        page.mouse.click(box["x"] + across * box["width"], box["y"] + 0.3 * box["height"])
        page.wait_for_timeout(400)  # the kernel hears of it once it is over
    assert in_kernel(page, asked) != code
    assert not page.locator(".ms-alert").first.is_visible()
    assert not opened.console_errors


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_figures_camera_saves_it_for_slides_without_a_network(
    opened: Page, kind: str, begins: bytes
) -> None:
    page = opened.page
    ran = "[Operation('gpu', 'L0 gpu', 0.0, 1.0)]"
    source = "from moespac_nb.engine.devices import Operation\nfrom moespac_widgets import timeline_figure\n"
    page.evaluate(RUN_CELL, [1, f"{source}timeline_figure({ran}).saving({kind!r})"])
    page.locator(".js-plotly-plot").hover()
    with page.expect_download() as saved:
        page.locator(".modebar-btn").first.click()
    assert saved.value.suggested_filename.endswith(f".{kind}")
    assert Path(saved.value.path()).read_bytes().startswith(begins)
    assert not opened.foreign_requests


def test_a_reload_of_the_page_brings_every_view_back(opened: Page) -> None:
    page = opened.page
    parts = ", ".join(f"MAKERS[{name!r}](trace)" for name in MAKERS)
    show(page, f"from IPython.display import display\nfor view in ({parts}): display(view)")
    page.wait_for_function(SAYS, arg=[len(MAKERS) - 1, ""])
    for place in range(len(MAKERS)):
        scrub(page, place, "End")
        scrub(page, place, "ArrowLeft")
    page.wait_for_timeout(1000)
    codes = [each.input_value() for each in page.locator(".ms-code input").all()]
    page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
    page.reload()
    page.wait_for_function("() => window.jupyterapp !== undefined", timeout=120_000)
    page.evaluate(OPEN, "n.ipynb")
    page.wait_for_function(SAYS, arg=[len(MAKERS) - 1, ""])
    assert [each.input_value() for each in page.locator(".ms-code input").all()] == codes


def test_when_the_kernel_dies_every_widget_says_that_it_is_stale_and_still_scrubs(opened: Page) -> None:
    page = opened.page
    parts = ", ".join(f"MAKERS[{name!r}](trace)" for name in NAMES)
    show(page, f"from IPython.display import display\nfor view in ({parts}): display(view)")
    # The dashboard's views move together: each of them goes to the other end.
    linked = ["End", "Home", "End", "Home"]
    page.wait_for_function(SAYS, arg=[len(MAKERS) + 4, ""])
    page.evaluate("() => { window.jupyterapp.shell.currentWidget.sessionContext.session.kernel.shutdown(); }")
    for place, key in enumerate(["End"] * len(MAKERS) + [*linked, "End"]):
        scrub(page, place, key)
    for place, key in enumerate(["Home"] * len(MAKERS) + [*linked, "Home"]):
        page.locator(".moespac").nth(place).get_by_text("The kernel does not answer").wait_for(timeout=30_000)
        scrub(page, place, key)
