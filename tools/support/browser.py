"""A widget's own page in a real browser, opened from a file: nothing serves it, and no kernel is there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
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
    """The Playwright page, what it asked for beside its own file, and what went wrong in it."""

    page: Any
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def sentence(self) -> str:
        return str(self.page.locator(".ms-sentence").first.text_content())

    def press(self, *keys: str) -> None:
        """Keys, each after the frame that the last one led to."""
        for key in keys:
            self.page.keyboard.press(key)
            self.settle()

    def settle(self) -> None:
        self.page.evaluate(TWO_FRAMES)


@contextmanager
def browser_of(chromium: Path) -> Iterator[Any]:
    """A Chromium of its own; several may be open."""
    with _playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium),
            args=["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"],
        )
        yield browser
        browser.close()


_playing: list[Any] = []


@contextmanager
def _playwright() -> Iterator[Any]:
    """The one that runs, or a new one: a second beside it is refused."""
    from playwright.sync_api import sync_playwright

    if _playing:
        yield _playing[0]
        return
    with sync_playwright() as playwright:
        _playing.append(playwright)
        try:
            yield playwright
        finally:
            _playing.clear()


def open_page(browser: Any, path: Path, scheme: str = "light", fragment: str = "", **options: Any) -> Opened:
    size = {"width": 1120, "height": 900}
    page = browser.new_page(viewport=size, color_scheme=scheme, **options)
    opened = Opened(page)
    own = path.resolve().as_uri()
    page.on("request", lambda r: None if r.url.startswith((own, "data:")) else opened.requests.append(r.url))
    page.on("console", lambda m: opened.problems.append(m.text) if m.type in ("error", "warning") else None)
    page.on("pageerror", lambda e: opened.problems.append(str(e)))
    page.goto(own + fragment)
    page.wait_for_function("() => document.querySelector('.ms-sentence')?.textContent")
    return opened


def without_a_fault(opened: Opened) -> None:
    assert opened.problems == []
    assert opened.requests == []
    assert not opened.page.locator(".ms-alert").first.is_visible()
