"""What a reader opens, opened in real JupyterLab: notebook 00 run to the end and its pictures taken."""

from __future__ import annotations

from pathlib import Path

import pytest
from jupyter import THEMES, read

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@THEMES
def test_notebook_00_runs_and_shows_its_text_and_maps(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/00_start_here.ipynb", chromium, theme, tmp_path) as seen:
        page = seen.page
        assert "the same text: True" in seen.text
        assert "last window's counts" in seen.text.replace("&#x27;", "'")
        text = page.locator(".jp-OutputArea-output", has_text="drafted and accepted").first
        text.scroll_into_view_if_needed()
        assert text.locator("[title^='drafted and accepted']").count() > 0
        seen.picture("text")
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
        seen.picture("demand")
        page.get_by_text("Recall of the next window").first.scroll_into_view_if_needed()
        seen.picture("foretelling")
