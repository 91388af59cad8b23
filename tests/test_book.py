"""The book: a static site without a dead link, which needs neither a server nor a network."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from pages import TWO_FRAMES


@pytest.fixture(scope="module")
def tool(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("book", root / "tools/book.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def built(root: Path, out: Path, *options: str) -> Path:
    command = [sys.executable, root / "tools/book.py", "--out", out, *options]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return out


@pytest.fixture(scope="module")
def book(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(root, tmp_path_factory.mktemp("book") / "site", "--not-run")


def opened(browser: Any, page: Path) -> Any:
    """The page, opened from its file, without a word on the console and without a request elsewhere."""
    tab, problems = browser.new_page(), []
    tab.on("request", lambda r: None if r.url.startswith(("file:", "data:")) else problems.append(r.url))
    tab.on("console", lambda m: problems.append(m.text) if m.type in ("error", "warning") else None)
    tab.on("pageerror", lambda e: problems.append(str(e)))
    tab.goto(page.as_uri())
    tab.evaluate(TWO_FRAMES)
    assert problems == []
    return tab


@pytest.mark.slow
def test_every_notebook_doc_and_module_has_its_page(root: Path, book: Path) -> None:
    pages = {path.relative_to(book).as_posix() for path in book.rglob("*.html")}
    assert {f"notebooks/{path.stem}.html" for path in (root / "notebooks").glob("*.py")} <= pages
    assert {f"{path.stem}.html" for path in (root / "docs").glob("*.md")} <= pages
    assert {"api/moespac_nb.decoding.html", "api/moespac_widgets.stepper.html"} <= pages


@pytest.mark.slow
def test_a_docstring_says_its_errors_and_shapes_in_the_reference(book: Path) -> None:
    page = (book / "api/moespac_nb.sensors.html").read_text()
    assert "(layers, experts)" in page
    assert 'class="highlight' in page


@pytest.mark.slow
@pytest.mark.browser
def test_the_book_opens_from_a_folder(book: Path, browser: Any) -> None:
    tab = opened(browser, book / "index.html")
    tab.get_by_role("link", name="Gallery of the widgets").first.click()
    assert tab.locator("img").first.evaluate("picture => picture.naturalWidth") > 0
    opened(browser, book / "api/moespac_nb.replay.html")


def test_a_dead_link_is_found(tool: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a id="here" href="#here"></a><a href="b.html#there"></a><a href="c.html"></a>'
        '<a href="b.html?v=1#place"></a><a href="https://example.org/gone"></a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="place">B</h1>')
    assert sorted(tool.dead_links(tmp_path)) == ["a.html: b.html#there", "a.html: c.html"]


@pytest.mark.full
@pytest.mark.browser
def test_the_book_with_its_notebooks_run(root: Path, tmp_path: Path, browser: Any) -> None:
    book = built(root, tmp_path / "site")
    for path in (root / "notebooks").glob("*.py"):
        tab = opened(browser, book / f"notebooks/{path.stem}.html")
        assert tab.locator(".cell_output").count() > 3, path.stem
