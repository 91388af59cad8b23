"""The widgets of time in a browser, by keyboard and by mouse: as pages of their own, and in JupyterLab."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.transforms.counterfactual import improve_draft
from moespac_widgets import BudgetLab, Race, Timeline
from moespac_widgets.views.budget_lab.budget_lab import Setting
from tests.helpers.traces.strategies import one_text
from tools.support.browser import PIXELS, Show, without_a_fault
from tools.support.jupyterlab import Lab, lab, write_notebook
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser]

LOCAL = made_up(MoEShape(4, 16, 2), gamma=4, steps=30, seed=1)


def test_a_timeline_is_walked_zoomed_and_stepped_by_keyboard(show: Show) -> None:
    results = [replay(LOCAL, name, "25%") for name in ("recency", "on-demand")]
    opened = show(Timeline(*results))
    page = opened.page
    assert opened.sentence.startswith("Window 0: recency takes ")
    page.locator("canvas").focus()
    opened.press("l", "l", "w")
    assert opened.sentence.startswith("Window 2: ")
    begin, end = results[0].windows_s[2]
    shown = opened.state
    assert int(shown["start_us"]) < 1e6 * begin < 1e6 * end < int(shown["start_us"]) + int(shown["span_us"])
    opened.press("ArrowDown", "ArrowRight")  # the second operation in sight of the uppermost lane
    drafts = [
        op for op in results[0].timeline if op.lane == "draft" and op.end > int(shown["start_us"]) / 1e6
    ]
    assert f"recency, draft: {drafts[1].label} (drafting)" in opened.sentence
    assert f"from {1e3 * drafts[1].start:.2f} ms" in opened.sentence
    for _ in range(5):  # past host, to the other result's drafts
        opened.press("ArrowDown")
    assert "on-demand, draft: " in opened.sentence
    span = int(opened.state["span_us"])
    opened.press("+")
    assert int(opened.state["span_us"]) == round(span / 2)
    opened.press("0", "End")
    assert opened.sentence.startswith("Window 29: ")
    opened.press("Escape")
    assert opened.state["op"] == "-1"


def test_a_timeline_is_dragged_aligned_and_saved_by_mouse(show: Show, tmp_path: Path) -> None:
    results = [replay(LOCAL, name, "25%") for name in ("recency", "on-demand")]
    timeline = Timeline(*results)
    opened = show(timeline)
    page = opened.page
    box = page.locator("canvas").first.bounding_box()
    page.keyboard.down("Control")
    page.mouse.move(box["x"] + 300, box["y"] + 90)
    page.mouse.wheel(0, -800)
    page.keyboard.up("Control")
    opened.settle()
    zoomed = opened.state
    assert int(zoomed["span_us"]) < timeline.span_us / 4
    page.mouse.move(box["x"] + 700, box["y"] + 90)
    page.mouse.down()
    page.mouse.move(box["x"] + 500, box["y"] + 90, steps=4)
    page.mouse.up()
    opened.settle()
    assert int(opened.state["start_us"]) > int(zoomed["start_us"])
    opened.click(box["x"] + 400, box["y"] + 20 + 22 + 2 * 19 + 7)  # the first result's CPU lane
    page.get_by_label("Clock:").select_option("window")
    page.get_by_role("button", name="All").click()
    assert opened.table()[0][:2] == ["recency", "draft"]
    with page.expect_download() as download:
        page.get_by_role("button", name="Save for Perfetto").click()
    saved = json.loads(Path(download.value.path()).read_text())["traceEvents"]
    ours = json.loads(timeline.to_perfetto(tmp_path / "t.json").read_text())["traceEvents"]
    ran = [sorted((e["pid"], e["cat"], e["name"], round(e["ts"], 1)) for e in some if e["ph"] == "X")
           for some in (saved, ours)]  # fmt: skip
    assert [each[:3] for each in ran[0]] == [each[:3] for each in ran[1]]
    assert [each[3] for each in ran[0]] == pytest.approx([each[3] for each in ran[1]], abs=0.2)


DENSE = one_text(2, gamma_max=3, steps=9)
CHOICES: dict[str, Any] = {
    "machines": ["rtx4090", "t4"],
    "models": ["olmoe-1b-7b", "bundled-pair"],
    "policies": ["recency", "on-demand"],
    "context": 128,
}


def test_in_the_lab_a_draft_errs_less_and_windows_are_marked(show: Show) -> None:
    made = BudgetLab(DENSE, budget="35%", gamma=2, step=1, **CHOICES)
    better = replay(improve_draft(DENSE, 1.0), "recency", "35%", gamma=2, machine="rtx4090",
                    model="olmoe-1b-7b", context=128)  # fmt: skip
    opened = show(made)
    page = opened.page
    assert "Window 1 takes " in opened.sentence
    page.get_by_role("slider").focus()
    opened.press("l")
    assert "Window 2 takes " in opened.sentence
    strip = page.locator("canvas[role=img]").bounding_box()
    opened.click(strip["x"] + strip["width"] - 3, strip["y"] + 30)
    last = len(made.result.windows_s) - 1
    assert f"Window {last} takes " in opened.sentence
    page.get_by_label("Draft’s mistakes:").select_option("none")
    opened.settle()
    assert f"{better.tps_modelled:.0f} tokens/s modelled" in opened.sentence
    assert "γ 2 with none of the draft’s mistakes" in opened.sentence
    assert "the windows are others than those of the views beside it" in opened.sentence
    assert page.get_by_role("row", name="drafts accepted, fewer mistakes 100 % modelled").count() == 1
    assert (
        "what a worse draft would have said, the target never read" in page.locator(".ms-body").inner_text()
    )


def test_the_lab_answers_from_its_grid_and_offers_no_more(show: Show) -> None:
    made = BudgetLab(DENSE, budget="35%", gamma=2, **CHOICES)
    opened = show(made)
    page = opened.page
    assert f"{made.result.tps_modelled:.0f} tokens/s modelled" in opened.sentence
    whole = f"{made.result.tps_whole_model:.3g}"
    assert page.locator(".ms-answer").inner_text().endswith(f"of the trace’s layers; whole model ≈ {whole}")
    assert f"all of olmoe-1b-7b would make about {whole} tokens/s" in opened.sentence
    page.get_by_role("slider").focus()
    opened.press("ArrowRight", "PageUp")
    budget = int(opened.state["budget"])
    assert budget > 36
    assert "on the line between two replays" in page.locator(".ms-answer").inner_text()
    page.get_by_label("γ:").focus()
    opened.press("ArrowUp")
    assert opened.state["gamma"] == "1"
    assert "γ 1, " in opened.sentence
    # Of another machine the page has but the draft length it was written with.
    assert page.get_by_label("Machine:").locator("option[value=t4]").is_disabled()
    opened.press("ArrowDown")
    page.get_by_label("Machine:").select_option("t4")
    opened.settle()
    assert " on t4 as " in opened.sentence
    assert page.get_by_label("γ:").locator("option[value='1']").is_disabled()
    box = page.locator("canvas").first.bounding_box()
    opened.click(box["x"] + box["width"] - 22, box["y"] + 60)
    assert opened.state["budget"] == "100"
    assert opened.table()[-1][0] == "100"
    page.get_by_role("button", name="What fits").click()
    page.get_by_label("Machine:").select_option("rtx4090")
    page.get_by_label("Beside it:").select_option("on-demand")
    opened.settle()
    assert int(opened.state["budget"]) == int(100 * plan_memory("t4", "olmoe-1b-7b", context=128).share)
    assert "on-demand gives " in opened.sentence


def test_a_guess_is_committed_before_the_answer_is_shown(show: Show) -> None:
    made = BudgetLab(DENSE, budget="35%", gamma=2, ask="guess", **CHOICES)
    opened = show(made)
    page, tps = opened.page, made.result.tps_modelled
    shown = page.locator(".moespac").inner_text()
    assert f"{tps:.0f}" not in shown.replace(f"{tps:.0f} GiB", "")
    assert "the answer is hidden until you commit a guess" in opened.sentence
    guess = page.get_by_label("Your guess, tokens a second of the trace’s layers:")
    guess.fill("0")
    guess.press("Enter")
    opened.settle()
    assert "the guess is 0; expected: 1 to" in page.get_by_role("alert").inner_text()
    guess.fill(str(round(2 * tps)))
    guess.press("Enter")
    opened.settle()
    assert opened.sentence.startswith(f"You guessed {round(2 * tps)}, 100 % too high.")
    assert f"{tps:.0f} tokens/s modelled" in opened.sentence
    page.get_by_role("slider").focus()
    opened.press("ArrowRight")
    opened.settle()
    assert "the answer is hidden" in opened.sentence
    page.get_by_label("guess first").uncheck()
    opened.settle()
    assert "tokens/s modelled" in opened.sentence


def test_a_race_is_scrubbed_played_and_decided(show: Show) -> None:
    race = Race(LOCAL, ["recency", "on-demand", "cpu-only"], "25%")
    opened = show(race)
    page = opened.page
    assert opened.sentence.startswith("After 0 ms: recency has 0 tokens")
    box = page.locator("canvas").first.bounding_box()
    opened.click(box["x"] + 42 + 0.3 * (box["width"] - 192), box["y"] + 60)
    now_s = int(opened.state["time_us"]) / 1e6
    for result in race.results:
        spans = [end - begin for begin, end in result.windows_s]
        through = sum(sum(spans[: i + 1]) <= now_s for i in range(len(spans)))
        tokens = sum(len(step.emitted) for step in list(LOCAL)[:through])
        words = f"{result.policy} has {tokens} tokens" if through < len(spans) else f"{result.policy} was"
        assert words in opened.sentence
    page.get_by_role("slider").focus()
    opened.press("k")
    page.wait_for_function(
        "before => !document.querySelector('.ms-sentence').textContent.startsWith(before)",
        arg=opened.sentence.split(":")[0],
    )
    opened.press("k", "End")
    first, second = sorted(race.results[:3], key=lambda each: -each.tps_modelled)[:2]
    assert f"{first.policy} wins: {second.policy} takes " in opened.sentence
    assert page.locator(".ms-track").count() == 4
    assert len(opened.table()) == 3 + len(LOCAL)


SETUP = """
from moespac_nb import Trace
from moespac_nb.simulation.replay import replay
from moespac_widgets import BudgetLab, Race, Timeline
trace = Trace.load("trace.npz")
shown = dict(machines=["rtx4090", "t4"], models=["olmoe-1b-7b"], context=128)
"""
LAB = "view = BudgetLab(trace, budget='40%', gamma=2, **shown)\nview"
TIMELINE = "view = Timeline(*(replay(trace, p, '40%', gamma=2) for p in ('recency', 'on-demand')))\nview"
RACE = "view = Race(trace, ['recency', 'cpu-only'], '40%', gamma=2)\nview"


@pytest.mark.slow
def test_in_jupyterlab_keys_stay_and_the_kernel_replays(browser: Any, tmp_path: Path) -> None:
    DENSE.save(tmp_path / "trace.npz")
    write_notebook(tmp_path / "time.ipynb", (SETUP, LAB))
    with lab(tmp_path, browser) as opened:
        assert not opened.run_all("time.ipynb")["errors"]
        cells, _ = opened.cells
        opened.says("tokens/s modelled")
        _the_lab_asks_its_kernel(opened)
        for source, words, control, trait in (
            (TIMELINE, "Window 0: ", "canvas", "step"), (RACE, "After 0 ms: ", "button", "time_us")
        ):  # fmt: skip
            opened.run_cell(1, source)
            opened.says(words)
            opened.page.locator(f".moespac {control}").first.focus()
            opened.press("a", "b", "x", "d", "d", "ArrowDown", "l")
            opened.kernel_says(f"print(view.{trait} > 0)", "True")
            assert opened.page.locator(".moespac").count() == 1
        assert opened.cells == [cells, 1]
        without_a_fault(opened)


def _the_lab_asks_its_kernel(opened: Lab) -> None:
    def its_result_is_shown() -> None:
        opened.says(opened.in_kernel("print(f': {view.result.tps_modelled:.0f} tokens/s modelled')"))

    opened.page.locator(".moespac input[type=range]").focus()
    for key in ("ArrowRight", "ArrowRight", "a", "ArrowRight"):
        opened.page.keyboard.press(key)
    opened.says("43 % = ")
    opened.kernel_says("print(view.budget)", "43")
    opened.page.get_by_text("modelled, replayed").wait_for()
    its_result_is_shown()
    opened.page.get_by_label("Machine:").select_option("t4")  # not in what was sent
    opened.says(" on t4 as ")
    opened.kernel_says("print(view.machine)", "t4")
    its_result_is_shown()


SCRUB = """async steps => {
  const slider = document.querySelector('input[type=range]');
  const ms = [];
  for (let i = 0; i < steps; i++) {
    const begun = performance.now();
    slider.value = String(i);
    slider.dispatchEvent(new Event('input'));
    await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
    ms.push(performance.now() - begun);
  }
  return ms.sort((a, b) => a - b)[Math.floor(0.95 * steps)];
}"""


@pytest.mark.full
@pytest.mark.parametrize("kind", ["timeline", "lab", "race"])
def test_both_schemes_are_drawn_and_come_back_after_a_reload(show: Show, kind: str) -> None:
    view = {
        "timeline": lambda: Timeline(replay(LOCAL, "recency", "25%"), replay(LOCAL, "cpu-only", "25%")),
        "lab": lambda: BudgetLab(DENSE, budget="35%", gamma=2, **CHOICES),
        "race": lambda: Race(LOCAL),
    }[kind]()
    brightness = {}
    for scheme in ("light", "dark"):
        opened = show(view, scheme, reduced_motion="reduce")
        opened.settle()
        drawn, brightness[scheme] = opened.page.evaluate(PIXELS)
        assert drawn > 0.02
        opened.page.locator("input[type=range]").first.focus()
        opened.press("ArrowRight", "ArrowRight")
        before = opened.sentence
        opened.page.wait_for_function("() => location.hash.length > 1")
        opened.page.reload()
        opened.says(before)
    assert brightness["light"] > 128 > brightness["dark"]


@pytest.mark.full
def test_a_big_models_hundred_steps_scrub_without_a_backlog(show: Show) -> None:
    big = made_up(MoEShape(48, 128, 8), gamma=4, steps=100, seed=2)
    timeline = Timeline(*(replay(big, name, "17%") for name in ("recency", "on-demand")))
    opened = show(timeline)
    assert opened.page.evaluate(SCRUB, 100) < 2000  # a bound for a busy machine; the benchmark measures
    assert opened.sentence.startswith("Window 99: ")


@pytest.mark.full
def test_every_point_of_a_page_is_what_its_replay_says(show: Show) -> None:
    made = BudgetLab(DENSE, budget="35%", gamma=1, **CHOICES)
    opened = show(made)
    for key in made.page_data()["grid"]:
        choices = "&".join(f"{name}={value}" for name, value in Setting(*key.split("|"))._asdict().items())
        for budget in (17, 35, 100):
            made.restore_view(f"{choices}&budget={budget}")
            opened.restore(made.view_code)
            (shown,) = re.findall(r": ([\d.]+) tokens/s modelled", opened.sentence)
            assert float(shown) == pytest.approx(made.result.tps_modelled, rel=0.006)  # three figures
