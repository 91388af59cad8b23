"""The widgets' stories by keyboard and by mouse, as pages of their own: no kernel, no network."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moespac_nb import Step
from moespac_nb.estimator.utility import RULES, make_estimator
from moespac_widgets import DemandMap, Stepper, UtilityInspector, write_page
from tests.helpers.trace_strategies import one_text
from tools.support.browser import PIXELS, open_page, without_a_fault

pytestmark = [pytest.mark.browser]


def test_the_stepper_is_stepped_played_and_asked_by_keyboard(browser: Any, tmp_path: Path) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = open_page(browser, Stepper(trace, step=2).to_html(tmp_path / "s.html"))
    page = opened.page
    page.keyboard.press("Tab")  # to the first button: the player's keys work from anywhere inside
    opened.press("l", "ArrowRight", "j")
    assert opened.sentence.startswith("Round 3: ")
    opened.press("End")
    assert opened.sentence.startswith("Round 8: ")
    opened.press("Home", "k")
    page.wait_for_function("() => document.querySelector('.ms-sentence').textContent.startsWith('Round 1')")
    assert page.get_by_role("button", name="Pause").count() == 1
    opened.press("k", "Home", "l")
    now = int(opened.sentence.split()[1].rstrip(":"))
    step = trace[now]
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
    without_a_fault(opened)


def test_the_stepper_is_scrubbed_and_asked_by_mouse_and_comes_back_after_a_reload(
    browser: Any, tmp_path: Path
) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = open_page(browser, Stepper(trace).to_html(tmp_path / "s.html"))
    page = opened.page
    slider = page.get_by_role("slider")
    box = slider.bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.5, box["y"] + box["height"] / 2)
    opened.settle()
    assert opened.sentence.startswith("Round 4: ")
    step = trace[4]
    page.locator(".ms-card").first.click()
    opened.settle()
    assert page.locator(".ms-card[aria-pressed=true]").count() == 1
    map_ = page.locator("canvas").bounding_box()
    page.mouse.click(map_["x"] + 34 + (map_["width"] - 34) / 6 * 3.5, map_["y"] + 5)
    opened.settle()
    asked = int(step.counts[0, 3])
    assert page.locator(".ms-card.asks").count() == asked
    page.get_by_text("Show as table").click()
    page.wait_for_selector(".ms-more table")
    rows = page.locator(".ms-more tbody tr")
    assert rows.count() == step.gamma + 1
    page.wait_for_function("() => location.hash.includes('expert=3')")
    page.reload()
    page.wait_for_function("() => document.querySelector('.ms-sentence')?.textContent.startsWith('Round 4')")
    assert page.locator(".ms-card.asks").count() == asked
    without_a_fault(opened)


@pytest.mark.full
def test_a_view_code_brings_a_view_back_and_a_bad_one_is_explained(browser: Any, tmp_path: Path) -> None:
    opened = open_page(browser, Stepper(one_text(3, steps=9)).to_html(tmp_path / "s.html"))
    code = opened.page.get_by_label("view code: paste one and press Enter")
    code.fill("step=5&layer=1&expert=2")
    code.press("Enter")
    opened.settle()
    assert opened.sentence.startswith("Round 5: ")
    code.fill("step=500")
    code.press("Enter")
    alert = opened.page.get_by_role("alert")
    assert "step is 500; expected: 0 … 8" in alert.inner_text()
    opened.page.locator("canvas").focus()
    opened.press("l")
    assert not alert.is_visible()
    opened.page.get_by_role("button", name="Copy this view").click()
    assert code.input_value() == "step=6&token=-1&layer=1&expert=2"
    assert opened.problems == []


def test_the_demand_map_follows_an_expert_by_keyboard_and_a_step_by_mouse(
    browser: Any, tmp_path: Path
) -> None:
    trace = one_text(3, steps=9)
    path = DemandMap(trace, against=one_text(4), layer=0, expert=0).to_html(tmp_path / "d.html")
    opened = open_page(browser, path)
    page = opened.page
    page.locator("canvas").first.focus()
    opened.press("ArrowDown", "ArrowRight", "l", "l")
    assert f"Expert 1: positions {trace.counts[2, 1, 1]}," in opened.sentence
    over_time = page.locator("canvas").nth(1).bounding_box()
    page.mouse.click(over_time["x"] + 34 + (over_time["width"] - 37) / 9 * 6.5, over_time["y"] + 3 + 20 * 4.5)
    opened.settle()
    assert f"Expert 4: positions {trace.counts[6, 1, 4]}," in opened.sentence
    show = page.get_by_label("Show", exact=True)
    show.select_option("bit")
    opened.settle()
    asked = int((trace.counts[6, 1] > 0).sum())
    assert f"the window asks for {asked} experts" in opened.sentence
    show.select_option("domains")
    opened.settle()
    assert "bits apart" in opened.sentence
    without_a_fault(opened)


def test_the_inspector_says_why_an_expert_moved_under_each_rule(browser: Any, tmp_path: Path) -> None:
    trace = one_text(3, steps=9)
    opened = open_page(browser, UtilityInspector(trace, rule="paper").to_html(tmp_path / "u.html"))
    page = opened.page
    page.get_by_label("expert", exact=True).select_option("2")
    page.get_by_label("layer", exact=True).select_option("1")
    for rule in RULES:
        page.get_by_label("Rule", exact=True).select_option(rule)
        page.locator("canvas").first.focus()
        opened.press("Home")
        machine = make_estimator(rule, 2, 6, K=4, gamma=int(trace.gamma.max()))
        for step in trace:
            machine.update(step.counts)
            seen = machine.state().of(1, 2)
            assert f"expert 2: f = {seen['f']:.0f}. " in opened.sentence
            # "…: s rises from 0 to 1." and "…: 1; it was 0.": what s is, is said
            said = re.search(r"(?:to|at|cut at 4:) (\d)(?: already)?[.;]", opened.sentence)
            assert int(said[1]) == seen["s"]
            opened.press("l")
    without_a_fault(opened)


def test_widgets_on_one_page_move_together_and_come_back_after_a_reload(browser: Any, tmp_path: Path) -> None:
    trace = one_text(3, steps=9)
    path = write_page(
        tmp_path / "all.html", [Stepper(trace), DemandMap(trace), UtilityInspector(trace)], "All"
    )
    opened = open_page(browser, path)
    opened.page.locator("canvas").first.focus()
    opened.press("l", "l", "l")
    sentences = opened.page.locator(".ms-sentence").all_text_contents()
    assert [sentence[:7] for sentence in sentences] == ["Round 3", "Step 3,", "Step 3,"]
    opened.page.wait_for_function("() => location.hash.includes('step=3')")
    opened.page.reload()
    opened.page.wait_for_function(
        "() => [...document.querySelectorAll('.ms-sentence')].every(s => / 3[:,]/.test(s.textContent))"
    )
    without_a_fault(opened)


@pytest.mark.full
def test_text_verdicts_and_tables_follow_every_round(browser: Any, tmp_path: Path) -> None:
    for trace in (one_text(1, sampled=True, steps=30), one_text(2, steps=30)):
        opened = open_page(browser, Stepper(trace).to_html(tmp_path / "s.html"))
        opened.page.locator("canvas").focus()
        text = ""
        for step in trace:
            text += "".join(f"«{token}»" for token in step.emitted)
            shown = opened.page.locator(".ms-text").inner_text()
            assert shown.endswith(text)
            assert opened.page.locator("button.ms-card.accepted").count() == step.accepted
            assert opened.page.locator("button.ms-card.rejected").count() == (step.accepted < step.gamma)
            assert opened.page.locator("div.ms-card.own").count() == 1
            opened.press("l")
        without_a_fault(opened)
        opened.page.close()


def test_dark_light_and_reduced_motion_draw_the_map_in_the_pages_own_ink(
    browser: Any, tmp_path: Path
) -> None:
    path = Stepper(one_text(3, steps=4)).to_html(tmp_path / "s.html")
    seen = {}
    for scheme in ("light", "dark"):
        opened = open_page(browser, path, scheme, reduced_motion="reduce")
        assert opened.page.get_by_label("Speed").input_value() == "1"
        opened.settle()
        drawn, seen[scheme] = opened.page.evaluate(PIXELS)
        assert drawn > 0.3
        without_a_fault(opened)
        opened.page.close()
    assert seen["light"] > 128 > seen["dark"]


def test_what_the_details_name_is_chosen_and_the_text_leads_to_its_rounds_by_mouse(
    browser: Any, tmp_path: Path
) -> None:
    trace = one_text(3, sampled=True, steps=9)
    opened = open_page(browser, Stepper(trace, step=6, token=0).to_html(tmp_path / "s.html"))
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
    without_a_fault(opened)


def ending(step: Step, stop_ids: tuple[int, ...]) -> str:
    """What a reader is told of a round's end."""
    if step.outcome == "cut":
        stopped = int(step.emitted[-1]) in stop_ids
        return "the text ends with a stop token" if stopped else "what was recorded of the text ends here"
    if step.outcome == "bonus":
        return "as a bonus"
    return f"{'chosen by the target' if step.uniforms is None else 'resampled'} in its place"


def test_every_outcome_of_a_round_is_named_and_a_traces_end_is_no_stop_token(
    browser: Any, tmp_path: Path
) -> None:
    whole = one_text(5, gamma_max=3, steps=12)
    parts = (whole[:n] for n in range(2, 12))
    dense = next(part for part in parts if list(part.rounds(3))[-1].outcome == "cut")
    last = int(dense.committed_ids[-1])
    stopped = replace(dense, texts=(replace(dense.texts[0], stop_ids=(last,)),))
    seen = set()
    for trace, gamma in ((one_text(1, sampled=True, steps=9), None), (dense, 3), (stopped, 3)):
        opened = open_page(browser, Stepper(trace, gamma=gamma).to_html(tmp_path / "s.html"))
        opened.page.locator("canvas").focus()
        for step in trace if gamma is None else trace.rounds(gamma):
            if step.gamma:
                seen.add(ending(step, trace.texts[0].stop_ids))
                assert ending(step, trace.texts[0].stop_ids) in opened.sentence
            opened.press("l")
        without_a_fault(opened)
        opened.page.close()
    assert len(seen) == 5
