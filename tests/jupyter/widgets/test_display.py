"""Views where no widget manager draws them: a sentence and their state, or a page within the output."""

from __future__ import annotations

import base64
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nbformat
import numpy as np
import pytest
from IPython.core.formatters import DisplayFormatter
from nbclient import NotebookClient
from PIL import Image

from moespac_nb import MoespacError
from moespac_nb.simulation.replay import replay
from moespac_widgets import Dashboard, DemandMap, Race, Stepper, Timeline
from moespac_widgets.base.display import MODE, WIDGET
from moespac_widgets.base.fallback import CELL_PIXELS
from tests.helpers.traces.strategies import one_text
from tools.support.browser import TWO_FRAMES, Opened, without_a_fault
from tools.support.jupyterlab import lab, write_notebook

MAKE = (
    "from moespac_nb.datasets.traces import load_trace\n"
    "from moespac_widgets import Stepper\n"
    'trace = load_trace("math", mode="sample", dense=True, half="report")[:12]\n'
    "Stepper(trace, gamma=4, step=1)"
)
ROOT = Path(__file__).resolve().parents[3]
NOT_LIVE = "a live view, and what you read here draws none"
MOST_BESIDE_LIVE = 8_000  # letters that a saved notebook holds for each live view
MOST_PACKED = 200_000


def stepper() -> Stepper:
    return Stepper(one_text(steps=9, gamma_max=4), step=2)


def dashboard() -> Dashboard:
    return Dashboard(one_text(steps=9, gamma_max=4), "recency", step=2)


VIEWS = pytest.mark.parametrize("make", [stepper, dashboard])


def displayed(view: Any) -> dict[str, Any]:
    """What IPython sends for the last line of a cell."""
    return dict(DisplayFormatter().format(view)[0])


@VIEWS
def test_a_live_view_brings_a_sentence_and_its_state(make: Callable[[], Any]) -> None:
    data = displayed(make())
    assert data[WIDGET]["model_id"]
    assert NOT_LIVE in data["text/html"]
    assert MODE in data["text/html"]
    assert ">2</td>" in data["text/html"]  # the step
    assert len(data["text/html"]) <= MOST_BESIDE_LIVE


def picture(html: str) -> np.ndarray:
    """The one in it, (rows, columns, 4) bytes."""
    (packed,) = re.findall(r'src="data:image/png;base64,([^"]+)"', html)
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(packed))).convert("RGBA"))


@pytest.mark.parametrize("view", [Stepper, DemandMap])
@pytest.mark.parametrize("step", [0, 5, 8])
def test_the_picture_shows_the_steps_counts(view: Any, step: int) -> None:
    trace = one_text(steps=9)
    counts = trace[step].counts
    drawn = picture(view(trace, step=step)._repr_mimebundle_()[0]["text/html"])
    assert drawn.shape == (counts.shape[0] * CELL_PIXELS, counts.shape[1] * CELL_PIXELS, 4)
    middle = drawn[CELL_PIXELS // 2 :: CELL_PIXELS, CELL_PIXELS // 2 :: CELL_PIXELS]
    assert np.array_equal(middle[..., 3] > 0, counts > 0)
    shades = {
        count: {tuple(pixel) for pixel in middle[counts == count].tolist()} for count in set(counts.flat)
    }
    assert all(len(each) == 1 for each in shades.values())
    assert len(set().union(*shades.values())) == len(shades)


def test_a_race_and_a_timeline_are_tables(tmp_path: Path) -> None:
    trace = one_text(steps=9, gamma_max=4)
    race = Race(trace, ("recency", "on-demand"))
    html = race._repr_mimebundle_()[0]["text/html"]
    for result in race.results:
        assert f">{result.policy}</td>" in html
        assert f">{result.tps_modelled:.3f}</td>" in html
    assert "modelled, on " in html
    result = replay(trace, "recency", "25%")
    assert f">{result.tps_modelled:.3f}</td>" in Timeline(result)._repr_mimebundle_()[0]["text/html"]


@VIEWS
def test_a_closed_view_says_so(make: Callable[[], Any]) -> None:
    view = make()
    bundle = view._repr_mimebundle_
    view.close()
    data = bundle()
    assert WIDGET not in data
    assert "Run the cell that made it again" in data["text/html"]


@pytest.mark.parametrize("given", ["statik", "pages", "pages:"])
def test_an_unknown_mode_is_refused_with_those_accepted(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODE, given)
    with pytest.raises(MoespacError, match=f"{MODE} is '{given}'; expected: live, static, or pages:"):
        stepper()._repr_mimebundle_()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(MODE, f"pages:{tmp_path / 'file/pages'}")
    with pytest.raises(MoespacError, match="file/pages, which cannot be made"):
        stepper()._repr_mimebundle_()


def shown_in(browser: Any, page: Path, html: str) -> Any:
    """The frame of an output on a page, once it has drawn; nothing may be fetched, nothing go wrong."""
    page.write_text(f'<!doctype html><meta charset="utf-8"><body>{html}</body>', encoding="utf-8")
    opened = Opened(browser.new_page(viewport={"width": 1100, "height": 800}))
    opened.watch(("file:", "data:"))
    tab = opened.page
    tab.goto(page.as_uri())
    frame = tab.frame_locator("iframe")
    frame.locator(".ms-sentence").first.wait_for()
    frame.locator("body").evaluate(TWO_FRAMES)
    tab.evaluate(TWO_FRAMES)
    inside = frame.locator("body").evaluate("body => body.offsetHeight")
    assert tab.locator("iframe").evaluate("frame => frame.offsetHeight") >= inside
    frame.locator(".moespac").first.focus()
    before = frame.locator(".ms-sentence").first.text_content()
    tab.keyboard.press("l")
    frame.locator("body").evaluate(TWO_FRAMES)
    assert frame.locator(".ms-sentence").first.text_content() != before
    without_a_fault(opened)
    return tab


@pytest.mark.browser
@VIEWS
def test_a_static_view_is_a_page_within_the_output(
    make: Callable[[], Any], tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, "static")
    data = displayed(make())
    assert WIDGET not in data
    assert len(data["text/html"]) <= MOST_PACKED
    shown_in(browser, tmp_path / "output.html", data["text/html"])


@pytest.mark.browser
@VIEWS
def test_a_view_is_a_page_beside_the_one_that_shows_it(
    make: Callable[[], Any], tmp_path: Path, browser: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, f"pages:{tmp_path / 'a lesson-widgets'}")
    html = [displayed(view)["text/html"] for view in (make(), make())]
    assert html[0] == html[1]  # the same content is the same file
    assert len(list((tmp_path / "a lesson-widgets").iterdir())) == 1
    shown_in(browser, tmp_path / "lesson.html", html[0])


@pytest.mark.slow
def test_nbconvert_shows_what_stands_beside_a_live_view(tmp_path: Path) -> None:
    path = tmp_path / "a.ipynb"
    write_notebook(path, [MAKE])
    notebook = nbformat.read(path, as_version=4)
    NotebookClient(notebook, store_widget_state=False).execute()
    nbformat.write(notebook, path)
    convert = [sys.executable, "-m", "nbconvert", "--to", "html", path]
    subprocess.run(convert, check=True, capture_output=True)
    assert NOT_LIVE in path.with_suffix(".html").read_text(encoding="utf-8")


HEARD = "() => document.querySelector('.jp-OutputArea-output')?.textContent ?? ''"


@pytest.mark.browser
@pytest.mark.slow
@pytest.mark.parametrize("manager", [False, pytest.param(True, marks=pytest.mark.full)])
def test_jupyterlab_shows_one_of_the_two(manager: bool, tmp_path: Path, browser: Any) -> None:
    if not manager:
        settings = tmp_path / ".home/config/labconfig"
        settings.mkdir(parents=True)
        disabled = {"disabledExtensions": {"@jupyter-widgets/jupyterlab-manager": True}}
        (settings / "page_config.json").write_text(json.dumps(disabled))
    write_notebook(tmp_path / "a.ipynb", [MAKE])
    with lab(tmp_path, browser) as opened:
        assert not opened.run_all("a.ipynb")["errors"]
        expected = ".ms-sentence" if manager else "em"
        opened.page.locator(f".jp-OutputArea-output {expected}").first.wait_for()
        assert (NOT_LIVE in opened.page.evaluate(HEARD)) is not manager


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_names_its_kernel(path: Path) -> None:
    """Without it JupyterLab and VS Code ask which, and wait."""
    metadata = nbformat.read(path, as_version=4).metadata
    assert metadata.kernelspec.name == "python3"
    assert metadata.kernelspec.language == "python"
