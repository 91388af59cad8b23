"""Dashboard: one decode, seen by stepper, demand map, placement graph, timeline and budget lab at once."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal

import ipywidgets

from moespac_nb import Trace
from moespac_nb.datasets.prompts import DOMAINS
from moespac_nb.datasets.synthetic import LABEL, PREFIX
from moespac_nb.datasets.traces import load_trace
from moespac_nb.hardware.machine import Machine, list_machines, load_machine
from moespac_nb.hardware.model import ModelSpec, list_model_specs, load_model_spec
from moespac_nb.policies import Policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.utils.defaults import BUDGET, MACHINE, MODEL, POLICY

from ..base.assets import Words, catalogue
from ..base.cell_lifecycle import remember
from ..base.display import StaticView
from ..base.live_view import LiveView
from ..base.page import LEAST_WIDTH, write_page
from .budget_lab.budget_lab import EVENTS, BudgetLab
from .demand_map.demand_map import DemandMap
from .placement_graph.placement_graph import PlacementGraph
from .replays import beginning
from .stepper.stepper import Stepper
from .timeline.timeline import Timeline
from .utility_history import utility_over_time

__all__ = ["Dashboard"]

BESIDE = ("recency", "on-demand")  # what the lab can compare with: a page replays every choice beforehand
COLUMNS: Literal[2] = 2
WINDOWS = 8  # of them the timeline shows at first


class Dashboard(StaticView, ipywidgets.HBox):  # type: ignore[misc]
    """Show one decode by stepper, demand map, placement graph, timeline and budget lab at once.

    A step in one view is the same step in all views that have steps.

    Parameters
    ----------
    trace : Trace, str or Path
        A trace, or the file of one. Of a domain the bundled dense trace is taken (sampled, report half), of
        synthetic routing such as "synthetic:gpt-oss-20b" the report half.
    policy : str or Policy
        The policy to replay.
    budget : str or int
        The memory for experts: "25%", "512MiB", or bytes.
    gamma : int, optional
        The draft length to replay a dense trace with; None takes its longest.
    machine, model : str, Path, Machine or ModelSpec
        The machine and the model, as `replay` takes them.
    expert_usage : ndarray or Trace, optional
        How often other texts used each expert, as `replay` takes it.
    step : int
        The step that is shown at first.
    events : int
        The most pairs of step and layer that are replayed. Of a longer trace the beginning is shown, and the
        dashboard says so.

    Raises
    ------
    MoespacError
        If the trace cannot be found or replayed in this way, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> dashboard = Dashboard(load_trace("math")[:12], policy="recency", budget="10%", step=3)
    >>> len(dashboard.views), dashboard.step
    (5, 3)
    """

    def __init__(
        self,
        trace: Trace | str | Path,
        policy: Policy | str = POLICY,
        budget: Any = BUDGET,
        *,
        gamma: int | None = None,
        machine: Machine | str | Path = MACHINE,
        model: ModelSpec | str | Path = MODEL,
        expert_usage: Any = None,
        step: int = 0,
        events: int = EVENTS,
    ) -> None:
        policy, machine, model = get_policy(policy), load_machine(machine), load_model_spec(model)
        if expert_usage is None and policy.needs_expert_usage and (options := _in_halves(trace)) is not None:
            expert_usage = load_trace(str(trace), half="tune", **options)
        shown, notices = beginning(_trace(trace), events)
        replayed = {"gamma": gamma, "machine": machine, "model": model, "expert_usage": expert_usage}
        result = replay(shown, policy, budget, **replayed)
        self.stepper = Stepper(shown, step=step, gamma=gamma)
        # All of its windows, as `events` bounds them already: every view must have every step.
        self.placement = PlacementGraph(shown, policy, budget, step=step, limit_bytes=sys.maxsize, **replayed)
        amounts = {
            "utility": utility_over_time(shown, gamma=gamma),
            "resident": self.placement.residency.resident,
        }
        labels = {"resident": "modelled"}
        self.demand = DemandMap(shown, step=step, amounts=amounts, labels=labels, gamma=gamma)
        self.timeline = Timeline(result, step=step, **_span(result, step))
        self.lab = BudgetLab(
            shown,
            budget=f"{_percent(result, shown)}%",
            policy=policy.name,
            machine=machine.name,
            model=model.name,
            machines=[machine, *(name for name in list_machines() if name != machine.name)],
            models=[model, *(name for name in list_model_specs() if name != model.name)],
            policies=[policy, *(name for name in BESIDE if name != policy.name)],
            expert_usage=expert_usage,
            step=step,
            gamma=gamma,
        )
        about = {"policy": policy.name, "budget": result.budget, "model": model.name, "machine": machine.name}
        title = Words("title.dashboard", {"trace": _name(trace), **about})
        self._catalogue = catalogue("title", "static")
        self.title = title.read(self._catalogue)
        self.views: tuple[LiveView, ...] = (
            self.stepper, self.demand, self.placement, self.lab, self.timeline,
        )  # fmt: skip
        self.stepper.add_notices(notices)
        self._stepping = [view for view in self.views if "step" in view.view_names()]
        for view in self._stepping:
            # The browser links its own changes, at once and without a kernel; see _follow for the kernel's.
            # Not with jslink, which tells the kernel of every view's every step.
            view._linked = {"step": [other.model_id for other in self._stepping if other is not view]}
            view.observe(self._follow, "step")
        super().__init__(
            [_column(self.views[i::COLUMNS]) for i in range(COLUMNS)],
            layout={"flex_flow": "row wrap", "grid_gap": "0 14px"},
        )
        remember(self)

    @property
    def step(self) -> int:
        """The step that all views show."""
        return int(self.stepper.step)

    @step.setter
    def step(self, step: int) -> None:
        self.stepper.step = step

    def _follow(self, change: Mapping[str, Any]) -> None:
        """Set a step that was set in the kernel, in all views.

        What comes from the browser is linked there: sent back, it would take a reader who scrubs on to an
        older step.
        """
        if not change["owner"]._property_lock:
            for view in self._stepping:
                view.step = change["new"]

    def caption(self) -> str:
        """Return the title, for a heading outside the view."""
        return self.title

    def state_in_words(self) -> list[tuple[str, str]]:
        """Return what is chosen in every view, a name and a value each."""
        parts = ((view.caption(), view.state_in_words()) for view in self.views)
        return [(f"{title}: {name}", value) for title, state in parts for name, value in state]

    def fallback_html(self) -> str:
        """Return stepper and timeline as pictures, for a place that runs no script."""
        return self.stepper.fallback_html() + self.timeline.fallback_html()

    def to_html(self, path: str | Path) -> Path:
        """Write all views as one page that needs neither kernel nor network.

        Parameters
        ----------
        path : str or Path
            The page to write, a name that ends in .html.

        Returns
        -------
        Path
            The same path.
        """
        return write_page(path, self.views, title=self.title, columns=COLUMNS)

    def close(self) -> None:
        """Close the dashboard and every part of it, which ipywidgets would keep."""
        if self.comm is not None:
            for column in self.children:
                for part in column.children:
                    _end(part)
                _end(column)
            super().close()
            self.layout.close()


def _in_halves(source: Any) -> dict[str, Any] | None:
    """How to load what has a tune and a report half; None for anything else."""
    if isinstance(source, str) and source in DOMAINS:
        return {"mode": "sample", "dense": True}
    return {} if isinstance(source, str) and source.startswith(PREFIX) else None


def _trace(source: Any) -> Any:
    """Load the trace of a name or a file; anything else is left for `beginning` to refuse."""
    if (options := _in_halves(source)) is not None:
        return load_trace(source, half="report", **options)
    if not isinstance(source, str | Path):
        return source
    return load_trace(source)


def _name(source: Any) -> str | Words:
    if isinstance(source, str) and source.startswith(PREFIX):
        return f"{source.removeprefix(PREFIX)} ({LABEL})"
    return Path(source).name if isinstance(source, str | Path) else Words("title.decode")


def _percent(result: Result, trace: Trace) -> int:
    """Return the budget as the lab has it: of all experts, whole per cents."""
    experts = trace.geometry.layers * trace.geometry.experts
    return max(-(-100 // experts), min(100, round(100 * result.slots / experts)))


def _span(result: Result, step: int) -> dict[str, int]:
    """Return a timeline from a window on: one window of many is too narrow to be read."""
    windows = result.windows_s[max(0, step) : max(0, step) + WINDOWS] or result.windows_s[:1]
    start_us, end_us = int(1e6 * windows[0][0]), round(1e6 * windows[-1][1])
    return {"start_us": start_us, "span_us": max(1, end_us - start_us)}


def _column(views: Sequence[LiveView]) -> Any:
    """Show views one under the other, each below its title."""
    parts = [part for view in views for part in (ipywidgets.HTML(f"<b>{escape(view._title)}</b>"), view)]
    return ipywidgets.VBox(parts, layout={"flex": f"1 1 {LEAST_WIDTH}px", "min_width": "0"})


def _end(part: Any) -> None:
    """Close a widget, and its layout and style, which ipywidgets made for it."""
    belongings = [getattr(part, name) for name in ("layout", "style") if part.has_trait(name)]
    part.close()
    for belonging in belongings:
        belonging.close()
