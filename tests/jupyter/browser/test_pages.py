"""The widgets' stories by keyboard and by mouse, as pages of their own: no kernel, no network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from moespac_nb import Step, import_trace
from moespac_nb.estimator.utility import RULES, make_estimator
from moespac_widgets import DemandMap, Stepper, UtilityInspector, write_page
from tests.helpers.traces.logs import WRITERS, made_up
from tests.helpers.traces.strategies import one_text
from tools.support.browser import PIXELS, Show

pytestmark = [pytest.mark.browser]


def test_the_stepper_is_stepped_played_and_asked_by_keyboard(show: Show) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = show(Stepper(trace, step=2))
    page = opened.page
    page.keyboard.press("Tab")  # to the first button: the player's keys work from anywhere inside
    opened.press("l", "ArrowRight", "j")
    assert opened.sentence.startswith("Round 3: ")
    opened.press("End")
    assert opened.sentence.startswith("Round 8: ")
    opened.press("Home", "k")
    opened.says("Round 1")
    assert page.get_by_role("button", name="Pause").count() == 1
    opened.press("k", "Home", "l")
    step = trace[int(opened.sentence.split()[1].rstrip(":"))]
    page.locator(".ms-card").first.focus()
    opened.press("Enter")
    chosen = page.locator(".ms-detail table").first.inner_text()
    for layer in range(2):
        expert, weight = step.experts[0, layer, 0], step.gate_weights[0, layer, 0]
        assert f"{expert} ({f'{weight:.2f}'.lstrip('0')})" in chosen
    opened.press("Escape")
    assert page.locator(".ms-detail table").count() == 0
    page.locator("canvas").focus()
    opened.press("ArrowDown", "ArrowRight", "ArrowRight")
    count = int(step.counts[1, 2])
    words = f"by {count} of {step.gamma + 1} positions" if count else "No position of this window"
    assert words in page.locator(".ms-detail").inner_text()


def test_the_stepper_of_an_imported_trace_shows_positions_for_tokens(show: Show, tmp_path: Path) -> None:
    WRITERS["warp"].write(tmp_path / "warp.jsonl", made_up(positions=9))
    trace = import_trace(tmp_path / "warp.jsonl")
    opened = show(Stepper(trace, step=4, token=0))
    assert "⟨5⟩" in opened.sentence  # what position 4 was followed by
    said = opened.page.locator("body").inner_text()
    assert "their positions stand for them" in said
    assert "no gate weights" in said
    detail = opened.page.locator(".ms-detail").inner_text()
    assert "⟨4⟩" in detail
    for layer in range(3):
        assert re.search(
            rf"^{layer}\s+{trace.experts[4, layer, 0]}\s+{trace.experts[4, layer, 1]} *$", detail, re.M
        )


def test_the_stepper_is_scrubbed_and_comes_back_after_a_reload(show: Show) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = show(Stepper(trace))
    page, step = opened.page, trace[4]
    box = page.get_by_role("slider").bounding_box()
    opened.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    assert opened.sentence.startswith("Round 4: ")
    page.locator(".ms-card").first.click()
    opened.settle()
    assert page.locator(".ms-card[aria-pressed=true]").count() == 1
    canvas = page.locator("canvas").bounding_box()
    opened.click(canvas["x"] + 34 + (canvas["width"] - 34) / 6 * 3.5, canvas["y"] + 5)
    asked = int(step.counts[0, 3])
    assert page.locator(".ms-card.asks").count() == asked
    assert len(opened.table()) == step.gamma + 1
    page.wait_for_function("() => location.hash.includes('expert=3')")
    page.reload()
    opened.says("Round 4")
    assert page.locator(".ms-card.asks").count() == asked


@pytest.mark.full
def test_a_view_code_brings_a_view_back_a_bad_one_does_not(show: Show) -> None:
    opened = show(Stepper(one_text(3, steps=9)))
    opened.restore("step=5&layer=1&expert=2")
    assert opened.sentence.startswith("Round 5: ")
    opened.restore("step=500")
    alert = opened.page.get_by_role("alert")
    assert "step is 500; expected: 0 … 8" in alert.inner_text()
    opened.page.locator("canvas").focus()
    opened.press("l")
    assert not alert.is_visible()
    opened.page.get_by_role("button", name="Copy this view").click()
    assert opened.code.input_value() == "step=6&token=-1&layer=1&expert=2"


def test_the_demand_map_follows_expert_and_step(show: Show) -> None:
    trace = one_text(3, steps=9)
    opened = show(DemandMap(trace, against=one_text(4), layer=0, expert=0))
    opened.page.locator("canvas").first.focus()
    opened.press("ArrowDown", "ArrowRight", "l", "l")
    assert f"Expert 1: positions {trace.counts[2, 1, 1]}," in opened.sentence
    over_time = opened.page.locator("canvas").nth(1).bounding_box()
    opened.click(over_time["x"] + 34 + (over_time["width"] - 37) / 9 * 6.5, over_time["y"] + 3 + 20 * 4.5)
    assert f"Expert 4: positions {trace.counts[6, 1, 4]}," in opened.sentence
    asked = int((trace.counts[6, 1] > 0).sum())
    for choice, words in (("bit", f"the window asks for {asked} experts"), ("domains", "bits apart")):
        opened.page.get_by_label("Show", exact=True).select_option(choice)
        opened.settle()
        assert words in opened.sentence


def test_the_inspector_says_why_an_expert_moved_under_each_rule(show: Show) -> None:
    trace = one_text(3, steps=9)
    opened = show(UtilityInspector(trace, rule="paper"))
    page = opened.page
    page.get_by_label("expert", exact=True).select_option("2")
    page.get_by_label("layer", exact=True).select_option("1")
    for rule in RULES:
        page.get_by_label("Rule", exact=True).select_option(rule)
        page.locator("canvas").first.focus()
        opened.press("Home")
        estimator = make_estimator(rule, 2, 6, K=4, gamma=int(trace.gamma.max()))
        for step in trace:
            estimator.update(step.counts)
            state = estimator.state().of(1, 2)
            assert f"expert 2: f = {state['f']:.0f}. " in opened.sentence
            # "…: s rises from 0 to 1." and "…: 1; it was 0.": what s is, is said
            said = re.search(r"(?:to|at|cut at 4:) (\d)(?: already)?[.;]", opened.sentence)
            assert int(said[1]) == state["s"]
            opened.press("l")


def test_widgets_of_a_page_move_together_and_come_back(show: Show, tmp_path: Path) -> None:
    trace = one_text(3, steps=9)
    views = [Stepper(trace), DemandMap(trace), UtilityInspector(trace)]
    opened = show(write_page(tmp_path / "all.html", views, "All"))
    opened.page.locator("canvas").first.focus()
    opened.press("l", "l", "l")
    sentences = opened.page.locator(".ms-sentence").all_text_contents()
    assert [sentence[:7] for sentence in sentences] == ["Round 3", "Step 3,", "Step 3,"]
    opened.page.wait_for_function("() => location.hash.includes('step=3')")
    opened.page.reload()
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.ms-sentence')].every(s => / 3[:,]/.test(s.textContent))"
    )


@pytest.mark.full
@pytest.mark.parametrize("trace", [one_text(1, sampled=True, steps=30), one_text(2, steps=30)])
def test_text_verdicts_and_tables_follow_every_round(show: Show, trace) -> None:
    opened = show(Stepper(trace))
    opened.page.locator("canvas").focus()
    text = ""
    for step in trace:
        text += "".join(f"«{token}»" for token in step.emitted)
        assert opened.page.locator(".ms-text").inner_text().endswith(text)
        assert opened.page.locator("button.ms-card.accepted").count() == step.accepted
        assert opened.page.locator("button.ms-card.rejected").count() == (step.accepted < step.gamma)
        assert opened.page.locator("div.ms-card.own").count() == 1
        opened.press("l")


def test_the_map_is_drawn_in_the_pages_own_ink(show: Show) -> None:
    view, brightness = Stepper(one_text(3, steps=4)), {}
    for scheme in ("light", "dark"):
        opened = show(view, scheme, reduced_motion="reduce")
        assert opened.page.get_by_label("Speed").input_value() == "1"
        opened.settle()
        drawn, brightness[scheme] = opened.page.evaluate(PIXELS)
        assert drawn > 0.3
    assert brightness["light"] > 128 > brightness["dark"]


def test_details_and_text_lead_to_experts_and_rounds(show: Show) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = show(Stepper(trace, step=6, token=0))
    page = opened.page
    expert = int(trace[6].experts[0, 1, 1])
    page.locator(".ms-detail [data-layer='1']").nth(1).click()
    opened.settle()
    assert page.locator(".ms-detail .ms-caption").first.inner_text() == f"◆ Layer 1, expert {expert}"
    asking = [i for i, row in enumerate(trace[6].experts[:, 1]) if expert in row]
    page.locator(".ms-detail [data-token]").last.click()
    opened.settle()
    assert page.locator(".ms-card[aria-pressed=true]").get_attribute("data-i") == str(asking[-1])
    page.locator(".ms-text [data-n='2']").click()
    opened.settle()
    assert opened.sentence.startswith("Round 2: ")


def ending(step: Step, stop_ids: tuple[int, ...]) -> str:
    """What a reader is told of a round's end."""
    if step.outcome == "cut":
        stopped = int(step.emitted[-1]) in stop_ids
        return "the text ends with a stop token" if stopped else "what was recorded of the text ends here"
    if step.outcome == "bonus":
        return "as a bonus"
    return f"{'chosen by the target' if step.uniforms is None else 'resampled'} in its place"


def test_every_outcome_of_a_round_is_named(show: Show) -> None:
    """And a trace's end is no stop token."""
    whole = one_text(5, gamma_max=3, steps=12)
    parts = (whole[:n] for n in range(2, 12))
    dense = next(part for part in parts if list(part.rounds(3))[-1].outcome == "cut")
    last = int(dense.committed_ids[-1])
    stopped = replace(dense, texts=(replace(dense.texts[0], stop_ids=(last,)),))
    endings = set()
    for trace, gamma in ((one_text(1, sampled=True, steps=9), None), (dense, 3), (stopped, 3)):
        opened = show(Stepper(trace, gamma=gamma))
        opened.page.locator("canvas").focus()
        for step in trace if gamma is None else trace.rounds(gamma):
            if step.gamma:
                endings.add(ending(step, trace.texts[0].stop_ids))
                assert ending(step, trace.texts[0].stop_ids) in opened.sentence
            opened.press("l")
    assert len(endings) == 5
