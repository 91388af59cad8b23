"""Notebooks 02 to 04 in real JupyterLab: they run to the end as given, their views and figures are there."""

from __future__ import annotations

from pathlib import Path

import pytest

from moespac_exercises import exercises_of
from tools.support.jupyterlab import THEMES, read

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.full]


@THEMES
@pytest.mark.parametrize(
    ("name", "view", "sentence", "first", "figures"),
    [
        ("02_speculative_decoding", "The text so far", "Round {}: ", 3, ["what is missing to p"]),
        (
            "03_speculation_as_a_sensor",
            "Its first token alone",
            "Step {}, ",
            2,
            ["Distinct experts of a window"],
        ),
        (
            "04_the_utility_estimator",
            "What the rule looks at",
            "Step {}, ",
            3,
            ["Mean boundary of all experts", "One made-up stream"],
        ),
    ],
)
def test_it_runs_as_given_its_view_goes_on_and_its_figures_let_the_page_through(
    name: str, view: str, sentence: str, first: int, figures: list[str], theme: str, chromium: Path,
    root: Path, tmp_path: Path,
) -> None:  # fmt: skip
    with read(root / f"notebooks/{name}.ipynb", chromium, theme, tmp_path) as seen:
        assert seen.text.count("there is no answer yet") == 2 * len(exercises_of(name[:2]))  # HTML, plain
        instrument = seen.page.locator(".jp-OutputArea-output", has_text=view).first
        instrument.scroll_into_view_if_needed()
        shown = instrument.locator(".ms-sentence")
        shown.filter(has_text=sentence.format(first)).wait_for(timeout=30_000)
        instrument.get_by_role("button", name="Next").click()
        shown.filter(has_text=sentence.format(first + 1)).wait_for(timeout=10_000)
        seen.picture("view")
        for number, words in enumerate(figures):
            figure = seen.page.locator(".js-plotly-plot", has_text=words).first
            figure.scroll_into_view_if_needed()
            papers = figure.locator("svg.main-svg").first
            assert "rgba(0, 0, 0, 0)" in papers.evaluate("paper => getComputedStyle(paper).background")
            seen.picture(f"figure-{number}")
