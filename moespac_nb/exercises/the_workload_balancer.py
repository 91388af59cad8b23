"""Exercises of notebook 05: two lanes, balance against speed, what binds, deadlines, the joint programme."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import isfinite
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ..balancer import Candidates, Demand, Joint, LaneTimes, PerLayer, candidates
from ..problems import problems
from ..trace import Trace
from ..traces import bundled
from .exercise import Exercise

__all__ = ["CPU_PAIR_MS", "EXERCISES", "GPU_EXPERT_MS", "LEVELS", "Window", "recorded", "tables", "to_read"]

LEVELS = 4
GAMMA = 8
BUDGET = "17%"
CPU_PAIR_MS, GPU_EXPERT_MS = 3, 2  # of exercise 05.1: whole numbers, of one order


@lru_cache(maxsize=1)
def recorded() -> Trace:
    """The texts that the notebook asks about: code, sampled, of the half that nothing was tuned on."""
    return bundled("code", mode="sample", kind="fan", half="report")


@lru_cache(maxsize=1)
def tables() -> dict[int, Candidates]:
    """What the balancer was asked before each of their windows, on the machine that replays go by."""
    return problems(recorded(), "spac-joint", BUDGET, gamma=GAMMA)


@lru_cache(maxsize=1)
def to_read() -> tuple[int, int]:
    """A window and a layer of it to look at: where there is one, with hot experts at every τ, and with one
    constraint alone that forbids τ = 2."""
    for window, table in tables().items():
        for layer, names in enumerate(_forbidding(table)):
            if len(names) == 1 and table.hot[layer, -1] and PerLayer(table).feasible[layer, 2]:
                return window, layer
    return next(iter(tables())), 0


def _forbidding(table: Candidates) -> list[list[str]]:
    """By layer: what forbids τ = 2, in the paper's formulation."""
    alone = PerLayer(table, "difference")
    pairs = zip(alone.breaks_link[:, 1], alone.breaks_slots[:, 1], strict=True)
    return [[name for name, breaks in zip(("link", "slots"), each, strict=True) if breaks] for each in pairs]


# 05.1


def _lanes(answer: Callable[..., Any], case: tuple[list[tuple[int, int]], int]) -> str | None:
    experts, tau = case
    counts, utility = [count for count, _ in experts], [s for _, s in experts]
    given = answer(list(counts), list(utility), tau)
    said = f"for counts {counts}, utilities {utility} and τ = {tau} it returned {given!r}"
    pair = _numbers(given)
    if pair is None or len(pair) != 2:
        return f"{said}; two numbers are asked for, T_cpu and T_gpu"
    times = LaneTimes(gpu_expert_s=GPU_EXPERT_MS, cpu_pair_s=CPU_PAIR_MS, copy_s=0, draft_window_s=0)  # in ms
    levels = np.array([utility])
    table = candidates(
        levels, np.zeros((1, len(experts)), bool), 1, times, Demand.of(levels, np.array([counts]), LEVELS)
    )
    cpu_ms, gpu_ms = float(table.cpu_s[0, tau - 1]), float(table.gpu_s[0, tau - 1])
    if abs(pair[0] - cpu_ms) > 1e-6:
        return (
            f"{said}. T_cpu is not right: it has every pair of a cold expert, one after another; an expert "
            "is cold where its utility is below τ, hot where it equals τ or is above"
        )
    if abs(pair[1] - gpu_ms) > 1e-6:
        return (
            f"{said}. T_gpu is not right: it has every hot expert that somebody asks for, once, however many "
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
    table = _table(lanes[None, :, 0], lanes[None, :, 1])
    found = [PerLayer(table, "difference").solve(), PerLayer(table, "max").solve()]
    even, fast = (float(table.of(table.total_s, each.tau)[0]) for each in found)
    if even > fast:
        return None
    at = " and ".join(
        f"{name} at τ = {each.tau[0]}" for name, each in zip(("difference", "maximum"), found, strict=True)
    )
    return (
        f"the least {at}; the layer takes {even:g} by the one and {fast:g} by the other. The first is to be "
        "more: let the lanes come closer while both of them, or the slower one, get longer"
    )


# 05.3


def _binds(answer: str, _case: None) -> str | None:
    window, layer = to_read()
    names = _forbidding(tables()[window])[layer]
    given = answer.strip().lower()
    if given == {0: "nothing", 1: "".join(names), 2: "both"}[len(names)]:
        return None
    if given not in ("link", "slots", "both", "nothing"):
        return f"{answer!r}: one of link, slots, both, nothing is asked for"
    return (
        f"{answer!r} does not forbid τ = 2 in window {window}, layer {layer}, or not alone. Choose that "
        "layer and the formulation 'per-layer-difference'; the sentence above the drawing names what a threshold "
        "would break"
    )


# 05.4 and 05.5


@dataclass(frozen=True)
class Window:
    """A window in whole milliseconds: for each layer and τ what it takes, its hot experts, and its loads."""

    layers: tuple[tuple[tuple[int, int, int], ...], ...]
    slots: int
    draft_ms: int
    copy_ms: int = 1

    def __str__(self) -> str:
        rows = "; ".join(
            f"layer {number}: "
            + ", ".join(
                f"τ = {tau} takes {takes} ms with {hot} hot, {loads} of them to be copied"
                for tau, (takes, hot, loads) in enumerate(levels, 1)
            )
            for number, levels in enumerate(self.layers)
        )
        return f"{rows}; slots: {self.slots}; a copy {self.copy_ms} ms; drafting {self.draft_ms} ms"

    @property
    def table(self) -> Candidates:
        """The same as the balancer has it; its seconds are our milliseconds."""
        takes, hot, loads = np.moveaxis(np.array(self.layers), 2, 0)
        return _table(
            takes,
            np.zeros(takes.shape),
            hot,
            loads,
            self.slots,
            copy_s=self.copy_ms,
            draft_window_s=self.draft_ms,
        )


def _in_time(answer: Callable[..., Any], case: tuple[list[tuple[int, int]], int, int]) -> str | None:
    layers, copy_ms, draft_ms = case
    loads, takes = [n for n, _ in layers], [ms for _, ms in layers]
    given = answer(list(loads), list(takes), copy_ms, draft_ms)
    said = (
        f"{loads} copies of {copy_ms} ms for layers that take {takes} ms, after {draft_ms} ms of drafting: "
        f"it returned {given!r}"
    )
    if not isinstance(given, bool | np.bool_):
        return f"{said}; True or False is asked for"
    window = Window(tuple(((ms, n, n),) for n, ms in layers), sum(loads) or 1, draft_ms, copy_ms)
    late = Joint(window.table).breaks(np.ones(len(layers), int))
    if bool(given) == (not late):
        return None
    if late:
        return f"{said}. A copy for layer {late[0].split()[-1]} has not come when that layer begins"
    return f"{said}. Every copy has come in time: the layers before its own give the link their time too"


def _joint(answer: Callable[[Candidates], Any], case: Window) -> str | None:
    joint = Joint(case.table)
    best = joint.solve("enumerate")
    given = answer(case.table)
    said = f"{case}. It returned {given!r}"
    tau = _numbers(given)
    allowed = range(1, case.table.levels + 1)
    if tau is None or len(tau) != case.table.layers or any(one not in allowed for one in tau):
        return f"{said}; a τ of 1 to {case.table.levels} for each of {case.table.layers} layers is asked for"
    chosen = np.array(tau, int)
    broken = joint.breaks(chosen)
    if best.feasible and broken:
        return f"{said}, which breaks: {broken[0]}"
    if best.feasible and joint.objective_s(chosen) > best.objective_s + 1e-9:
        return (
            f"{said}. These layers take {joint.objective_s(chosen):g} ms together; thresholds that break "
            "nothing can do it in less"
        )
    if not best.feasible and (chosen != case.table.levels).any():
        return f"{said}. No thresholds keep all constraints here: then every τ is K"
    return None


def _table(
    cpu_s: Any, gpu_s: Any, hot: Any = None, loads: Any = None, slots: int = 1, **times: float
) -> Candidates:
    """Candidates written by hand; without hot experts nothing binds."""
    cpu_s, gpu_s = np.asarray(cpu_s, float), np.asarray(gpu_s, float)
    nobody = np.zeros(cpu_s.shape, int)
    unit = {"gpu_expert_s": 0.0, "cpu_pair_s": 0.0, "copy_s": 0.0, "draft_window_s": 0.0}
    return Candidates(
        cpu_s,
        gpu_s,
        nobody if hot is None else np.asarray(hot),
        nobody if loads is None else np.asarray(loads),
        np.full(cpu_s.shape[1], slots),
        slots,
        LaneTimes(**{**unit, **times}),
    )


def _numbers(given: Any) -> list[float] | None:
    """A sequence of finite numbers as floats; None of anything else."""
    if isinstance(given, str) or not isinstance(given, Sequence | np.ndarray):
        return None
    try:
        numbers = [float(one) for one in given]
    except (TypeError, ValueError):
        return None
    return numbers if all(map(isfinite, numbers)) else None


def _levels(rows: list[tuple[int, int, int]]) -> tuple[tuple[int, int, int], ...]:
    """As thresholds order them: with τ a layer takes no less, and has no more hot experts and loads."""
    takes = sorted(row[0] for row in rows)
    hot = sorted((row[1] for row in rows), reverse=True)
    loads = sorted((row[2] for row in rows), reverse=True)
    return tuple((ms, n, min(n, copies)) for ms, n, copies in zip(takes, hot, loads, strict=True))


LAYER = st.lists(
    st.tuples(st.integers(0, 6), st.integers(0, 3), st.integers(0, 2)), min_size=2, max_size=2
).map(_levels)
WINDOWS = st.builds(
    Window,
    st.lists(LAYER, min_size=1, max_size=3).map(tuple),
    st.integers(1, 5),
    st.integers(0, 3),
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
