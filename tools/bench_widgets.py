"""How fast widgets answer in real JupyterLab: python tools/bench_widgets.py [--steps 200] [--out FILE.json]

A trace of 48 layers x 128 experts, 8 drafted tokens a step, is shown by the stepper, and the same counts by
a plotly FigureWidget, the way most notebooks do it. Measured: from the input's event to the end of the frame
that it led to; from the start of a cell to its first sentence; what travels over the websocket; the heap.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from conftest import find_browser  # noqa: E402
from jupyter import OPEN, lab, write_notebook  # noqa: E402

from moespac_nb.step import Geometry, Prefill, Step, Top  # noqa: E402
from moespac_nb.trace import Text, Trace  # noqa: E402

LAYERS, EXPERTS, TOP_K, GAMMA = 48, 128, 8, 8

SETUP = """
import numpy as np, ipywidgets, plotly.graph_objects as go
from moespac_nb import Trace
from moespac_widgets import Stepper
trace = Trace.load("trace.npz")
"""
STEPPER = "stepper = Stepper(trace)\nstepper"
FIGURE = """
figure = go.FigureWidget(go.Heatmap(z=trace.counts[0], zmin=0, zmax=9))
slider = ipywidgets.IntSlider(max=len(trace) - 1)
def show(change):
    figure.data[0].z = trace.counts[change.new]
slider.observe(show, "value")
ipywidgets.VBox([slider, figure])
"""
RUN_CELL = """async i => {
  const panel = window.jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = i;
  window.begun = performance.now();
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
# Registered before the widget's own frame, so the message is read after the frame that the input led to.
WATCH = """() => {
  window.waits = [];
  const note = event => {
    if (!event.target.closest('.moespac')) return;
    if (event.type === 'keydown' && event.target.type === 'range') return; // its input comes next
    const t0 = event.timeStamp;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.waits.push(performance.now() - t0);
      port2.postMessage(0);
    });
  };
  document.addEventListener('keydown', note, true);
  document.addEventListener('input', note, true);
}"""
# plotly says when it has drawn; the wait is from the key to the end of that frame.
WATCH_FIGURE = """() => {
  let t0 = 0;
  document.addEventListener('keydown', event => { t0 = event.timeStamp; }, true);
  document.querySelector('.js-plotly-plot').on('plotly_afterplot', () => {
    requestAnimationFrame(() => window.waits.push(performance.now() - t0));
  });
}"""
SCRUB = """async n => {
  const slider = document.querySelector('.moespac input[type=range]');
  const begun = performance.now();
  for (let i = 0; i < n; i++) {
    slider.value = String(i % Number(slider.max));
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise(done => setTimeout(done, 5));
  }
  const last = performance.now();
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [last - begun, performance.now() - last];
}"""


def made_up(steps: int) -> Trace:
    """A trace of this size with random routing."""
    rng = np.random.default_rng(0)
    made, token, position = [], 1, 3
    for index in range(steps):
        accepted = int(rng.integers(0, GAMMA + 1))
        window = np.concatenate([[token], rng.integers(0, 1000, GAMMA)])
        emitted = np.concatenate([window[1 : accepted + 1], [int(rng.integers(0, 1000))]])
        targets = np.concatenate([window[1:], [0]])
        targets[accepted] = emitted[-1]
        scores = rng.random((GAMMA + 1, LAYERS, EXPERTS), np.float32)
        experts = np.argpartition(scores, TOP_K, axis=-1)[..., :TOP_K].astype(np.int16)
        made.append(
            Step(
                index=index, position=position, window=window, uniforms=None, target_ids=targets,
                draft_probs=np.full(GAMMA, 0.5, np.float32), target_probs=np.full(GAMMA, 0.5, np.float32),
                accepted=accepted, emitted=emitted, experts=experts,
                gate_weights=np.full(experts.shape, 1 / TOP_K, np.float32), experts_per_layer=EXPERTS,
                draft_top=Top(np.zeros((GAMMA, 1), np.int64), np.ones((GAMMA, 1), np.float32)),
                target_top=Top(targets[:, None], np.ones((GAMMA + 1, 1), np.float32)),
                draft_ms=1.0, verify_ms=1.0,
            )
        )  # fmt: skip
        token, position = int(emitted[-1]), position + len(emitted)
    text = Text(
        target="made up", draft="made up", mode="greedy", temperature=None, top_k=None, top_p=None,
        gamma=str(GAMMA), fan=None, seed=0, stop_ids=(), prompt_id=None, prompt="…", text=None,
        finish_reason="length", versions={},
    )  # fmt: skip
    prompt = np.zeros((3, LAYERS, TOP_K), np.int16) + np.arange(TOP_K, dtype=np.int16)
    prefill = Prefill(np.zeros(3, np.int64), prompt, np.full(prompt.shape, 1 / TOP_K, np.float32), 1.0)
    pieces = {token: f" w{token}" for token in range(1001)}
    return Trace.of(text, Geometry(LAYERS, EXPERTS, TOP_K), 1001, prefill, made, pieces)


def spread(waits: list[float]) -> dict[str, float]:
    return {
        "median_ms": round(statistics.median(waits), 1),
        "p95_ms": round(float(np.percentile(waits, 95)), 1),
        "n": len(waits),
    }


def heap_mb(page: Any) -> float:
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return round(used / 1e6, 1)


def scrub_100(page: Any) -> dict[str, float]:
    """A hundred steps as fast as they come; the processor time is the main thread's, whatever else runs."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_ms() -> float:
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"]) * 1000

    before = busy_ms()
    lasted, after = page.evaluate(SCRUB, 100)
    busy = (busy_ms() - before) / 100
    session.detach()
    return {"lasted_ms": round(lasted), "backlog_ms": round(after), "cpu_ms_a_step": round(busy, 1)}


def press(page: Any, place: str, key: str, times: int) -> list[float]:
    """Waits after keys pressed one by one, each after the answer to the last."""
    page.locator(place).last.focus()
    page.evaluate("() => { window.waits = []; }")
    for done in range(1, times + 1):
        page.keyboard.press(key)
        page.wait_for_function("n => window.waits.length >= n", arg=done, timeout=20_000)
    return list(page.evaluate("() => window.waits"))


def first_paint_ms(page: Any, cell: int, shown: str) -> float:
    page.evaluate(RUN_CELL, cell)
    page.wait_for_function(shown, timeout=240_000)
    return round(float(page.evaluate("() => performance.now() - window.begun")))


MAP, SLIDER, FIGURE_SLIDER = ".moespac canvas", ".moespac input[type=range]", ".noUi-handle"


def figures(page: Any, received: list[int]) -> dict[str, Any]:
    """The stepper's and the FigureWidget's, in turns, so that a busy machine is busy for both."""
    steppers: dict[str, Any] = {}
    plotly: dict[str, Any] = {}
    before = received[0]
    shown = "() => document.querySelector('.ms-sentence')?.textContent"
    steppers["first_paint_ms"] = first_paint_ms(page, 1, shown)
    page.wait_for_timeout(1500)
    steppers["websocket_mb"] = round((received[0] - before) / 1e6, 2)
    before = received[0]
    shown = "() => document.querySelector('.js-plotly-plot .main-svg')"
    plotly["first_paint_ms"] = first_paint_ms(page, 2, shown)
    page.wait_for_timeout(1500)
    plotly["websocket_mb"] = round((received[0] - before) / 1e6, 2)
    page.evaluate(WATCH)
    page.evaluate(WATCH_FIGURE)
    press(page, MAP, "l", 5)  # warm
    press(page, FIGURE_SLIDER, "ArrowRight", 5)
    steps: list[float] = []
    scrubs: list[float] = []
    redraws: list[float] = []
    for _ in range(5):
        steps += press(page, MAP, "l", 20)
        redraws += press(page, FIGURE_SLIDER, "ArrowRight", 20)
        scrubs += press(page, SLIDER, "ArrowLeft", 15)
    steppers |= {"step": spread(steps), "scrub": spread(scrubs)}
    plotly["step"] = spread(redraws)
    print(steppers, plotly, file=sys.stderr)
    steppers["scrub_100"] = scrub_100(page)
    heap_before = heap_mb(page)
    for _ in range(10):
        page.evaluate(SCRUB, 100)
    steppers["heap_mb"] = {"before": heap_before, "after_1000_steps": heap_mb(page)}
    ratio = round(plotly["step"]["median_ms"] / steppers["step"]["median_ms"], 1)
    return {"stepper": steppers, "figure_widget": plotly, "ratio_of_step_medians": ratio}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    made_up(options.steps).save(folder / "trace.npz")
    write_notebook(folder / "bench.ipynb", (SETUP, STEPPER, FIGURE))
    browser = find_browser()
    if browser is None:
        raise SystemExit("no Chromium: install one, or name it in MOESPAC_CHROMIUM")
    received = [0]

    def count(size: int) -> None:
        received[0] += size

    with lab(folder, browser) as opened:
        page = opened.page
        page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: count(len(frame))))
        page.evaluate(OPEN, "bench.ipynb")
        page.evaluate(RUN_CELL, 0)
        measured = figures(page, received)
    found = {"measured": f"{options.steps} steps x {LAYERS} layers x {EXPERTS} experts", **measured}
    shutil.rmtree(folder, ignore_errors=True)
    text = json.dumps(found, indent=2)
    print(text)
    if options.out:
        options.out.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
