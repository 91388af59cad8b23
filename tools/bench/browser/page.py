"""What is measured in the open notebook: waits after an input, first paint, backlog, heap, traffic."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.bench.browser.shown import Input

MOVES = 30  # of a dragged slider, from one end of it to the other
# The clock starts with the key or the pointer's move, and stops after the frame that its event led to: it is
# asked for before the widget asks for its own, and the message is read when that frame has been drawn.
WATCH = """() => {
  window.waits = [];
  let raw = 0;
  const note = event => {
    if (!event.target.closest?.('.moespac')) return;
    if (event.type !== 'input') raw = event.timeStamp;
    if (event.type === 'pointermove' || (event.type === 'keydown' && event.target.type === 'range')) return;
    const t0 = raw;
    requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.waits.push(performance.now() - t0);
      port2.postMessage(0);
    });
  };
  for (const type of ['keydown', 'pointermove', 'input']) document.addEventListener(type, note, true);
}"""
# plotly says when it has drawn; the wait is from the key to the end of the frame in which the last chart did.
WATCH_FIGURES = """() => {
  window.figureWaits = [];
  const charts = [...document.querySelectorAll('.js-plotly-plot')];
  const left = new Set();
  let t0 = 0;
  document.addEventListener('keydown', event => {
    t0 = event.timeStamp;
    for (const chart of charts) left.add(chart);
  }, true);
  for (const chart of charts) chart.on('plotly_afterplot', () => {
    if (left.delete(chart) && !left.size) requestAnimationFrame(() => {
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => window.figureWaits.push(performance.now() - t0);
      port2.postMessage(0);
    });
  });
}"""
RUN = """async ([i, place, least]) => {
  const panel = window.jupyterapp.shell.currentWidget;
  panel.content.activeCellIndex = i;
  const begun = performance.now();
  let ran = 0;
  const { commands } = window.jupyterapp;
  const running = commands.execute('notebook:run-cell').then(() => { ran = performance.now(); });
  const shown = () => [...document.querySelectorAll(place)].filter(n => n.textContent).length >= least;
  const painted = await new Promise(done => {
    const look = () => {
      if (!shown()) return requestAnimationFrame(look);
      const { port1, port2 } = new MessageChannel();
      port1.onmessage = () => done(performance.now());
      port2.postMessage(0);
    };
    requestAnimationFrame(look);
  });
  await running;
  return [painted - begun, ran - begun];
}"""
SCRUB = """async ([place, which, n]) => {
  const slider = document.querySelectorAll(place)[which];
  const most = Number(slider.max);
  const begun = performance.now();
  for (let i = 0; i < n; i++) {
    slider.value = String(most - Math.abs(most - i % (2 * most)));
    slider.dispatchEvent(new Event('input', { bubbles: true }));
    await new Promise(done => setTimeout(done, 5));
  }
  const last = performance.now();
  await new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)));
  return [last - begun, performance.now() - last];
}"""


@dataclass
class Traffic:
    """Bytes over the websockets of a page, both ways."""

    total: int = 0

    def watch(self, page: Any) -> None:
        def count(frame: Any) -> None:
            self.total += len(frame)

        def opened(socket: Any) -> None:
            socket.on("framereceived", count)
            socket.on("framesent", count)

        page.on("websocket", opened)

    @property
    def mb(self) -> float:
        return round(self.total / 1e6, 2)


def spread(waits: list[float]) -> dict[str, float]:
    """Median and 95th percentile, in milliseconds."""
    return {
        "median_ms": round(statistics.median(waits)),
        "p95_ms": round(float(np.percentile(waits, 95))),
        "n": len(waits),
    }


def run_cell(page: Any, cell: int, place: str, least: int) -> dict[str, float]:
    """Seconds from running it until so many of `place` were painted, and until the kernel was through."""
    painted, ran = page.evaluate(RUN, [cell, place, least])
    return {"painted_s": round(painted / 1e3, 2), "ran_s": round(ran / 1e3, 2)}


def press(page: Any, moved: Input, times: int, waits: str = "waits") -> list[float]:
    """Waits after keys pressed one by one from the beginning on, each after the answer to the last."""
    page.locator(moved.place).nth(moved.which).focus()
    page.keyboard.press("Home")
    others = waits != "waits"  # FigureWidgets: a kernel answers later, and plotly may draw twice
    page.wait_for_timeout(2000 if others else 300)
    before = page.evaluate(f"() => window.{waits}.length")
    for done in range(times):
        page.keyboard.press(moved.keys[done % len(moved.keys)])
        page.wait_for_function(f"n => window.{waits}.length >= n", arg=before + done + 1, timeout=20_000)
        page.wait_for_timeout(100 if others else 0)
    return list(page.evaluate(f"n => window.{waits}.slice(n)", before))


def drag(page: Any, moved: Input) -> list[float]:
    """Waits after the moves of a slider that the pointer drags from near one end to the other, and back."""
    slider = page.locator(moved.place).nth(moved.which)
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    moves = min(MOVES, int(0.7 * int(slider.get_attribute("max"))))
    x = np.linspace(box["x"] + 0.1 * box["width"], box["x"] + 0.9 * box["width"], moves)
    middle = box["y"] + box["height"] / 2
    page.mouse.move(x[0], middle)
    page.mouse.down()
    page.wait_for_timeout(300)
    before = page.evaluate("() => window.waits.length")
    for done, to in enumerate([*x[1:], *x[-2::-1]], 1):
        page.mouse.move(to, middle)
        page.wait_for_function("n => window.waits.length >= n", arg=before + done, timeout=20_000)
    page.mouse.up()
    return list(page.evaluate("n => window.waits.slice(n)", before))


def scrub(page: Any, moved: Input, times: int) -> dict[str, float]:
    """So many inputs, one every 5 ms; the processor time is the main thread's, whatever else runs."""
    session = page.context.new_cdp_session(page)
    session.send("Performance.enable", {"timeDomain": "threadTicks"})

    def busy_ms() -> float:
        metrics = {one["name"]: one["value"] for one in session.send("Performance.getMetrics")["metrics"]}
        return float(metrics["TaskDuration"]) * 1000

    before = busy_ms()
    lasted, after = page.evaluate(SCRUB, [moved.place, moved.which, times])
    busy = (busy_ms() - before) / times
    session.detach()
    return {"lasted_ms": round(lasted), "backlog_ms": round(after), "cpu_ms_an_input": round(busy, 1)}


def heap_mb(page: Any) -> float:
    """What lives after garbage was collected."""
    session = page.context.new_cdp_session(page)
    session.send("HeapProfiler.collectGarbage")
    used = session.send("Runtime.getHeapUsage")["usedSize"]
    session.detach()
    return round(used / 1e6, 1)
