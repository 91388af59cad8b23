"""What is measured: each live widget as a reader would write its cell, and what he moves in it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import moespac_widgets
from moespac_nb import Trace
from moespac_nb.datasets.traces import load_trace
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from tools.support.synthetic_trace import made_up

ROOT = Path(__file__).resolve().parents[3]

GAMMAS = {"48x128": 8, "8x64": 4}
STEPS = {"48x128": 200, "8x64": 160}
PLAYER = ".ms-player input[type=range]"


@dataclass(frozen=True)
class Input:
    """What is moved: a key on a control, or a slider that is dragged; of those that fit, which one."""

    place: str
    keys: tuple[str, ...] = ()  # pressed in turn; none: it is a slider, and dragged
    which: int = 0


KEY, SLIDER = Input(".moespac", ("l",)), Input(PLAYER)


@dataclass(frozen=True)
class Case:
    """A widget's expression, where `trace` and `alike`, the draft length, are known; its inputs by name.

    charts: the kinds of FigureWidgets, one a chart, that show as much: see `plotly_way`.
    """

    make: str
    charts: tuple[str, ...]
    inputs: dict[str, Input] = field(default_factory=lambda: {"key": KEY, "slider": SLIDER})
    views: int = 1

    @property
    def cell(self) -> str:
        return f"view = {self.make}\nview"


TWO = 'replay(trace, "recency", "25%", **alike), replay(trace, "on-demand", "25%", **alike)'
BUDGET = ".ms-budget input[type=range]"

CASES = {
    "Stepper": Case("Stepper(trace, **alike)", ("map",)),
    "DemandMap": Case("DemandMap(trace, **alike)", ("map", "map", "line")),
    "UtilityInspector": Case("UtilityInspector(trace, **alike)", ("map", "bars", "line", "line")),
    "BalancerExplorer": Case(
        'BalancerExplorer(trace, budget="17%", **alike)',
        ("map", "line"),
        {"key": KEY, "slider": SLIDER, "unit time": Input(".ms-dials input[type=range]", which=1)},
    ),
    "PlacementGraph": Case(
        'PlacementGraph(trace, "spac-joint", "17%", **alike)',
        ("dots",),
        {"key": KEY, "slider": SLIDER, "moment": Input(".ms-moment input[type=range]")},
    ),
    "Timeline": Case(
        f"Timeline({TWO})",
        ("bars", "bars"),
        {"key": KEY, "slider": SLIDER, "zoom": Input(".moespac canvas", ("+", "-"))},
    ),
    "BudgetLab": Case(
        "BudgetLab(trace, **alike)",
        ("line", "bars", "bars"),
        {"key": Input(BUDGET, ("ArrowRight",)), "slider": Input(BUDGET)},
    ),
    "Race": Case("Race(trace, **alike)", ("line",)),
    "Dashboard": Case(
        "Dashboard(trace, **alike)",
        ("map", "map", "map", "line", "dots", "bars", "line", "bars", "bars"),
        {"key": KEY, "slider": SLIDER, "budget": Input(BUDGET)},
        views=5,
    ),
}


def trace_of(size: str, steps: int) -> Trace:
    """A made-up trace with locality, or the bundled pair's dense trace in arithmetic."""
    if size == "48x128":
        return made_up(MoEShape(48, 128, 8), GAMMAS[size], steps)
    return load_trace("math", "sample", dense=True, half="report")[:steps]


def alike(size: str) -> dict[str, int]:
    """The options that every widget takes: of a dense trace, the draft length."""
    return {"gamma": GAMMAS[size]} if size == "8x64" else {}


def made(name: str, trace: Trace, size: str) -> moespac_widgets.LiveView | moespac_widgets.Dashboard:
    """The widget that the cell makes, here."""
    public = {public: getattr(moespac_widgets, public) for public in moespac_widgets.__all__}
    return eval(CASES[name].make, {**public, "replay": replay, "trace": trace, "alike": alike(size)})


def setup(size: str) -> str:
    """The first cell: what all others need."""
    return "\n".join(
        [
            "from moespac_nb import Trace",
            "from moespac_nb.simulation.replay import replay",
            "from moespac_widgets import *",
            "from tools.bench.browser.plotly_way import figures",
            'trace = Trace.load("trace.npz")',
            f"alike = {alike(size)}",
        ]
    )
