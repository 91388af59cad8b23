"""What a reader opens, opened in real JupyterLab: notebooks run to the end as given, their views answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moespac_exercises import exercises_of
from tools.support.jupyterlab import THEMES, Read, read

pytestmark = [pytest.mark.browser, pytest.mark.slow, THEMES]
FULL = pytest.mark.full


def at(seen: Read, heading: str) -> None:
    seen.page.get_by_role("heading", name=heading, exact=True).scroll_into_view_if_needed()


def view_of(seen: Read, word: str, heading: str | None = None) -> Any:
    """The output that holds this word, scrolled to."""
    if heading:
        at(seen, heading)
    view = seen.page.locator(".jp-OutputArea-output", has_text=word).first
    view.wait_for(timeout=30_000)
    view.scroll_into_view_if_needed()
    return view


def says(view: Any, words: str, seconds: float = 30) -> None:
    view.locator(".ms-sentence", has_text=words).first.wait_for(timeout=1000 * seconds)


def test_notebook_00_is_stepped_through(theme: str, browser: Any, root: Path, tmp_path: Path) -> None:
    with read(root / "notebooks/00_start_here.ipynb", browser, theme, tmp_path) as seen:
        page = seen.page
        assert "the same text: True" in seen.text
        assert seen.text.count("there is no answer yet") >= 4
        assert "last window's counts" in seen.text.replace("&#x27;", "'")
        stepper = view_of(seen, "The text so far", "Step through a decode")
        says(stepper, "Round 0: 4 drafted")
        stepper.get_by_role("button", name="Next").click()
        page.keyboard.press("l")
        page.keyboard.press("j")
        says(stepper, "Round 1: ", 5)
        stepper.locator(".ms-card").first.click()
        stepper.locator(".ms-detail table").first.wait_for(timeout=5_000)
        seen.picture("stepper")
        at(seen, "What a window asks for")
        page.get_by_text("Its first token alone").first.wait_for(timeout=30_000)
        seen.picture("demand")
        recall = page.get_by_text("Recall of the next window's experts").first
        recall.scroll_into_view_if_needed()
        page.wait_for_timeout(1_000)  # JupyterLab draws what comes into view a moment later
        recall.scroll_into_view_if_needed()
        seen.picture("predicting")


@FULL
@pytest.mark.parametrize(
    ("name", "view", "sentence", "first", "figures"),
    [
        ("02_speculative_decoding", "The text so far", "Round {}: ", 3, ["what is missing to p"]),
        ("03_speculation_as_a_sensor", "Its first token alone", "Step {}, ", 2,
         ["Distinct experts of a window"]),
        ("04_the_utility_estimator", "What the rule looks at", "Step {}, ", 3,
         ["Mean boundary of all experts", "One made-up stream"]),
    ],
)  # fmt: skip
def test_a_notebook_runs_with_its_view_and_its_figures(
    name: str, view: str, sentence: str, first: int, figures: list[str], theme: str, browser: Any,
    root: Path, tmp_path: Path,
) -> None:  # fmt: skip
    with read(root / f"notebooks/{name}.ipynb", browser, theme, tmp_path) as seen:
        assert seen.text.count("there is no answer yet") == 2 * len(exercises_of(name[:2]))  # HTML, plain
        instrument = view_of(seen, view)
        says(instrument, sentence.format(first))
        instrument.get_by_role("button", name="Next").click()
        says(instrument, sentence.format(first + 1), 10)
        seen.picture("view")
        for number, words in enumerate(figures):
            figure = seen.page.locator(".js-plotly-plot", has_text=words).first
            figure.scroll_into_view_if_needed()
            paper = figure.locator("svg.main-svg").first
            assert "rgba(0, 0, 0, 0)" in paper.evaluate("paper => getComputedStyle(paper).background")
            seen.picture(f"figure-{number}")


@FULL
def test_notebook_05_opens_its_explorer_which_solves(
    theme: str, browser: Any, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/05_the_workload_balancer.ipynb", browser, theme, tmp_path) as seen:
        assert seen.text.count("there is no answer yet") == 8  # as HTML and in plain words
        assert seen.text.count("does not return anything yet") == 2  # begun for the reader
        assert "Optimal Solution Found" in seen.text
        explorer = view_of(seen, "All layers together", "What may not be chosen")
        explorer.get_by_text("Alone it breaks: ").first.wait_for(timeout=30_000)
        seen.picture("explorer")
        explorer.get_by_label("CPU lane").press("Home")
        says(explorer, "jointly", 10)
        explorer.get_by_text("10 %").first.wait_for(timeout=10_000)
        view_of(seen, "Faster than a fixed", "What is it worth?")
        seen.picture("worth")


def test_notebook_06_steps_through_lanes_and_slots(
    theme: str, browser: Any, root: Path, tmp_path: Path
) -> None:
    with read(root / "notebooks/06_the_asynchronous_engine.ipynb", browser, theme, tmp_path) as seen:
        assert seen.text.count("the same tokens: True") == 3
        assert seen.text.count("the same timeline: True") == 1
        assert "tokens a second (measured)" in seen.text
        assert seen.text.count("there is no answer yet") == 8
        says(view_of(seen, "experts by layer", "Who is where, and why"), "Window 5: ")
        seen.picture("slots")
        lanes = view_of(seen, "a live run, virtual device", "What was copied when, what ran where")
        lanes.get_by_role("button", name="Next").click()
        says(lanes, "Window 6: ", 10)
        seen.picture("lanes")
        for heading, word in (("A race", "busy: "), ("What is a budget worth?", "tokens a replay")):
            at(seen, heading)
            title = seen.page.locator(".gtitle", has_text=word).first
            title.wait_for(timeout=30_000)
            title.scroll_into_view_if_needed()
            seen.picture(heading.split()[-1].strip("?"))


@FULL
def test_notebook_07_runs_and_answers_a_guess(theme: str, browser: Any, root: Path, tmp_path: Path) -> None:
    with read(root / "notebooks/07_the_budget_lab.ipynb", browser, theme, tmp_path) as seen:
        assert "4.04" in seen.text
        lab = view_of(seen, "Tokens a second over all budgets", "Guess first")
        says(lab, "hidden until you commit a guess")
        lab.get_by_label("Your guess, tokens a second").fill("100")
        lab.get_by_role("button", name="Commit the guess").click()
        says(lab, "You guessed 100", 10)
        seen.picture("lab")
        at(seen, "Where the time goes")
        seen.page.locator(".gtitle", has_text="takes longest").first.scroll_into_view_if_needed()
        seen.picture("parts")
        at(seen, "A race")
        race = seen.page.get_by_text("reads the future: a bound").first
        race.wait_for(timeout=30_000)
        seen.page.wait_for_timeout(1_000)
        race.scroll_into_view_if_needed()
        seen.picture("race")
