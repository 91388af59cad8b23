"""Every live widget of the package, made of one small trace: for what all of them must do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moespac_nb import Trace
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from moespac_widgets import (
    BalancerExplorer,
    BudgetLab,
    DemandMap,
    LiveView,
    PlacementGraph,
    Race,
    Stepper,
    Timeline,
    UtilityInspector,
)
from tools.support.synthetic_trace import made_up

SMALL = MoEShape(layers=4, experts=16, top_k=2)
FEW: dict[str, Any] = {
    "machines": ["rtx4090"],
    "models": ["qwen3-30b-a3b"],
    "policies": ["recency", "on-demand"],
}

MAKERS: dict[str, Callable[[Trace], LiveView]] = {
    "Stepper": Stepper,
    "DemandMap": DemandMap,
    "UtilityInspector": UtilityInspector,
    "BalancerExplorer": lambda trace: BalancerExplorer(trace, budget="20%"),
    "PlacementGraph": lambda trace: PlacementGraph(trace, "recency", "20%"),
    "Timeline": lambda trace: Timeline(*(replay(trace, name, "20%") for name in ("recency", "on-demand"))),
    "BudgetLab": lambda trace: BudgetLab(trace, **FEW),
    "Race": Race,
}


def small(steps: int = 12) -> Trace:
    return made_up(SMALL, gamma=4, steps=steps, seed=1)
