"""Balancer explorer: what each threshold would take in each layer, what forbids it, who chooses which."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np

from moespac_nb import Trace
from moespac_nb.balancer import Candidates, Joint, PerLayer, solve
from moespac_nb.balancer.balancer import FORMULATIONS
from moespac_nb.simulation.balancer_log import record_balancer_inputs
from moespac_nb.utils.exceptions import InvalidInputError

from ...base.live_view import LiveView, view_trait
from ...base.serialize import pack
from ..trace_rounds import SENT_BYTES, kept

__all__ = ["UNITS", "BalancerExplorer", "changed"]

UNITS = ("gpu", "cpu", "copy", "draft", "dense")  # whose times can be changed, each in percent of the given
PERCENT = (10, 1000)
PULP_SECONDS = 2.0  # an answer that a reader waits for
PAGE_SOLVES = 2000  # what a page without a kernel is given beforehand
PAGE_PERCENTS = (25, 50, 200, 400)
PAGE_SLOTS = 9


def changed(table: Candidates, slots: int, percents: Mapping[str, int]) -> Candidates:
    """Return the same window with another number of slots and other times.

    Parameters
    ----------
    table : Candidates
        The window's candidates.
    slots : int
        How many slots there are now.
    percents : mapping of str to int
        For each of UNITS its times in percent of the table's own.
    """
    times = table.times
    gpu, cpu, copy, draft, dense = (percents[unit] / 100 for unit in UNITS)
    return replace(
        table,
        cpu_s=cpu * table.cpu_s,
        gpu_s=gpu * table.gpu_s,
        room=table.room + (slots - table.slots),
        slots=slots,
        times=replace(
            times,
            gpu_expert_s=gpu * times.gpu_expert_s,
            gpu_pair_s=gpu * times.gpu_pair_s,
            cpu_expert_s=cpu * times.cpu_expert_s,
            cpu_pair_s=cpu * times.cpu_pair_s,
            copy_s=copy * times.copy_s,
            draft_window_s=draft * times.draft_window_s,
            dense_s=dense * times.dense_s,
        ),
    )


class BalancerExplorer(LiveView):
    """Show which thresholds are feasible in each layer, and which are chosen, as times and slots change.

    The browser computes the tables and the choices a layer at a time, which need no search. The joint
    integer program is the kernel's: the fast method while something changes, PuLP when it has come to rest.

    Parameters
    ----------
    given : Trace, Joint, PerLayer or Candidates
        A trace, whose replay solves one problem in each window, or one problem of the balancer.
    step, layer, tau : int, optional
        What is shown at first; `tau` is the candidate that is explained in words.
    formulation : str
        Whose constraints are shown: "joint", for example.
    slots : int, optional
        How many slots; None takes the problem's own.
    limit_bytes : int
        The most data to send. A longer trace is thinned evenly, and the widget says so.
    gpu, cpu, copy, draft, dense : int
        The times of each unit in percent of the problem's own.
    **options
        Arguments of a trace's replay: budget, machine and policy, for example.

    Raises
    ------
    MoespacError
        If `given` is neither a trace nor a problem, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> view = BalancerExplorer(load_trace("math")[:12], budget="17%", layer=3, cpu=200)
    >>> view.table().levels
    4
    """

    SCRIPT, TEXTS = "balancer_explorer.js", ("balancer", "grid")

    step = view_trait(0)
    layer = view_trait(0)
    tau = view_trait(1)  # the candidate that is told in words
    formulation = view_trait("joint")  # whose constraints are shown
    slots = view_trait(1)
    gpu = view_trait(100)
    cpu = view_trait(100)
    copy = view_trait(100)
    draft = view_trait(100)
    dense = view_trait(100)

    def __init__(
        self,
        given: Trace | Joint | PerLayer | Candidates,
        *,
        step: int | None = None,
        layer: int = 0,
        tau: int = 1,
        formulation: str = "joint",
        slots: int | None = None,
        limit_bytes: int = SENT_BYTES,
        gpu: int = 100,
        cpu: int = 100,
        copy: int = 100,
        draft: int = 100,
        dense: int = 100,
        **options: Any,
    ) -> None:
        self._tables = _tables(given, options)
        windows = list(self._tables)
        first = self._tables[windows[0]]
        shown, notices = kept(len(windows), 16 * first.hot.size, limit_bytes)
        self._shown = [windows[i] for i in shown]
        percents = {"gpu": gpu, "cpu": cpu, "copy": copy, "draft": draft, "dense": dense}
        step = windows[0] if step is None else step
        slots = first.slots if slots is None else slots
        most = max(table.hot[:, 0].sum() for table in self._tables.values())
        super().__init__(
            data=self._packed(),
            limits={
                "step": (windows[0], windows[-1]),
                "layer": (0, first.layers - 1),
                "tau": (1, first.levels),
                "formulation": list(FORMULATIONS),
                "slots": (1, max(first.slots, int(most))),
                **dict.fromkeys(UNITS, PERCENT),
            },
            notices=notices,
            step=step,
            layer=layer,
            tau=tau,
            formulation=formulation,
            slots=slots,
            **percents,
        )
        # What is shown before the kernel has answered, and where it never does.
        setting = {"step": self._window(step), "slots": slots, **percents}
        self._data = {**self._data, "first": {"asked": setting, **self.answer_solve("lagrangian", **setting)}}

    def table(self) -> Candidates:
        """Return the table of candidates as it is shown now."""
        return self._changed(self.step, self.slots, {unit: getattr(self, unit) for unit in UNITS})

    def answer_solve(self, how: str, step: int, slots: int, **percents: int) -> dict[str, Any]:
        """Return the joint integer program's thresholds.

        Parameters
        ----------
        how : {"lagrangian", "pulp"}
            The Lagrangian heuristic, or PuLP within two seconds.
        step, slots : int
            The window, and how many slots it has.
        **percents : int
            The times of each unit in percent of the problem's own.
        """
        joint = Joint(self._changed(step, slots, percents))
        solution = solve(joint, "pulp", PULP_SECONDS) if how == "pulp" else solve(joint, "lagrangian")
        return {
            "tau": pack(solution.tau),
            "how": solution.method,
            "optimal": solution.optimal,
            "feasible": solution.feasible,
            "binding": list(solution.binding),
            "seconds": solution.seconds,
        }

    def page_data(self) -> Mapping[str, Any]:
        """With thresholds solved beforehand: over slots, and over unit times if the windows are few."""
        least, most = self._bounds["slots"]
        slots = np.unique([*np.linspace(least, most, PAGE_SLOTS).round().astype(int).tolist(), self.slots])
        now = [getattr(self, unit) for unit in UNITS]
        settings = [now]
        for i, percent in product(range(len(UNITS)), PAGE_PERCENTS):
            if len(self._shown) * len(slots) * (len(settings) + 1) > PAGE_SOLVES:
                break
            settings.append([*now[:i], percent, *now[i + 1 :]])
        joints = [
            Joint(self._changed(window, count, dict(zip(UNITS, setting, strict=True))))
            for window, setting, count in product(self._shown, settings, slots.tolist())
        ]
        solutions = [solve(joint, "lagrangian") for joint in joints]
        setting = {"step": self._window(self.step), "slots": self.slots, **dict(zip(UNITS, now, strict=True))}
        return {
            **self._data,
            "first": {"asked": setting, **self.answer_solve("pulp", **setting)},
            "solved": {
                "slots": slots.tolist(),
                "settings": settings,
                "tau": pack(np.stack([solution.tau for solution in solutions])),
                "feasible": pack(np.array([solution.feasible for solution in solutions])),
            },
        }

    def _changed(self, step: int, slots: int, percents: Mapping[str, int]) -> Candidates:
        return changed(self._tables[self._window(step)], slots, percents)

    def _window(self, step: int) -> int:
        """Show a window that is not sent as the last before it that is."""
        return max((window for window in self._shown if window <= step), default=self._shown[0])

    def _packed(self) -> dict[str, Any]:
        tables = [self._tables[window] for window in self._shown]
        times = tables[0].times
        return {
            "kept": pack(np.array(self._shown)),
            **{
                name: pack(np.stack([getattr(table, name) for table in tables]))
                for name in ("cpu_s", "gpu_s", "hot", "loads")
            },
            "hot_residents": pack(np.stack([table.slots - table.room for table in tables])),
            "slots": tables[0].slots,
            "copy_s": times.copy_s,
            "draft_window_s": pack(np.array([table.times.draft_window_s for table in tables])),
            "dense_s": times.dense_s,
            "units": list(UNITS),
        }


def _tables(given: Any, options: Mapping[str, Any]) -> dict[int, Candidates]:
    if isinstance(given, Trace):
        tables = record_balancer_inputs(given, **options)
        if not tables:
            raise InvalidInputError("the trace has no window that follows another; expected: at least one")
        return tables
    if isinstance(given, Joint | PerLayer):
        given = given.table
    if not isinstance(given, Candidates):
        raise InvalidInputError(
            f"given is {type(given).__name__}; expected: a Trace, or a problem of the balancer, such as "
            "Balancer.problem(…) gives"
        )
    for name in ("cpu_s", "gpu_s"):
        if not np.isfinite(getattr(given, name)).all():
            raise InvalidInputError(
                f"{name} of the problem has values that are no numbers; expected: seconds"
            )
    if options:
        raise InvalidInputError(
            f"{', '.join(options)} is for a trace's replay; expected: none of it with a problem"
        )
    return {0: given}
