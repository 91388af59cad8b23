"""A widget's own page in a real browser, opened from a file: nothing serves it, and no kernel is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TWO_FRAMES = "() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"

# How much of the canvas is drawn upon, and how bright the page beneath it is.
PIXELS = """() => {
  const canvas = document.querySelector('canvas');
  const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
  let drawn = 0;
  for (let i = 3; i < data.length; i += 4) drawn += data[i] > 0;
  const [red] = getComputedStyle(document.querySelector('.moespac')).backgroundColor.match(/\\d+/g);
  return [drawn / (data.length / 4), Number(red)];
}"""

ROWS = """() => [...document.querySelectorAll('.ms-more tbody tr')].map(
  row => [...row.cells].map(cell => cell.textContent))"""

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


def find_browser() -> Path | None:
    named = os.environ.get("MOESPAC_CHROMIUM")
    if named:
        return Path(named)
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found:
        return Path(found)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        own = Path(playwright.chromium.executable_path)
    return own if own.exists() else None


@dataclass
class Opened:
    """The Playwright page, what it asked for beside its own files, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def watch(self, own: tuple[str, ...], severe: tuple[str, ...] = ("error", "warning")) -> None:
        """Note requests to addresses that do not begin in one of these ways, and what the console says."""
        page = self.page
        page.on("request", lambda r: None if r.url.startswith(own) else self.requests.append(r.url))
        page.on("console", lambda m: self.problems.append(m.text) if m.type in severe else None)
        page.on("pageerror", lambda e: self.problems.append(str(e)))

    @property
    def sentence(self) -> str:
        return str(self.page.locator(".ms-sentence").first.text_content())

    @property
    def code(self) -> Any:
        return self.page.get_by_label("view code: paste one and press Enter").first

    @property
    def state(self) -> dict[str, str]:
        """The view as its code has it."""
        return dict(part.split("=") for part in self.code.input_value().split("&"))

    def restore(self, code: str) -> None:
        self.code.fill(code)
        self.code.press("Enter")
        self.settle()

    def press(self, *keys: str) -> None:
        """Keys, each after the frame that the last one led to."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def click(self, x: float, y: float) -> None:
        self.page.mouse.click(x, y)
        self.settle()

    def settle(self) -> None:
        self.page.evaluate(TWO_FRAMES)

    def says(self, words: str, widget: int = 0) -> None:
        """Wait until a widget's sentence has these words."""
        has = "([i, words]) => document.querySelectorAll('.ms-sentence')[i]?.textContent.includes(words)"
        self.page.wait_for_function(has, arg=[widget, words])

    def table(self) -> list[list[str]]:
        """The cells of the view's table, which is unfolded."""
        self.page.locator(".ms-more details:not([open]) summary").first.click()
        self.page.wait_for_selector(".ms-more table")
        return self.rows()

    def rows(self) -> list[list[str]]:
        rows: list[list[str]] = self.page.evaluate(ROWS)
        return rows


Show = Callable[..., Opened]  # of a view, a colour scheme and options of the page


@contextmanager
def browser_of(chromium: Path) -> Iterator[Any]:
    """A Chromium of its own; one at a time."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        yield browser
        browser.close()


def open_page(browser: Any, path: Path, scheme: str = "light", **options: Any) -> Opened:
    """Open a widget's page from its file, and wait until it has drawn."""
    size = {"width": 1120, "height": 900}
    opened = Opened(browser.new_page(viewport=size, color_scheme=scheme, **options))
    own = path.resolve().as_uri()
    opened.watch((own, "data:"))
    opened.page.goto(own)
    opened.page.wait_for_function("() => document.querySelector('.ms-sentence')?.textContent")
    return opened


def without_a_fault(opened: Opened) -> None:
    assert opened.problems == []
    assert opened.requests == []
    assert not opened.page.locator(".ms-alert").first.is_visible()
