"""What a reader opens, opened in real JupyterLab: notebooks 00 and 07 run to the end, their views used."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.support.jupyterlab import THEMES, read

pytestmark = [pytest.mark.browser, pytest.mark.slow]


@THEMES
def test_notebook_00_runs_and_is_stepped_through(
    theme: str, chromium: Path, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/00_start_here.ipynb", chromium, theme, tmp_path) as seen:
        page = seen.page
        assert "the same text: True" in seen.text
        assert seen.text.count("there is no answer yet") >= 4
        assert "last window's counts" in seen.text.replace("&#x27;", "'")
        page.get_by_role("heading", name="Step through a decode").scroll_into_view_if_needed()
        stepper = page.locator(".jp-OutputArea-output", has_text="The text so far").first
        stepper.scroll_into_view_if_needed()
        sentence = stepper.locator(".ms-sentence")
        sentence.filter(has_text="Round 0: 4 drafted").wait_for(timeout=30_000)
        stepper.get_by_role("button", name="Next").click()
        page.keyboard.press("l")
        page.keyboard.press("j")
        sentence.filter(has_text="Round 1: ").wait_for(timeout=5_000)
        stepper.locator(".ms-card").first.click()
        stepper.locator(".ms-detail table").first.wait_for(timeout=5_000)
        seen.picture("stepper")
        page.get_by_role("heading", name="What a window asks for", exact=True).scroll_into_view_if_needed()
        page.get_by_text("Its first token alone").first.wait_for(timeout=30_000)
        seen.picture("demand")
        recall = page.get_by_text("Recall of the next window's experts").first
        recall.scroll_into_view_if_needed()
        page.wait_for_timeout(1_000)  # JupyterLab draws what comes into view a moment later
        recall.scroll_into_view_if_needed()
        seen.picture("foretelling")


@THEMES
@pytest.mark.full
def test_notebook_07_runs_and_answers_a_guess(theme: str, chromium: Path, root: Path, tmp_path: Path) -> None:
    with read(root / "notebooks/07_the_budget_lab.ipynb", chromium, theme, tmp_path) as seen:
        page = seen.page
        assert "4.04" in seen.text
        page.get_by_role("heading", name="Guess first").scroll_into_view_if_needed()
        lab = page.locator(".jp-OutputArea-output", has_text="Tokens a second over all budgets").first
        lab.scroll_into_view_if_needed()
        sentence = lab.locator(".ms-sentence")
        sentence.filter(has_text="hidden until you commit a guess").wait_for(timeout=30_000)
        lab.get_by_label("Your guess, tokens a second").fill("100")
        lab.get_by_role("button", name="Commit the guess").click()
        sentence.filter(has_text="You guessed 100").wait_for(timeout=10_000)
        seen.picture("lab")
        page.get_by_role("heading", name="Where the time goes").scroll_into_view_if_needed()
        page.locator(".gtitle", has_text="takes longest").first.scroll_into_view_if_needed()
        seen.picture("parts")
        page.get_by_role("heading", name="A race", exact=True).scroll_into_view_if_needed()
        race = page.get_by_text("reads the future: a bound").first
        race.wait_for(timeout=30_000)
        page.wait_for_timeout(1_000)
        race.scroll_into_view_if_needed()
        seen.picture("race")
