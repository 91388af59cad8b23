"""Notebook 05's exercises, and what its prose says of its tables, which a new pair might change."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pulp

from moespac_exercises.checking import check
from moespac_exercises.lessons.the_workload_balancer import (
    CPU_PAIR_MS,
    GPU_EXPERT_MS,
    recorded,
    tables,
    to_read,
)
from moespac_nb.balancer import Candidates, Joint, PerLayer, solve
from moespac_nb.balancer.highs import solve_program
from moespac_nb.hardware.machine import list_machines
from moespac_nb.policies import compose_policy
from moespac_nb.simulation.balancer_log import record_balancer_inputs
from moespac_nb.simulation.replay import replay
from moespac_widgets.views.balancer_explorer.balancer_explorer import changed
from tests.helpers.jupyter.lessons import Wrong, answer_tests, dense_traces


def lanes(counts: list[int], utility: list[int], tau: int) -> tuple[int, int]:
    cold_pairs = sum(f for f, s in zip(counts, utility, strict=True) if s < tau)
    hot_in_use = sum(f > 0 for f, s in zip(counts, utility, strict=True) if s >= tau)
    return cold_pairs * CPU_PAIR_MS, hot_in_use * GPU_EXPERT_MS


def in_time(loads: list[int], takes_ms: list[int], copy_ms: int, draft_ms: int) -> bool:
    begins = draft_ms + np.cumsum([0, *takes_ms[:-1]])
    return bool((copy_ms * np.cumsum(loads) <= begins).all())


Constraint = Callable[[Any, Candidates, list[Any], list[Any]], None]


def slots(program: Any, table: Candidates, hot: list[Any], late: list[Any]) -> None:
    program += pulp.lpSum(hot) <= table.slots


def deadlines(program: Any, table: Candidates, hot: list[Any], late: list[Any]) -> None:
    for one in late:
        program += one <= table.times.draft_window_s


def one_sum(program: Any, table: Candidates, hot: list[Any], late: list[Any]) -> None:
    """The last deadline alone."""
    program += late[-1] <= table.times.draft_window_s


def joint(*constraints: Constraint, infeasible: str = "K") -> Callable[[Candidates], list[int]]:
    """The joint program with some of its constraints."""

    def thresholds(table: Candidates) -> list[int]:
        program, taus = pulp.LpProblem("joint", pulp.LpMinimize), range(1, table.levels + 1)
        x = [program.add_variable_dicts(f"tau_{at}", taus, cat="Binary") for at in range(table.layers)]

        def summed(values: np.ndarray) -> list[Any]:
            rows = zip(x, values, strict=True)
            return [pulp.lpSum(float(row[tau - 1]) * one[tau] for tau in taus) for one, row in rows]

        takes, copies = summed(table.total_s), summed(table.times.copy_s * table.loads)
        program.setObjective(pulp.lpSum(takes))
        for one in x:
            program += pulp.lpSum(one.values()) == 1
        late = [pulp.lpSum(copies[: at + 1]) - pulp.lpSum(takes[:at]) for at in range(table.layers)]
        for constraint in constraints:
            constraint(program, table, summed(table.hot), late)
        if solve_program(program) == "infeasible":
            return [table.levels if infeasible == "K" else 1] * table.layers
        return [max(taus, key=lambda tau: one[tau].value()) for one in x]

    return thresholds


WINDOW, LAYER = to_read()
FORBIDS = [
    name
    for name in ("link", "slots")
    if getattr(PerLayer(tables()[WINDOW], "difference"), f"breaks_{name}")[LAYER, 1]
]
RIGHT: dict[str, Any] = {
    "05.1": lanes,
    "05.2": [(1, 4), (5, 4)],
    "05.3": FORBIDS[0],
    "05.4": in_time,
    "05.5": joint(slots, deadlines),
}


def test_in_the_layer_asked_about_one_constraint_forbids() -> None:
    assert len(FORBIDS) == 1
    assert (tables()[WINDOW].hot[LAYER] > 0).all()


def pairs_on_the_gpu(counts: list[int], utility: list[int], tau: int) -> tuple[int, int]:
    hot_pairs = sum(f for f, s in zip(counts, utility, strict=True) if s >= tau)
    return lanes(counts, utility, tau)[0], hot_pairs * GPU_EXPERT_MS


def idle_experts_too(counts: list[int], utility: list[int], tau: int) -> tuple[int, int]:
    return lanes(counts, utility, tau)[0], sum(s >= tau for s in utility) * GPU_EXPERT_MS


def experts_on_the_cpu(counts: list[int], utility: list[int], tau: int) -> tuple[int, int]:
    cold = sum(f > 0 for f, s in zip(counts, utility, strict=True) if s < tau)
    return cold * CPU_PAIR_MS, lanes(counts, utility, tau)[1]


def own_time_too(loads: list[int], takes_ms: list[int], copy_ms: int, draft_ms: int) -> bool:
    ends = draft_ms + np.cumsum(takes_ms)
    return bool((copy_ms * np.cumsum(loads) <= ends).all())


WRONG: dict[str, Wrong] = {
    "hot above τ only": ("05.1", lambda f, s, tau: lanes(f, s, tau + 1), "hot where it equals τ"),
    "pairs on the GPU": ("05.1", pairs_on_the_gpu, "once"),
    "idle experts too": ("05.1", idle_experts_too, "somebody asks for"),
    "experts on the CPU": ("05.1", experts_on_the_cpu, "every pair"),
    "the slower lane": ("05.1", lambda *case: max(lanes(*case)), "two numbers"),
    "lanes exchanged": ("05.1", lambda *case: lanes(*case)[::-1], "is not right"),
    "both agree": ("05.2", [(1, 5), (3, 3), (6, 1)], "the least difference"),
    "one threshold": ("05.2", [(1, 4)], "two rows"),
    "work goes back": ("05.2", [(5, 4), (1, 4)], "falls"),
    "the GPU gains": ("05.2", [(1, 4), (5, 5)], "rises"),
    "no time": ("05.2", [(-1, 4), (5, 4)], "no length"),
    "the other one": ("05.3", "slots" if FORBIDS == ["link"] else "link", "does not forbid"),
    "both": ("05.3", "both", "not alone"),
    "nothing": ("05.3", "nothing", "does not forbid"),
    "another word": ("05.3", "memory", "one of link"),
    "one sum over the window": (
        "05.4",
        lambda n, ms, copy, draft: sum(n) * copy <= draft + sum(ms),
        "has not come",
    ),
    "its own time too": ("05.4", own_time_too, "has not come"),
    "drafting only": ("05.4", lambda n, ms, copy, draft: sum(n) * copy <= draft, "the layers before"),
    "each layer's own copies": (
        "05.4",
        lambda loads, takes, copy, draft: all(
            n * copy <= at for n, at in zip(loads, draft + np.cumsum([0, *takes[:-1]]), strict=True)
        ),
        "has not come",
    ),
    "a number": ("05.4", lambda *case: int(in_time(*case)), "True or False"),
    "no constraint": ("05.5", joint(), "breaks"),
    "no deadlines": ("05.5", joint(slots), "link by layer"),
    "no slots": ("05.5", joint(deadlines), "breaks: slots"),
    "the last deadline only": ("05.5", joint(slots, one_sum), "link by layer"),
    "never a copy": ("05.5", lambda table: [table.levels] * table.layers, "in less"),
    "infeasible is 1": ("05.5", joint(slots, deadlines, infeasible="1"), "every τ is K"),
    "one τ for all": ("05.5", lambda table: 1, "for each of"),
}
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_of_a_wrong_programme_the_simplest_window_is_shown() -> None:
    found = check("05.5", joint(deadlines))
    assert found.case.layers == 1
    assert "layer 0: τ = 1 takes" in found.sentence


# What the prose says


def test_the_lanes_meet_where_the_notebook_says() -> None:
    """A CPU lane of 10 % alone is not enough in that layer; with a GPU lane of 200 % they cross."""
    table = tables()[WINDOW]

    def cross(gpu: int, cpu: int) -> bool:
        seen = changed(table, table.slots, {"gpu": gpu, "cpu": cpu, "copy": 100, "draft": 100, "dense": 100})
        longer = seen.gpu_s[LAYER] > seen.cpu_s[LAYER]
        return bool(longer[0] and not longer[-1])

    assert cross(200, 10)
    assert not cross(100, 10)
    assert not cross(100, 100)


def test_layers_alone_ask_for_too_many_slots_and_more_time() -> None:
    too_many = []
    for machine in list_machines():
        asked = record_balancer_inputs(recorded(), "spac-joint", "17%", gamma=8, machine=machine).values()
        alone = [(Joint(table), solve(PerLayer(table), "enumerate").tau) for table in asked]
        too_many.append(np.mean(["slots" in joint.violations(tau) for joint, tau in alone]))
        fits = [(joint, tau) for joint, tau in alone if not joint.violations(tau)]
        ratios = [solve(joint, "lagrangian").objective_s / joint.objective_s(tau) for joint, tau in fits]
        assert np.mean(ratios) < 0.98
    assert max(too_many) > 0.1


def test_the_gpu_lane_is_the_shorter_one_nearly_everywhere() -> None:
    shorter = [table.gpu_s < table.cpu_s for table in tables().values()]
    assert np.mean(shorter) > 0.95


def test_the_balancer_is_worth_less_than_published() -> None:
    """And the joint one no more than a low threshold."""
    policies = [compose_policy("a policy", admission=how) for how in (1, 2, "per-layer-difference", "joint")]
    speeds = [
        [replay(trace, policy, "17%", gamma=8, timeline=False).tps_modelled for policy in policies]
        for trace in dense_traces().values()
    ]
    tau_1, tau_2, paper, joint = np.exp(np.log(speeds).mean(axis=0))
    assert paper / tau_2 < 28.24 / 26.95  # the least of the published gains
    assert max(paper, joint) <= 1.01 * tau_1
