"""Notebooks 05 and 06 in real JupyterLab: they run to the end as given, their instruments answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools.support.jupyterlab import THEMES, Read, read

pytestmark = [pytest.mark.browser, pytest.mark.slow]


def view_under(seen: Read, heading: str, word: str) -> Any:
    """The output that holds this word, scrolled to."""
    seen.page.get_by_role("heading", name=heading, exact=True).scroll_into_view_if_needed()
    view = seen.page.locator(".jp-OutputArea-output", has_text=word).first
    view.wait_for(timeout=30_000)
    view.scroll_into_view_if_needed()
    return view


@THEMES
@pytest.mark.full
def test_in_notebook_05_the_explorer_opens_on_the_layer_that_is_asked_about_and_solves_anew(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/05_the_workload_balancer.ipynb", chromium, theme, tmp_path) as seen:
        assert seen.text.count("there is no answer yet") == 8  # as HTML and in plain words
        assert seen.text.count("does not return anything yet") == 2  # begun for the reader
        assert "Optimal Solution Found" in seen.text
        explorer = view_under(seen, "What may not be chosen", "All layers together")
        explorer.get_by_text("Alone it breaks: ").first.wait_for(timeout=30_000)
        seen.picture("explorer")
        explorer.get_by_label("CPU lane").press("Home")
        explorer.locator(".ms-sentence", has_text="jointly").first.wait_for(timeout=10_000)
        explorer.get_by_text("10 %").first.wait_for(timeout=10_000)
        view_under(seen, "What is it worth?", "Faster than a fixed")
        seen.picture("worth")


@THEMES
def test_in_notebook_06_no_token_changes_and_lanes_and_slots_can_be_stepped_through(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/06_the_asynchronous_engine.ipynb", chromium, theme, tmp_path) as seen:
        page = seen.page
        assert seen.text.count("the same tokens: True") == 3
        assert seen.text.count("the same timeline: True") == 1
        assert "tokens a second (measured)" in seen.text
        assert seen.text.count("there is no answer yet") == 8
        slots = view_under(seen, "Who is where, and why", "experts by layer")
        slots.locator(".ms-sentence", has_text="Window 5: ").first.wait_for(timeout=30_000)
        seen.picture("slots")
        lanes = view_under(seen, "What was copied when, what ran where", "a live run, virtual device")
        lanes.get_by_role("button", name="Next").click()
        lanes.locator(".ms-sentence", has_text="Window 6: ").first.wait_for(timeout=10_000)
        seen.picture("lanes")
        page.get_by_role("heading", name="A race", exact=True).scroll_into_view_if_needed()
        for heading, word in (("A race", "busy: "), ("What is a budget worth?", "tokens a replay")):
            page.get_by_role("heading", name=heading, exact=True).scroll_into_view_if_needed()
            title = page.locator(".gtitle", has_text=word).first
            title.wait_for(timeout=30_000)
            title.scroll_into_view_if_needed()
            seen.picture(heading.split()[-1].strip("?"))
