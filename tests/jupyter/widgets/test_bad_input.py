"""What no live widget can show is refused in words; what is too much is thinned, soon, and said so."""

from __future__ import annotations

import resource
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError, Trace
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
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
from moespac_widgets.views.trace_rounds import SENT_BYTES
from tests.helpers.jupyter.all_widgets import MAKERS, small
from tests.helpers.jupyter.sizes import buffers, with_geometry
from tools.support.synthetic_trace import made_up

EVERY = pytest.mark.parametrize("name", [*MAKERS, "Dashboard"])
BUILD: dict[str, Any] = {**MAKERS, "Dashboard": lambda trace: Dashboard(trace, "recency", "20%")}


def views(made: Any) -> tuple[LiveView, ...]:
    return made.views if isinstance(made, Dashboard) else (made,)


@EVERY
def test_a_trace_without_steps_is_refused(name: str) -> None:
    with pytest.raises(MoespacError, match=r"no steps?"):
        BUILD[name](small()[4:4])


@EVERY
@pytest.mark.parametrize("given", ["math.npz", None, 7, np.zeros(3), [1, 2]], ids=str)
def test_what_is_no_trace_is_refused_with_what_would_be(name: str, given: Any) -> None:
    if name == "Timeline":
        with pytest.raises(MoespacError, match="expected: what replay"):
            Timeline(given)
        return
    with pytest.raises(MoespacError, match=r"(trace|given|file).*(expected|is not there|no such)"):
        BUILD[name](given)


@EVERY
@pytest.mark.parametrize("steps", [1, 3])
def test_one_layer_and_one_expert_more_than_it_takes(name: str, steps: int, tmp_path: Path) -> None:
    trace = made_up(MoEShape(layers=1, experts=3, top_k=2), gamma=2, steps=steps)
    build = {
        "BalancerExplorer": lambda trace: BalancerExplorer(trace, budget="67%"),
        "PlacementGraph": lambda trace: PlacementGraph(trace, "recency", "67%"),
        "Timeline": lambda trace: Timeline(replay(trace, "recency", "67%")),
        "BudgetLab": lambda trace: BudgetLab(trace, budget="67%", machines=["rtx4090"], policies=["recency"]),
        "Race": lambda trace: Race(trace, budget="67%"),
        "Dashboard": lambda trace: Dashboard(trace, "recency", "67%"),
    }
    shown = build.get(name, BUILD[name])(trace)
    assert shown.to_html(tmp_path / "least.html").stat().st_size > 0
    for view in views(shown):
        code = view.view_code
        view.restore_view(code)
        assert view.view_code == code


@pytest.mark.parametrize("widget", [Stepper, DemandMap, UtilityInspector, PlacementGraph])
@pytest.mark.parametrize(("part", "most"), [("expert", 15), ("layer", 3), ("step", 11)])
@pytest.mark.parametrize("value", [99, -2, 1.5, "3", True, float("nan")], ids=str)
def test_an_unknown_expert_layer_or_step_is_refused(widget: Any, part: str, most: int, value: Any) -> None:
    with pytest.raises(MoespacError, match=rf"{part} is .*; expected: 0 to {most}"):
        widget(small(), **{part: value})


def test_amounts_of_words_and_unknown_labels_are_refused() -> None:
    trace = small()
    words = np.full(trace.counts.shape, "hot")
    with pytest.raises(MoespacError, match="amount 'x' has other values"):
        DemandMap(trace, amounts={"x": words})
    resident = np.zeros(trace.counts.shape, np.uint8)
    view = DemandMap(trace, amounts={"resident": resident}, labels={"resident": "modelled"})
    assert view._data["labels"] == {"counts": "measured", "resident": "modelled"}
    for labels in ({"resident": "guessed"}, {"counts": "modelled"}, {"other": "modelled"}):
        with pytest.raises(MoespacError, match="expected: measured, modelled, computed, of an amount"):
            DemandMap(trace, amounts={"resident": resident}, labels=labels)


def test_times_that_are_no_numbers_are_refused() -> None:
    trace = small()
    problem = next(iter(BalancerExplorer(trace, budget="20%")._tables.values()))
    broken = replace(problem, cpu_s=np.where(problem.cpu_s > 0, np.nan, problem.cpu_s))
    with pytest.raises(MoespacError, match=r"cpu_s.*expected"):
        BalancerExplorer(broken)


@pytest.fixture(scope="module")
def big() -> Trace:
    """1,000 steps of 94 layers x 128 experts, 8 to a token."""
    return with_geometry(94, 128, 1000, top_k=8)


@pytest.mark.full
@pytest.mark.slow
@EVERY
def test_a_big_trace_is_thinned_in_seconds_and_it_is_said(name: str, big: Trace) -> None:
    if name == "Timeline":  # the replays before it are the reader's
        results = [replay(big, policy, "20%") for policy in ("recency", "on-demand")]
        build = lambda _: Timeline(*results)  # noqa: E731
    else:
        build = BUILD[name]
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    made = build(big)
    took = time.process_time() - start
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"{name}: {took:.1f} s, {grown:.0f} MiB")
    for view in views(made):
        assert sum(len(buffer) for buffer in buffers(view._data)) <= 1.5 * SENT_BYTES
    assert any(view._notices for view in views(made)) or name == "UtilityInspector"
    assert took < 30
    assert grown < 1500
