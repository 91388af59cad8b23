"""Notebook 06 in real JupyterLab: no token changes under any budget, its figures can be read and moved."""

from __future__ import annotations

from pathlib import Path

import pytest
from jupyter import THEMES, read

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@THEMES
def test_notebook_06_keeps_every_token_and_draws_lanes_residents_and_curves(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/06_the_asynchronous_engine.ipynb", chromium, theme, tmp_path) as seen:
        page = seen.page
        assert seen.text.count("the same tokens: True") == 3
        assert "tokens a second (measured)" in seen.text
        for heading, word in (
            ("What was resident", "were there"),
            ("What was copied when, what ran where", "busy: host"),
            ("What is a budget worth?", "tokens a replay"),
        ):
            page.get_by_role("heading", name=heading).scroll_into_view_if_needed()
            title = page.locator(".gtitle", has_text=word).first
            title.wait_for(timeout=30_000)
            title.scroll_into_view_if_needed()
            seen.picture(heading.split()[2])
