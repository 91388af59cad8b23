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
from tests.helpers.jupyter.pages import with_a_kernel
from tools.support.browser import Show
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser]
NAMES = {
    "joint": "● joint program",
    "max": "▲ per layer, slower lane",
    "difference": "■ per layer, difference",
}


def replayed() -> BalancerExplorer:
    trace = made_up(MoEShape(layers=4, experts=16, top_k=2), gamma=3, steps=12)
    return BalancerExplorer(trace, budget="20%", step=3)


@pytest.mark.parametrize(
    "seed", [*range(3), *(pytest.param(n, marks=pytest.mark.full) for n in range(3, 40))]
)
def test_the_browsers_sums_are_the_balancers(show: Show, seed: int) -> None:
    """Candidates, what they break and what chooses them, under any sliders."""
    rng = np.random.default_rng(seed)
    percents = dict(zip(UNITS, rng.choice([25, 60, 100, 160, 400], len(UNITS)).tolist(), strict=True))
    given = instance(seed).table()
    slots = int(rng.integers(1, given.slots + 1))
    opened = show(BalancerExplorer(given, slots=slots, **percents))
    table = changed(given, slots, percents)
    joint = Joint(table)
    taus = {
        "joint": solve(joint).tau,
        "max": solve(PerLayer(table, "max"), "enumerate").tau,
        "difference": solve(PerLayer(table, "difference"), "enumerate").tau,
    }
    alone, among = PerLayer(table).explain(), joint.explain(taus["joint"])
    for row, own, other in zip(opened.table(), alone, among, strict=True):
        assert [int(row[0]), int(row[1])] == [own["layer"], own["tau"]]
        assert float(row[2]) == pytest.approx(1e3 * own["cpu_s"], abs=0.006)
        assert float(row[3]) == pytest.approx(1e3 * own["gpu_s"], abs=0.006)
        assert [int(row[4]), int(row[5])] == [own["hot"], own["loads"]]
        assert set(row[6].split(", ")) - {"–"} == set(own["binding"])
        assert set(row[7].split(", ")) - {"–"} == {name.split()[0] for name in other["binding"]}
        chosen = {NAMES[name] for name, tau in taus.items() if tau[own["layer"]] == own["tau"]}
        assert set(row[8].split(", ")) - {""} == {part for name in chosen for part in name.split(", ")}


def test_the_explorer_is_gone_through_by_keyboard(show: Show) -> None:
    opened = show(replayed())
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


def test_a_clicked_candidate_comes_back_after_a_reload(show: Show) -> None:
    table = instance(5).table()
    opened = show(BalancerExplorer(table, copy=400), "dark", reduced_motion="reduce")
    page = opened.page
    assert page.locator(".ms-player").count() == 0  # one window has nothing to go through
    box = page.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + 34 + (box["width"] - 34) / 4 * 3.5, box["y"] + 42 * 2.5)
    page.get_by_label("formulation").select_option(label="▲ per layer, slower lane")
    opened.settle()
    candidates = PerLayer(changed(table, table.slots, {**dict.fromkeys(UNITS, 100), "copy": 400})).explain()
    forbidden = [row for row in candidates if row["layer"] == 3 and not row["feasible"]]
    assert page.locator(".ms-chart rect.ms-forbidden").count() == len(forbidden)
    page.wait_for_function("() => location.hash.includes('layer=3&tau=3&formulation=per-layer&')")
    page.reload()
    opened.says("layer 3")
    assert page.get_by_label("formulation").input_value() == "per-layer"


def test_a_held_slider_asks_the_fast_path_a_free_one_pulp(show: Show, tmp_path: Path) -> None:
    path = replayed().to_html(tmp_path / "b.html")
    # It takes down what it is asked, and answers with the fast path's thresholds.
    with_a_kernel(
        path,
        """send(message) {
      (globalThis.asked ??= []).push(message);
      const buffers = [], { command, values: { how } } = message;
      const sent = ([name, part]) =>
        [name, part?.bytes ? { ...part, bytes: null, buffer: buffers.push(part.bytes) - 1 } : part];
      const first = Object.fromEntries(Object.entries(this.state._data.first).map(sent));
      const answer = { answer: message.ask, value: command === 'solve' ? { ...first, how } : null };
      setTimeout(() => this.handlers['msg:custom'].forEach(each => each(answer, buffers)));
    }""",
    )
    opened = show(path)
    page = opened.page

    def asked() -> list[dict[str, Any]]:
        solved = "(globalThis.asked ?? []).filter(each => each.command === 'solve').map(each => each.values)"
        questions: list[dict[str, Any]] = page.evaluate(solved)
        return questions

    page.wait_for_timeout(600)  # at rest
    before = len(asked())
    box = page.get_by_label("slots").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    for part in (0.4, 0.3, 0.2):
        page.mouse.move(box["x"] + part * box["width"], box["y"] + box["height"] / 2)
        opened.settle()
    page.wait_for_timeout(600)  # held still, longer than rest takes
    held = asked()[before:]
    assert {question["how"] for question in held} == {"lagrangian"}
    page.mouse.up()
    page.wait_for_timeout(100)
    last = asked()[-1]
    slots = page.get_by_label("slots").get_attribute("aria-valuetext").split()[0]
    assert (last["how"], str(last["slots"])) == ("pulp", slots)
