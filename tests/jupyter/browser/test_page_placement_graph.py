"""Placement graph as a page of its own: its story by keyboard and mouse, its moments as the replay's."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from moespac_nb.simulation.slot_history import CPU, LATE, LOADED, READY
from moespac_nb.trace.step import MoEShape
from moespac_widgets import PlacementGraph
from moespac_widgets.views.placement_graph.placement_graph import laid_out
from tools.support.browser import Opened, Show
from tools.support.synthetic_trace import made_up

pytestmark = [pytest.mark.browser]
GEOMETRY = MoEShape(layers=4, experts=16, top_k=2)
HIGH, EDGE = 456, 8  # of the canvas, in the script
HOW = {READY: "from its slot", LATE: "copy awaited", LOADED: "copied on demand", CPU: "on the CPU lane"}
# Steps on, and says in how many frames something ran over the graph, and whether it came to rest.
STEP = """async () => {
  const over = document.querySelector('.ms-over');
  const pen = new OffscreenCanvas(over.width, over.height).getContext('2d', {willReadFrequently: true});
  const moving = () => {
    pen.clearRect(0, 0, over.width, over.height);
    pen.drawImage(over, 0, 0);
    return pen.getImageData(0, 0, over.width, over.height).data.some(value => value > 0);
  };
  document.querySelector('button[aria-label=Next]').click();
  let frames = 0;
  for (const start = performance.now(); performance.now() - start < 1500;) {
    await new Promise(requestAnimationFrame);
    if (moving()) frames++;
  }
  return [frames, !moving()];
}"""


@pytest.fixture(scope="module")
def trace() -> Any:
    return made_up(GEOMETRY, gamma=3, steps=20)


def agree(opened: Opened, widget: PlacementGraph, step: int, moment: int) -> None:
    """The table of a moment has who asked, how each was served, from which slot, and its score."""
    seen = widget.residency
    opened.restore(f"step={step}&moment={moment}")
    rows = opened.rows()
    owner = seen.owners(step, moment)[0].tolist()
    layers = range(4) if not moment else [moment - 1]
    cells = [(layer, int(e)) for layer in layers for e in np.flatnonzero(seen.counts[step, layer])]
    assert [(int(row[0]), int(row[1])) for row in rows] == cells
    for row, cell in zip(rows, cells, strict=True):
        assert int(row[2]) == seen.counts[step][cell]
        assert row[3] == HOW[int(seen.served[step][cell])]
        key = 16 * cell[0] + cell[1]
        assert row[4] == (str(owner.index(key)) if key in owner else "–")
        assert float(row[5]) == pytest.approx(float(seen.scores[step][cell]), abs=0.006)


def test_moments_forwards_and_back_are_the_replays(show: Show, trace: Any) -> None:
    widget = PlacementGraph(trace, "on-demand", "20%")
    opened = show(widget)
    opened.table()
    for step, moment in [(0, 0), (3, 2), (19, 4), (11, 1), (2, 3), (2, 0)]:
        agree(opened, widget, step, moment)


@pytest.mark.full
def test_every_moment_of_every_policy_is_the_replays(show: Show, trace: Any) -> None:
    for policy in ("cpu-only", "recency", "static-hot", "spac-joint", "next-window-oracle"):
        widget = PlacementGraph(trace, policy, "20%", expert_usage=trace)
        opened = show(widget)
        opened.table()
        for step in range(20):
            for moment in range(5):
                agree(opened, widget, step, moment)


def test_why_an_expert_was_evicted_is_told_by_keyboard(show: Show, trace: Any) -> None:
    widget = PlacementGraph(trace, "spac-joint", "20%")
    seen = widget.residency
    move = next(move for move in seen.moves if move.old >= 0 and move.window > 5 and not move.demand)
    layer, expert = divmod(move.old, 16)
    opened = show(widget)
    page = opened.page
    page.get_by_label("moment").focus()
    opened.press(*["ArrowRight"] * 4)
    page.locator("canvas").first.focus()
    opened.press(*["l"] * move.window)
    opened.press("ArrowDown", *["ArrowDown"] * layer, *["ArrowRight"] * expert)
    assert f"Layer {layer}, expert {expert}: " in opened.sentence
    said = re.search(
        r"evicted in window (\d+), .*?: its score ([\d.]+) was beaten by the score ([\d.]+) of layer (\d+), "
        r"expert (\d+), which its layer’s threshold τ = (\d+) let in and which took slot (\d+)",
        opened.sentence,
    )
    assert said
    why = seen.why(move.window, layer, expert)
    by_layer, by_expert = divmod(why.key, 16)
    tau = seen.tau[why.window, by_layer]
    expected = [why.window, why.old_score, why.score, by_layer, by_expert, tau, why.slot]
    assert [float(number) for number in said.groups()] == [float(number) for number in expected]
    assert why.score > why.old_score
    assert why.score >= tau
    opened.press("Escape")
    assert "expert " not in opened.sentence.split("had to go (modelled).")[1]


def test_slots_are_clicked_and_the_second_view_comes_back(show: Show, trace: Any) -> None:
    widget = PlacementGraph(trace, "recency", "20%", step=6)
    opened = show(widget, "dark")
    page = opened.page
    box = page.locator("canvas").first.bounding_box()
    places = dict(laid_out(GEOMETRY, widget.residency.slots).nodes(data="pos"))

    def click(node: Any) -> None:
        x, y = places[node]
        opened.click(box["x"] + x * box["width"], box["y"] + EDGE + y * (HIGH - 2 * EDGE))

    layer, expert = divmod(int(widget.residency.owners(6)[0][4]), 16)
    click(("slot", 4))
    assert f"Layer {layer}, expert {expert}: in slot 4" in opened.sentence or "under way" in opened.sentence
    click(("expert", 2, 9))
    assert "Layer 2, expert 9: " in opened.sentence
    frames, rests = page.evaluate(STEP)
    assert frames > 0
    assert rests
    page.get_by_label("view").first.select_option(label="experts asked for together")
    opened.settle()
    assert "Asked for by the same tokens most: " in opened.sentence
    page.wait_for_function("() => location.hash.includes('view=together')")
    page.reload()
    opened.says("same tokens")


def test_where_motion_is_unwelcome_nothing_runs(show: Show, trace: Any) -> None:
    opened = show(PlacementGraph(trace, "recency", "20%", step=6), reduced_motion="reduce")
    assert opened.page.evaluate(STEP) == [0, True]
    assert opened.sentence.startswith("Window 7: ")


@pytest.mark.full
def test_at_48_by_128_a_step_is_drawn_in_time(show: Show) -> None:
    trace = made_up(MoEShape(layers=48, experts=128, top_k=8), gamma=4, steps=20)
    opened = show(PlacementGraph(trace, "recency", "17%"))
    opened.page.locator("canvas").first.focus()
    took = opened.page.evaluate(
        """async () => {
          const took = [];
          for (let i = 0; i < 18; i++) {
            const start = performance.now();
            document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key: 'l', bubbles: true}));
            await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
            took.push(performance.now() - start);
          }
          return took;
        }"""
    )
    assert np.median(took) < 200  # the bound of a shared machine; docs/gallery.md has the measured times
