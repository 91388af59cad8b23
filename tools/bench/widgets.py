"""How fast the widgets answer in real JupyterLab: python -m tools.bench.widgets [WIDGET ...] [--size 8x64]

Every live widget, or those that are named, each in a notebook of its own: from the input's event to the
end of the frame that it led to; first paint; what is left to draw after a hundred inputs; traffic; heap; and
beside it, in turns, a plotly FigureWidget for each chart, the way most notebooks do it. "notebook" is one
that has all of them. --write puts the figures into docs/gallery/bench.json and its tables into
docs/gallery.md; --travels measures scripts, data and pages, which needs no browser.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from tools.bench.browser import report, travels
from tools.bench.browser.page import (
    WATCH,
    WATCH_FIGURES,
    Traffic,
    drag,
    heap_mb,
    press,
    run_cell,
    scrub,
    spread,
)
from tools.bench.browser.shown import CASES, STEPS, Case, Input, setup, trace_of
from tools.support.browser import browser_of, find_browser
from tools.support.jupyterlab import OPEN, lab, write_notebook

ROOT = Path(__file__).resolve().parents[2]

SENTENCE, CHART = ".moespac .ms-sentence", ".js-plotly-plot .main-svg"
FIGURE_SLIDER = Input(".noUi-handle", ("ArrowRight",))
NOTEBOOK = "notebook"  # one that has all widgets
ROUNDS, PRESSES, FIGURE_PRESSES = 3, 30, 10


def one_widget(page: Any, case: Case, traffic: Traffic, figures: bool) -> dict[str, Any]:
    """All figures of the widget in cell 1, and of the FigureWidgets in cell 2."""
    found: dict[str, Any] = run_cell(page, 1, SENTENCE, case.views)
    page.wait_for_timeout(1500)
    slider = case.inputs["slider"]
    scrub(page, slider, 100)  # warm
    found["scrub_100"] = scrub(page, slider, 100)
    heap = [heap_mb(page)]
    for _ in range(2):
        scrub(page, slider, 500)
        page.wait_for_timeout(1500)  # until what was asked of the kernel has been answered
        heap.append(heap_mb(page))
    found |= {"heap_mb": heap, "websocket_mb": traffic.mb}
    page.evaluate(WATCH)
    if figures:
        found["figures"] = run_cell(page, 2, CHART, len(case.charts))
        page.wait_for_timeout(1500)
        found["figures"]["websocket_mb"] = round(traffic.mb - found["websocket_mb"], 2)
        page.evaluate(WATCH_FIGURES)
        press(page, FIGURE_SLIDER, 3, "figureWaits")
    waits: dict[str, list[float]] = {name: [] for name in case.inputs}
    redraws: list[float] = []
    for _ in range(ROUNDS):
        for name, moved in case.inputs.items():
            waits[name] += press(page, moved, PRESSES) if moved.keys else drag(page, moved)
        if figures:
            redraws += press(page, FIGURE_SLIDER, FIGURE_PRESSES, "figureWaits")
    found["inputs"] = {name: spread(some) for name, some in waits.items()}
    if figures:
        found["figures"] |= {"charts": len(case.charts), "step": spread(redraws)}
        ratio = found["figures"]["step"]["median_ms"] / found["inputs"]["key"]["median_ms"]
        found["figures"]["ratio"] = round(ratio, 1)
    return found


def all_widgets(page: Any, traffic: Traffic) -> dict[str, Any]:
    """What one notebook with all of them takes."""
    views = 0
    for cell, case in enumerate(CASES.values(), 1):
        views += case.views
        run_cell(page, cell, SENTENCE, views)
    page.wait_for_timeout(1500)
    return {"websocket_mb": traffic.mb, "heap_mb": [heap_mb(page)]}


def measure(name: str, size: str, steps: int, figures: bool, chromium: Path) -> dict[str, Any]:
    """A widget, in a JupyterLab and a browser that know nothing of the others."""
    cases = list(CASES.values()) if name == NOTEBOOK else [CASES[name]]
    charts = f"figures(trace, {cases[0].charts}, **alike)"
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        trace_of(size, steps).save(folder / "trace.npz")
        cells = [setup(size), *(case.cell for case in cases), *([charts] if figures else [])]
        write_notebook(folder / "bench.ipynb", cells)
        traffic = Traffic()
        with browser_of(chromium) as browser, lab(folder, browser) as opened:
            page = opened.page
            traffic.watch(page)
            page.evaluate(OPEN, "bench.ipynb")
            run_cell(page, 0, "body", 1)
            traffic.total = 0  # of the notebook, without the kernel's greetings
            found = (
                all_widgets(page, traffic)
                if name == NOTEBOOK
                else one_widget(page, cases[0], traffic, figures)
            )
            version = page.context.browser.version
    where = {
        "steps": steps,
        "cores": os.cpu_count(),
        "chromium": version,
        "load": round(os.getloadavg()[0], 1),
    }
    return {**found, "where": where}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("widgets", nargs="*", metavar="WIDGET", help=f"of {', '.join(CASES)}, {NOTEBOOK}")
    parser.add_argument("--size", choices=list(STEPS), default="48x128")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--no-figures", action="store_true", help="the widgets alone")
    parser.add_argument("--travels", action="store_true", help="scripts, data and pages, and nothing else")
    parser.add_argument("--out", type=Path, help="a JSON file for this run's figures")
    parser.add_argument("--write", action="store_true", help="into docs/gallery/bench.json and gallery.md")
    options = parser.parse_args()
    names = options.widgets or [*CASES, NOTEBOOK]
    unknown = [name for name in names if name not in (*CASES, NOTEBOOK)]
    if unknown:
        parser.error(f"{unknown[0]!r} is no widget; expected: {', '.join(CASES)}, {NOTEBOOK}")
    chromium = find_browser()
    if chromium is None and not options.travels:
        raise SystemExit("no Chromium: install one, or name it in MOESPAC_CHROMIUM")

    def keep(found: dict[str, Any]) -> None:  # after each widget: a run that is stopped has measured
        if options.out:
            options.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        if options.write:
            report.write(found)

    found: dict[str, Any] = {}
    if options.travels:
        found["travels"] = travels.measure(names)
        keep(found)
    for name in [] if options.travels else names:
        assert chromium
        figures = not options.no_figures and name != NOTEBOOK
        steps = options.steps or STEPS[options.size]
        found.setdefault(options.size, {})[name] = measure(name, options.size, steps, figures, chromium)
        keep(found)
        print(name, json.dumps(found[options.size][name]), file=sys.stderr, flush=True)
    print(report.tables(found))
    missed = report.missed(found)
    if missed:
        raise SystemExit("\n".join(["missed:", *missed]))


if __name__ == "__main__":
    main()
