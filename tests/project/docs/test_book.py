"""Book and slides: static pages without a dead link, which need neither a server nor a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tools.support.browser import Opened, without_a_fault


def built(root: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, "-m", "tools.docs.book", "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def book(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(root, tmp_path_factory.mktemp("book") / "site", "--not-run")


def opened(browser: Any, page: Path) -> Any:
    """The page, opened from its file, without a word on the console and without a request elsewhere."""
    opened = Opened(browser.new_page())
    opened.watch(("file:", "data:"))
    opened.page.goto(page.as_uri())
    opened.settle()
    without_a_fault(opened)
    return opened.page


@pytest.mark.slow
def test_every_notebook_doc_and_module_has_its_page(root: Path, book: Path) -> None:
    pages = {path.relative_to(book).as_posix() for path in book.rglob("*.html")}
    assert {f"notebooks/{path.stem}.html" for path in (root / "notebooks").glob("*.py")} <= pages
    assert {f"{path.stem}.html" for path in (root / "docs").glob("*.md")} <= pages
    assert {
        "api/moespac_nb.decoder.speculative.html",
        "api/moespac_widgets.views.stepper.stepper.html",
    } <= pages


@pytest.mark.slow
def test_a_docstring_says_its_errors_and_shapes_in_the_reference(book: Path) -> None:
    page = (book / "api/moespac_nb.estimator.sensors.html").read_text()
    assert "(layers, experts)" in page
    assert 'class="highlight' in page


@pytest.mark.slow
@pytest.mark.browser
def test_the_book_opens_from_a_folder(book: Path, browser: Any) -> None:
    tab = opened(browser, book / "index.html")
    tab.get_by_role("link", name="Gallery of the widgets").first.click()
    assert tab.locator("img").first.evaluate("picture => picture.naturalWidth") > 0
    opened(browser, book / "api/moespac_nb.simulation.replay.html")


def test_a_dead_link_is_found(tmp_path: Path) -> None:
    from tools.docs.book import dead_links

    (tmp_path / "a.html").write_text(
        '<a id="here" href="#here"></a><a href="b.html#there"></a><a href="c.html"></a>'
        '<a href="b.html?v=1#place"></a><a href="https://example.org/gone"></a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="place">B</h1>')
    assert sorted(dead_links(tmp_path)) == ["a.html: b.html#there", "a.html: c.html"]


@pytest.mark.full
@pytest.mark.browser
def test_the_book_with_its_notebooks_run(root: Path, tmp_path: Path, browser: Any) -> None:
    book = built(root, tmp_path / "site")
    for path in (root / "notebooks").glob("*.py"):
        tab = opened(browser, book / f"notebooks/{path.stem}.html")
        assert tab.locator(".cell_output").count() > 3, path.stem
        if path.stem != "01_the_memory_wall":  # the only one without a live view
            assert tab.locator("iframe").count() > 0, path.stem


LESSON = (
    new_markdown_cell("# A lesson\n\nWhere $T = \\max(a, b)$, and `$HOME` is code.\n\n## Again\n\nMore."),
    new_code_cell("import plotly.graph_objects as go\ngo.Figure(go.Bar(y=[1, 2]))"),
    new_code_cell("quiet = 1"),
    new_markdown_cell("And so on."),
)


@pytest.mark.browser
def test_slides_begin_at_headings_and_show_figures(tmp_path: Path, browser: Any) -> None:
    from tools.docs.executed import execute
    from tools.docs.slides import as_slides, prepare

    prepare(tmp_path)
    path = tmp_path / "slides/lesson.ipynb"
    nbformat.write(new_notebook(cells=list(LESSON)), path)
    execute(path, tmp_path / "slides/lesson-widgets")
    page = path.with_suffix(".html")
    page.write_text(as_slides(nbformat.read(path, as_version=4), code=False))
    tab = opened(browser, page)
    words = tab.locator("section > section").all_text_contents()
    assert [part.split()[0][:5] for part in words] == ["A", "Again", "And"]
    assert tab.locator("math").count() == 1
    assert "$HOME" in words[0]
    assert "quiet" not in "".join(words)
    tab.keyboard.press("ArrowRight")
    tab.wait_for_function("document.querySelector('section.present .js-plotly-plot')?.clientWidth > 600")
