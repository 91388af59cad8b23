"""What a reader opens, opened in real JupyterLab: notebook 00 run to the end and its pictures taken."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jupyter import lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    "theme", ["JupyterLab Light", pytest.param("JupyterLab Dark", marks=pytest.mark.full)]
)
def test_notebook_00_runs_and_shows_its_text_and_maps(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    shutil.copy(root / "notebooks/00_start_here.ipynb", tmp_path)
    with lab(tmp_path, chromium, theme) as opened:
        state = opened.run_all("00_start_here.ipynb")
        assert not state["errors"]
        assert "the same text: True" in state["text"]
        assert "last window's counts" in state["text"].replace("&#x27;", "'")
        pictures = root / "build/pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        name = "dark" if "Dark" in theme else "light"
        page = opened.page
        text = page.locator(".jp-OutputArea-output", has_text="drafted and accepted").first
        text.scroll_into_view_if_needed()
        assert text.locator("[title^='drafted and accepted']").count() > 0
        page.screenshot(path=pictures / f"00-text-{name}.png")
        heading = page.get_by_role("heading", name="The demand")
        heading.scroll_into_view_if_needed()
        slider = page.locator(".slider-rail-touch-rect")
        slider.wait_for(timeout=30_000)
        slider.scroll_into_view_if_needed()
        title = page.locator(".gtitle")
        before = title.text_content()
        box = slider.bounding_box()
        assert box is not None
        page.mouse.click(box["x"] + box["width"] * 0.6, box["y"] + box["height"] / 2)
        page.wait_for_function("b => document.querySelector('.gtitle').textContent !== b", arg=before)
        page.screenshot(path=pictures / f"00-demand-{name}.png")
        page.get_by_text("Recall of the next window").first.scroll_into_view_if_needed()
        page.screenshot(path=pictures / f"00-foretelling-{name}.png")
        assert not opened.foreign_requests
        assert not opened.console_errors
