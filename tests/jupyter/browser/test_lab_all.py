"""Every live widget in real JupyterLab: driven by keyboard, run again and again, and left by its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.jupyter.all_widgets import MAKERS
from tests.helpers.jupyter.pages import growth
from tools.support.browser import without_a_fault
from tools.support.jupyterlab import Lab, lab, write_notebook

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.full]

NAMES = [*MAKERS, "Dashboard"]
EVERY = pytest.mark.parametrize("name", NAMES)
SETUP = """
from IPython.display import display
from ipywidgets.widgets import widget
from tests.helpers.jupyter.all_widgets import MAKERS, small
from moespac_nb.engine.devices import Operation
from moespac_widgets import Dashboard, timeline_figure
MAKERS["Dashboard"] = lambda trace: Dashboard(trace, "recency", "20%")
trace = small()
"""
SAYS = """([place, before]) => {
  const said = document.querySelectorAll('.ms-sentence')[place]?.textContent;
  return said && said !== before;
}"""
ALIVE = "import gc; gc.collect(); print(len(widget._instances))"


@pytest.fixture(scope="module")
def opened(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A notebook with the widgets' cell, filled anew by each test."""
    folder = tmp_path_factory.mktemp("lab")
    write_notebook(folder / "n.ipynb", [SETUP, "None"])
    with lab(folder, browser) as page:
        assert not page.run_all("n.ipynb")["errors"]
        yield page


def display(opened: Lab, source: str | None) -> None:
    opened.run_cell(1, source)
    opened.page.wait_for_function(SAYS, arg=[0, ""])


def display_all(opened: Lab, names: list[str], views: int) -> None:
    makers = ", ".join(f"MAKERS[{name!r}](trace)" for name in names)
    display(opened, f"for view in ({makers}): display(view)")
    opened.page.wait_for_function(SAYS, arg=[views - 1, ""])


def scrub(page: Any, place: int, key: str) -> None:
    """Move a widget's first slider, and wait until its sentence has changed."""
    before = page.locator(".ms-sentence").nth(place).text_content()
    page.locator(".moespac").nth(place).get_by_role("slider").first.focus()
    page.keyboard.press(key)
    page.wait_for_function(SAYS, arg=[place, before])


@EVERY
def test_keys_stay_in_the_widget_and_play_and_pause_by_key(opened: Lab, name: str) -> None:
    page = opened.page
    display(opened, f"MAKERS[{name!r}](trace)")
    before = opened.cells
    controls = page.locator(".moespac").first.locator("button, select, input, canvas[tabindex], summary")
    for control in [control for control in controls.all() if control.is_visible()]:
        control.focus()
        for key in ("a", "b", "x", "d", "d", "m", "ArrowUp", "ArrowDown"):
            page.keyboard.press(key)
    assert opened.cells == before
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
    opened.press("l")  # what was typed into the view code was refused, which a step forgets
    without_a_fault(opened)


@EVERY
def test_a_rerun_leaves_nothing_in_the_kernel_or_in_the_page(opened: Lab, name: str) -> None:
    page = opened.page
    display(opened, f"MAKERS[{name!r}](trace)")
    views = page.locator(".moespac").count()

    def rerun() -> int:
        display(opened, None)
        page.wait_for_function(f"() => document.querySelectorAll('.moespac').length === {views}")
        return int(opened.in_kernel(ALIVE))

    rerun()
    alive = rerun()
    grown = growth(page, rerun)
    assert rerun() == alive
    # A widget has some 150 nodes and 30 listeners.
    assert grown["listeners"] < 12 * views
    assert grown["nodes"] < 80 * views


@EVERY
def test_a_click_on_the_drawing_reaches_the_kernel(opened: Lab, name: str) -> None:
    page = opened.page
    display(opened, f"view = MAKERS[{name!r}](trace); view")
    asked = "print(view.stepper.view_code if hasattr(view, 'stepper') else view.view_code)"
    code = opened.in_kernel(asked)
    canvas = page.locator(".moespac").first.locator(".ms-body canvas:visible").first
    canvas.scroll_into_view_if_needed()
    box = canvas.bounding_box()
    for across in (0.3, 0.45, 0.6):  # somewhere there is something
        page.mouse.click(box["x"] + across * box["width"], box["y"] + 0.3 * box["height"])
        page.wait_for_timeout(400)  # the kernel hears of it once it is over
    assert opened.in_kernel(asked) != code
    without_a_fault(opened)


@pytest.mark.parametrize(("kind", "begins"), [("svg", b"<svg"), ("png", b"\x89PNG")])
def test_a_figures_camera_saves_it_without_a_network(opened: Lab, kind: str, begins: bytes) -> None:
    opened.run_cell(1, f"timeline_figure([Operation('gpu', 'L0 gpu', 0.0, 1.0)]).saving({kind!r})")
    opened.page.locator(".js-plotly-plot").hover()
    with opened.page.expect_download() as saved:
        opened.page.locator(".modebar-btn").first.click()
    assert saved.value.suggested_filename.endswith(f".{kind}")
    assert Path(saved.value.path()).read_bytes().startswith(begins)
    assert not opened.requests


def test_a_reload_of_the_page_brings_every_view_back(opened: Lab) -> None:
    display_all(opened, list(MAKERS), len(MAKERS))
    for place in range(len(MAKERS)):
        scrub(opened.page, place, "End")
        scrub(opened.page, place, "ArrowLeft")
    opened.page.wait_for_timeout(1000)
    codes = [code.input_value() for code in opened.page.locator(".ms-code input").all()]
    opened.save_and_reload("n.ipynb")
    opened.page.wait_for_function(SAYS, arg=[len(MAKERS) - 1, ""])
    assert [code.input_value() for code in opened.page.locator(".ms-code input").all()] == codes


def test_beside_a_dead_kernel_widgets_say_so_and_scrub(opened: Lab) -> None:
    display_all(opened, NAMES, len(MAKERS) + 5)
    opened.stop_kernel()
    # The dashboard's views move together: each of them goes to the other end.
    linked = ["End", "Home", "End", "Home"]
    for place, key in enumerate(["End"] * len(MAKERS) + [*linked, "End"]):
        scrub(opened.page, place, key)
    for place, key in enumerate(["Home"] * len(MAKERS) + [*linked, "Home"]):
        widget = opened.page.locator(".moespac").nth(place)
        widget.get_by_text("The kernel does not answer").wait_for(timeout=30_000)
        scrub(opened.page, place, key)
