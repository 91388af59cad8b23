"""Notebook 06 in real JupyterLab: no token changes under any budget, its figures can be read and moved."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from jupyter import lab

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@pytest.mark.parametrize(
    "theme", ["JupyterLab Light", pytest.param("JupyterLab Dark", marks=pytest.mark.full)]
)
def test_notebook_06_keeps_every_token_and_draws_lanes_residents_and_curves(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    shutil.copy(root / "notebooks/06_the_asynchronous_engine.ipynb", tmp_path)
    with lab(tmp_path, chromium, theme) as opened:
        state = opened.run_all("06_the_asynchronous_engine.ipynb")
        assert not state["errors"]
        assert state["text"].count("the same tokens: True") == 3
        assert "tokens a second (measured)" in state["text"]
        pictures = root / "build/pictures"
        pictures.mkdir(parents=True, exist_ok=True)
        name, page = "dark" if "Dark" in theme else "light", opened.page
        for heading, word in (
            ("What was resident", "were there"),
            ("What was copied when, what ran where", "busy: host"),
            ("What is a budget worth?", "tokens a replay"),
        ):
            page.get_by_role("heading", name=heading).scroll_into_view_if_needed()
            title = page.locator(".gtitle", has_text=word).first
            title.wait_for(timeout=30_000)
            title.scroll_into_view_if_needed()
            page.screenshot(path=pictures / f"06-{heading.split()[2]}-{name}.png")
        assert not opened.foreign_requests
        assert not opened.console_errors
