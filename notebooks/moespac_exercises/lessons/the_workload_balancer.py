"""Exercises of notebook 05: two lanes, balance against speed, what binds, deadlines, the joint program."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.balancer import Candidates, Demand, Joint, LaneTimes, PerLayer, candidates, solve
from moespac_nb.datasets.traces import load_trace
from moespac_nb.simulation.balancer_log import record_balancer_inputs
from moespac_nb.trace.trace import Trace

from ..exercise import Exercise

__all__ = ["CPU_PAIR_MS", "EXERCISES", "GPU_EXPERT_MS", "LEVELS", "Window", "recorded", "tables", "to_read"]

LEVELS = 4
GAMMA = 8
BUDGET = "17%"
CPU_PAIR_MS, GPU_EXPERT_MS = 3, 2  # of exercise 05.1: whole numbers, of one order
# Of problems by hand, whose seconds stand for milliseconds.
NO_TIMES = LaneTimes(gpu_expert_s=0.0, cpu_pair_s=0.0, copy_s=0.0, draft_window_s=0.0)


@lru_cache(maxsize=1)
def recorded() -> Trace:
    """Load the texts that the notebook asks about: code, sampled, of the half that nothing was tuned on."""
    return load_trace("code", mode="sample", dense=True, half="report")


@lru_cache(maxsize=1)
def tables() -> dict[int, Candidates]:
    """Record what the balancer was asked before each of their windows, on the machine that replays go by."""
    return record_balancer_inputs(recorded(), "spac-joint", BUDGET, gamma=GAMMA)


@lru_cache(maxsize=1)
def to_read() -> tuple[int, int]:
    """Return a window and a layer of it to look at.

    Where there is one, it has hot experts at every τ, and one constraint alone forbids τ = 2.
    """
    for window, table in tables().items():
        for layer, names in enumerate(_forbidding(table)):
            if len(names) == 1 and table.hot[layer, -1] and PerLayer(table).feasible[layer, 2]:
                return window, layer
    return next(iter(tables())), 0


def _forbidding(table: Candidates) -> list[list[str]]:
    """By layer: what forbids τ = 2, in the paper's formulation."""
    alone = PerLayer(table, "difference")
    pairs = zip(alone.breaks_link[:, 1], alone.breaks_slots[:, 1], strict=True)
    return [
        [name for name, breaks in zip(("link", "slots"), layer, strict=True) if breaks] for layer in pairs
    ]


# 05.1


def _lanes(answer: Callable[..., Any], case: tuple[list[tuple[int, int]], int]) -> str | None:
    experts, tau = case
    counts, utility = [count for count, _ in experts], [s for _, s in experts]
    returned = answer(list(counts), list(utility), tau)
    call = f"for counts {counts}, utilities {utility} and τ = {tau} it returned {returned!r}"
    pair = _numbers(returned)
    if pair is None or len(pair) != 2:
        return f"{call}; two numbers are asked for, T_cpu and T_gpu"
    times = LaneTimes(gpu_expert_s=GPU_EXPERT_MS, cpu_pair_s=CPU_PAIR_MS, copy_s=0, draft_window_s=0)  # in ms
    levels = np.array([utility])
    table = candidates(
        levels, np.zeros((1, len(experts)), bool), 1, times, Demand.of(levels, np.array([counts]), LEVELS)
    )
    cpu_ms, gpu_ms = float(table.cpu_s[0, tau - 1]), float(table.gpu_s[0, tau - 1])
    if abs(pair[0] - cpu_ms) > 1e-6:
        return (
            f"{call}. T_cpu is not right: it has every pair of a cold expert, one after another; an expert "
            "is cold where its utility is below τ, hot where it equals τ or is above"
        )
    if abs(pair[1] - gpu_ms) > 1e-6:
        return (
            f"{call}. T_gpu is not right: it has every hot expert that somebody asks for, once, however many "
            "ask"
        )
    return None


# 05.2


def _balanced(answer: Iterable[Any], _case: None) -> str | None:
    rows = [_numbers(row) for row in answer]
    if len(rows) < 2 or any(row is None or len(row) != 2 for row in rows):
        return "give two rows or more, each a pair (T_cpu, T_gpu), the first for τ = 1"
    lanes = np.array(rows, float)
    if (lanes < 0).any():
        return f"{lanes.min():g} is no length of time: 0 or more"
    for tau, (cpu, gpu) in enumerate(np.diff(lanes, axis=0), 1):
        if cpu < 0 or gpu > 0:
            lane, does = ("T_cpu", "falls") if cpu < 0 else ("T_gpu", "rises")
            return (
                f"from τ = {tau} to τ = {tau + 1} {lane} {does}. A higher threshold makes experts cold: work "
                "goes from the GPU's lane to the CPU's, never back"
            )
    nobody = np.zeros((1, len(lanes)), int)
    table = Candidates(lanes[None, :, 0], lanes[None, :, 1], nobody, nobody, nobody[0], 1, NO_TIMES)
    solutions = [solve(PerLayer(table, by), "enumerate") for by in ("difference", "max")]
    even, fast = (float(table.of(table.total_s, solution.tau)[0]) for solution in solutions)
    if even > fast:
        return None
    at = [solution.tau[0] for solution in solutions]
    by = f"the least difference is at τ = {at[0]}, the least maximum at τ = {at[1]}"
    return (
        f"{by}; the layer takes {even:g} by the one and {fast:g} by the other. The first is to be "
        "more: let the lanes come closer while both of them, or the slower one, get longer"
    )


# 05.3


def _binds(answer: str, _case: None) -> str | None:
    window, layer = to_read()
    names = _forbidding(tables()[window])[layer]
    chosen = answer.strip().lower()
    if chosen == {0: "nothing", 1: "".join(names), 2: "both"}[len(names)]:
        return None
    if chosen not in ("link", "slots", "both", "nothing"):
        return f"{answer!r}: one of link, slots, both, nothing is asked for"
    return (
        f"{answer!r} does not forbid τ = 2 in window {window}, layer {layer}, or not alone. Choose that "
        "layer and the formulation 'per-layer-difference'; the sentence below names what a threshold breaks"
    )


# 05.4 and 05.5


class Window(Candidates):
    """A window by hand, which a reader is told in words. Its seconds stand for whole milliseconds."""

    @classmethod
    def by_hand(
        cls, layers: Sequence[Sequence[tuple[int, int, int]]], slots: int, draft_ms: int, copy_ms: int = 1
    ) -> Window:
        """layers: for each τ what the layer takes, how many experts are hot, how many of them are copied."""
        takes, hot, loads = np.moveaxis(np.array(layers), 2, 0)
        room = np.full(hot.shape[1], slots)
        times = replace(NO_TIMES, copy_s=copy_ms, draft_window_s=draft_ms)
        return cls(takes.astype(float), np.zeros(takes.shape), hot, loads, room, slots, times)

    def __repr__(self) -> str:
        layers = [
            f"layer {layer}: " + ", ".join(self._words(layer, level) for level in range(self.levels))
            for layer in range(self.layers)
        ]
        times = f"a copy takes {self.times.copy_s:g} ms, drafting {self.times.draft_window_s:g} ms"
        return f"a window of {'; '.join(layers)}; slots: {self.slots}; {times}"

    def _words(self, layer: int, level: int) -> str:
        row = self.row(layer, level)
        return (
            f"τ = {row['tau']} takes {row['total_s']:g} ms with {row['hot']} hot, {row['loads']} to be copied"
        )


def _in_time(answer: Callable[..., Any], case: tuple[list[tuple[int, int]], int, int]) -> str | None:
    layers, copy_ms, draft_ms = case
    loads, takes = [n for n, _ in layers], [ms for _, ms in layers]
    returned = answer(list(loads), list(takes), copy_ms, draft_ms)
    call = (
        f"{loads} copies of {copy_ms} ms for layers that take {takes} ms, after {draft_ms} ms of drafting: "
        f"it returned {returned!r}"
    )
    if not isinstance(returned, bool | np.bool_):
        return f"{call}; True or False is asked for"
    window = Window.by_hand([[(ms, n, n)] for n, ms in layers], sum(loads) or 1, draft_ms, copy_ms)
    late = Joint(window).violations(np.ones(len(layers), int))
    if bool(returned) == (not late):
        return None
    if late:
        return f"{call}. A copy for layer {late[0].split()[-1]} has not come when that layer begins"
    return f"{call}. Every copy has come in time: the layers before its own give the link their time too"


def _joint(answer: Callable[[Candidates], Any], case: Window) -> str | None:
    joint = Joint(case)
    best = solve(joint, "enumerate")
    returned = answer(case)
    call = f"for {case!r}, it returned {returned!r}"
    tau = _numbers(returned)
    if tau is None or len(tau) != case.layers or any(level not in range(1, case.levels + 1) for level in tau):
        return f"{call}; a τ of 1 to {case.levels} for each of {case.layers} layers is asked for"
    chosen = np.array(tau, int)
    broken = joint.violations(chosen)
    if best.feasible and broken:
        return f"{call}, which breaks: {broken[0]}"
    if best.feasible and joint.objective_s(chosen) > best.objective_s + 1e-9:
        return (
            f"{call}. These layers take {joint.objective_s(chosen):g} ms together; thresholds that break "
            "nothing can do it in less"
        )
    if not best.feasible and (chosen != case.levels).any():
        return f"{call}. No thresholds keep all constraints here: then every τ is K"
    return None


def _numbers(values: Any) -> list[float] | None:
    """Return a sequence of finite numbers as floats; None of anything else."""
    if isinstance(values, str) or not isinstance(values, Sequence | np.ndarray):
        return None
    try:
        numbers = [float(value) for value in values]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(isfinite, numbers)) else None


def _levels(rows: list[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
    """As thresholds order them: with τ a layer takes no less, and has no more hot experts and loads."""
    takes = sorted(row[0] for row in rows)
    hot = sorted((row[1] for row in rows), reverse=True)
    loads = sorted((row[2] for row in rows), reverse=True)
    return [(ms, n, min(n, copies)) for ms, n, copies in zip(takes, hot, loads, strict=True)]


LAYER = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=2
).map(_levels)
WINDOWS = st.builds(
    Window.by_hand, st.lists(LAYER, min_size=1, max_size=3), st.integers(1, 5), st.integers(0, 3)
)

EXERCISES = (
    Exercise(
        "05.1",
        "Two lanes",
        takes="a function of (counts, utility, tau)",
        cases=st.tuples(
            st.lists(st.tuples(st.integers(0, 9), st.integers(0, LEVELS)), min_size=1, max_size=4),
            st.integers(1, LEVELS),
        ),
        fault=_lanes,
    ),
    Exercise(
        "05.2", "Balanced and slow", takes="a list of pairs (T_cpu, T_gpu)", cases=(None,), fault=_balanced
    ),
    Exercise("05.3", "What binds?", takes="a text", cases=(None,), fault=_binds),
    Exercise(
        "05.4",
        "In time",
        takes="a function of (loads, takes_ms, copy_ms, draft_ms)",
        cases=st.tuples(
            st.lists(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=4),
            st.integers(1, 2),
            st.integers(0, 4),
        ),
        fault=_in_time,
    ),
    Exercise("05.5", "All layers at once", takes="a function of (table)", cases=WINDOWS, fault=_joint),
)
