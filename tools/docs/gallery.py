"""The pictures and the page of docs/gallery.md, light and dark.

    python -m tools.docs.gallery [NAME ... | page]

Each is a widget's own page in Chromium, with a short decode of the bundled pair. A widget gets its picture by
one more line in SHOTS.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import moespac_nb
from moespac_nb import Sampling, Trace
from moespac_nb.datasets.traces import load_trace
from moespac_nb.simulation.replay import replay
from moespac_widgets import (
    BalancerExplorer,
    BudgetLab,
    Dashboard,
    DemandMap,
    LiveView,
    PlacementGraph,
    Race,
    Stepper,
    Timeline,
    UtilityInspector,
)
from tools.docs.palette_png import png
from tools.support.browser import browser_of, find_browser, open_page

ROOT = Path(__file__).resolve().parents[2]

PICTURES = ROOT / "docs/gallery"
LARGEST_BYTES = 90_000  # of a widget's picture


class Shot(NamedTuple):
    make: Callable[[], LiveView | Dashboard]
    scheme: str
    part: str = ".moespac"  # of the page


@cache
def decoded(domain: str) -> Trace:
    """A sampled decode of the bundled pair, the same each time."""
    model, draft = moespac_nb.load_pair()
    prompt = moespac_nb.load_prompts(domain, half="report")[5].text
    options = {"gamma": 5, "sampling": Sampling("sample", temperature=0.8), "max_new_tokens": 120, "seed": 3}
    return moespac_nb.record(model, prompt, draft=draft, stop_ids=(), **options)


def stepper() -> LiveView:
    trace = decoded("math")
    return Stepper(trace, step=6, token=2, layer=3, expert=int(trace[6].experts[1, 3, 0]))


def domains() -> LiveView:
    both = decoded("math"), decoded("code")
    return DemandMap(both[0], against=both[1], names=("math", "code"), layer=7, show="domains")


def timeline(align: str) -> LiveView:
    """Four windows of one policy, above those of another that takes longer for them."""
    results = [replay(decoded("math"), name, "25%") for name in ("recency", "on-demand")]
    start_s, end_s = results[0].windows_s[6][0], results[0].windows_s[9][1]
    view = {"start_us": int(1e6 * start_s), "span_us": int(1e6 * (end_s - start_s)), "align": align}
    return Timeline(*results, step=7, **view)


def lab(**view: Any) -> LiveView:
    return BudgetLab(load_trace("math", dense=True, half="report"), budget="25%", gamma=4, **view)


def race(share: float) -> LiveView:
    """At a share of the time that the slowest takes."""
    made = Race(
        load_trace("math", dense=True, half="report")[:96], ["spac-joint", "recency", "on-demand"], gamma=4
    )
    made.time_us = int(share * made._limits["time_us"][1])
    return made


@cache
def dashboard() -> Dashboard:
    return Dashboard("math", gamma=4, step=7)


def explorer() -> LiveView:
    return BalancerExplorer(
        load_trace("math", "sample", dense=True, half="report")[:160], gamma=4, step=9, layer=3
    )


def placement(**view: Any) -> LiveView:
    trace = load_trace("math", "sample", dense=True, half="report")[:160]
    return PlacementGraph(trace, gamma=4, step=9, layer=3, **view)


SHOTS = {
    "dashboard-light": Shot(dashboard, "light", "body"),
    "dashboard-dark": Shot(dashboard, "dark", "body"),
    "stepper-light": Shot(stepper, "light"),
    "stepper-dark": Shot(stepper, "dark"),
    "demand-map-light": Shot(lambda: DemandMap(decoded("math"), step=6, layer=3), "light"),
    "demand-map-domains-dark": Shot(domains, "dark"),
    "utility-inspector-light": Shot(lambda: UtilityInspector(decoded("math"), step=18, layer=3), "light"),
    "utility-inspector-dark": Shot(lambda: UtilityInspector(decoded("math"), step=18, layer=3), "dark"),
    "timeline-light": Shot(lambda: timeline("start"), "light"),
    "timeline-dark": Shot(lambda: timeline("window"), "dark"),
    "budget-lab-light": Shot(lambda: lab(beside="on-demand"), "light"),
    "budget-lab-dark": Shot(lambda: lab(ask="guess", guess=300), "dark"),
    "balancer-explorer-light": Shot(explorer, "light"),
    "balancer-explorer-dark": Shot(explorer, "dark"),
    "placement-graph-light": Shot(placement, "light"),
    "placement-graph-dark": Shot(lambda: placement(view="together"), "dark"),
    "race-light": Shot(lambda: race(0.2), "light"),
    "race-dark": Shot(lambda: race(1.0), "dark"),
}


def main() -> None:
    wanted = sys.argv[1:] or [*SHOTS]
    chromium = find_browser()
    if chromium is None:
        raise SystemExit("no Chromium: install one, or name it in MOESPAC_CHROMIUM")
    PICTURES.mkdir(parents=True, exist_ok=True)
    with browser_of(chromium) as browser, tempfile.TemporaryDirectory() as folder:
        for name in wanted:
            shot = SHOTS[name]
            opened = open_page(browser, shot.make().to_html(Path(folder) / "page.html"), shot.scheme)
            if shot.part == "body":
                opened.page.set_viewport_size({"width": 1280, "height": 900})
            opened.settle()
            path = PICTURES / f"{name}.png"
            path.write_bytes(png(opened.page.locator(shot.part).screenshot()))
            faults = [*opened.problems, *opened.requests]
            largest = LARGEST_BYTES * opened.page.locator(".moespac").count()
            opened.page.close()
            print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1000:.0f} kB")
            if faults or path.stat().st_size > largest:
                raise SystemExit(f"{name}: {faults or f'larger than {largest / 1000:.0f} kB'}")


if __name__ == "__main__":
    main()
