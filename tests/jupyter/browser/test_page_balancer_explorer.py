"""Balancer explorer as a page of its own: its story by keyboard and mouse, its sums beside Python's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb.balancer import Joint, PerLayer, solve
from moespac_nb.trace.step import MoEShape
from moespac_widgets import BalancerExplorer
from moespac_widgets.views.balancer_explorer.balancer_explorer import UNITS, changed
from tests.helpers.balancer_instances import instance
from tools.support.browser import Opened, open_page, without_a_fault
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser]
NAMES = {
    "joint": "● joint programme",
    "max": "▲ per layer, slower lane",
    "difference": "■ per layer, difference",
}
ROWS = """() => [...document.querySelectorAll('.ms-more tbody tr')].map(
  row => [...row.cells].map(cell => cell.textContent))"""


def rows_of(opened: Opened) -> list[list[str]]:
    opened.page.locator("summary").first.click()
    opened.page.wait_for_selector(".ms-more table")
    return opened.page.evaluate(ROWS)


def agree(browser: Any, folder: Path, seed: int) -> None:
    """Candidates, what they break and who chooses them, as moespac_nb.balancer finds, under any sliders."""
    rng = np.random.default_rng(seed)
    percents = dict(zip(UNITS, rng.choice([25, 60, 100, 160, 400], len(UNITS)).tolist(), strict=True))
    given = instance(seed).table()
    slots = int(rng.integers(1, given.slots + 1))
    widget = BalancerExplorer(given, slots=slots, **percents)
    opened = open_page(browser, widget.to_html(folder / "b.html"))
    table = changed(given, slots, percents)
    joint = Joint(table)
    taus = {
        "joint": solve(joint).tau,
        "max": solve(PerLayer(table, "max"), "enumerate").tau,
        "difference": solve(PerLayer(table, "difference"), "enumerate").tau,
    }
    alone, among = PerLayer(table).explain(), joint.explain(taus["joint"])
    for row, own, other in zip(rows_of(opened), alone, among, strict=True):
        assert [int(row[0]), int(row[1])] == [own["layer"], own["tau"]]
        assert float(row[2]) == pytest.approx(1e3 * own["cpu_s"], abs=0.006)
        assert float(row[3]) == pytest.approx(1e3 * own["gpu_s"], abs=0.006)
        assert [int(row[4]), int(row[5])] == [own["hot"], own["loads"]]
        assert set(row[6].split(", ")) - {"–"} == set(own["binding"])
        assert set(row[7].split(", ")) - {"–"} == {name.split()[0] for name in other["binding"]}
        chosen = {NAMES[name] for name, tau in taus.items() if tau[own["layer"]] == own["tau"]}
        assert set(row[8].split(", ")) - {""} == {part for name in chosen for part in name.split(", ")}
    without_a_fault(opened)
    opened.page.close()


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_browsers_sums_are_the_balancers(browser: Any, tmp_path: Path, seed: int) -> None:
    agree(browser, tmp_path, seed)


@pytest.mark.full
def test_the_browsers_sums_are_the_balancers_for_many(browser: Any, tmp_path: Path) -> None:
    for seed in range(3, 40):
        agree(browser, tmp_path, seed)


def test_windows_layers_thresholds_and_times_are_gone_through_by_keyboard(
    browser: Any, tmp_path: Path
) -> None:
    trace = made_up(MoEShape(layers=4, experts=16, top_k=2), gamma=3, steps=12)
    widget = BalancerExplorer(trace, budget="20%", step=3)
    opened = open_page(browser, widget.to_html(tmp_path / "b.html"))
    page = opened.page
    assert "PuLP’s, proven the best" in page.locator(".ms-body").inner_text()
    page.locator("canvas").focus()
    opened.press("ArrowRight", "ArrowRight", "ArrowDown")
    assert opened.sentence.startswith("Window 3, layer 2: ")
    assert "Layer 2, τ = 2: CPU" in page.locator(".ms-body").inner_text()
    opened.press("l", "Escape")
    assert opened.sentence.startswith("Window 4, layer 2: ")
    page.get_by_label("one copy").focus()
    opened.press("ArrowRight", "ArrowRight")
    assert page.get_by_label("one copy").get_attribute("aria-valuetext") == "125 %"
    assert opened.sentence.startswith("Window 4, layer 2: ")  # arrows are the slider's own
    # A saved page does not solve: it says of which settings its thresholds are.
    told = page.locator(".ms-body").inner_text()
    assert "this saved page solves nothing" in told
    assert "one copy 100 %" in told
    assert opened.sentence.endswith("made for other settings, and may not be the best for these.")
    page.get_by_label("slots").focus()
    opened.press("Home")
    assert "slots 1," in page.locator(".ms-body").inner_text()
    assert page.locator(".ms-summary tbody tr").first.locator("td").nth(1).inner_text().endswith(" of 1")
    without_a_fault(opened)


def test_a_candidate_is_clicked_a_formulation_chosen_and_all_comes_back_after_a_reload(
    browser: Any, tmp_path: Path
) -> None:
    table = instance(5).table()
    widget = BalancerExplorer(table, copy=400)
    opened = open_page(browser, widget.to_html(tmp_path / "b.html"), "dark", reduced_motion="reduce")
    page = opened.page
    assert page.locator(".ms-player").count() == 0  # one window has nothing to go through
    box = page.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 34 + (box["width"] - 34) / 4 * 3.5, box["y"] + 42 * 2.5)
    page.get_by_label("formulation").select_option(label="▲ per layer, slower lane")
    opened.settle()
    times = {**dict.fromkeys(UNITS, 100), "copy": 400}
    candidates = PerLayer(changed(table, table.slots, times)).explain()
    forbidden = [row for row in candidates if row["layer"] == 3 and not row["feasible"]]
    assert page.locator(".ms-chart rect.ms-forbidden").count() == len(forbidden)
    page.wait_for_function("() => location.hash.includes('layer=3&tau=3&formulation=per-layer&')")
    page.reload()
    page.wait_for_function("() => document.querySelector('.ms-sentence')?.textContent.includes('layer 3')")
    assert page.get_by_label("formulation").input_value() == "per-layer"
    without_a_fault(opened)


def test_the_fast_path_is_asked_while_a_slider_is_held_and_pulp_when_it_is_let_go(
    browser: Any, tmp_path: Path
) -> None:
    """A page whose kernel takes down what it is asked, and answers with the fast path's thresholds."""
    widget = BalancerExplorer(made_up(MoEShape(4, 16, 2), gamma=3, steps=12), budget="20%", step=3)
    path = widget.to_html(tmp_path / "b.html")
    page = path.read_text(encoding="utf-8").replace('"_kernel": false', '"_kernel": true')
    answers = """send(message) {
      (globalThis.asked ??= []).push(message);
      const solved = { ...this.state._data.first, how: message.values.how };
      const value = message.command === 'solve' ? solved : null;
      setTimeout(() => this.handlers['msg:custom'].forEach(each => each({ answer: message.ask, value }, [])));
    }"""
    no_kernel = 'send() {\n    throw new Error("a page has no kernel");\n  }'
    assert no_kernel in page
    path.write_text(page.replace(no_kernel, answers))
    opened = open_page(browser, path)
    solved = (
        "() => (globalThis.asked ?? []).filter(each => each.command === 'solve').map(each => each.values)"
    )
    opened.page.wait_for_timeout(600)  # at rest
    before = len(opened.page.evaluate(solved))
    box = opened.page.get_by_label("slots").bounding_box()
    opened.page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    opened.page.mouse.down()
    for part in (0.4, 0.3, 0.2):
        opened.page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        opened.settle()
    opened.page.wait_for_timeout(600)  # held still, longer than rest takes
    asked = opened.page.evaluate(solved)[before:]
    assert asked
    assert {each["how"] for each in asked} == {"lagrangian"}
    opened.page.mouse.up()
    opened.page.wait_for_timeout(100)
    last = opened.page.evaluate(solved)[-1]
    slots = opened.page.get_by_label("slots").get_attribute("aria-valuetext").split()[0]
    assert (last["how"], str(last["slots"])) == ("pulp", slots)
