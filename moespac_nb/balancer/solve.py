"""Solve a balancer problem: exactly by PuLP, exactly by enumeration, or well by a Lagrangian heuristic.

solve(Joint(table), "lagrangian").tau
solve(PerLayer(table, "difference"), "enumerate").tau
solve(PerExpert(counts, resident, slots, times), time_limit_s=2).bound_s
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from time import perf_counter
from typing import Any, Literal, overload

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice
from . import lagrangian
from .candidates import Thresholds
from .highs import solve_program
from .joint import Joint
from .per_expert import PerExpert, PerExpertSolution
from .per_layer import PerLayer

__all__ = ["METHODS", "solve"]

Method = Literal["pulp", "lagrangian", "enumerate"]
METHODS: tuple[Method, ...] = ("pulp", "lagrangian", "enumerate")
MAX_ENUMERATED = 100_000


@overload
def solve(
    problem: Joint | PerLayer, method: Method = ..., time_limit_s: float | None = ...
) -> Thresholds: ...


@overload
def solve(
    problem: PerExpert, method: Method = ..., time_limit_s: float | None = ...
) -> PerExpertSolution: ...


def solve(
    problem: Joint | PerLayer | PerExpert, method: Method = "pulp", time_limit_s: float | None = None
) -> Thresholds | PerExpertSolution:
    """Find the best thresholds, or the best set of hot experts, of one window.

    Parameters
    ----------
    problem : Joint, PerLayer or PerExpert
        The formulation to solve.
    method : {"pulp", "lagrangian", "enumerate"}
        "pulp" solves the integer program with HiGHS and proves its answer. "enumerate" looks at every point,
        at most 100,000 of a `Joint`. "lagrangian" finds a good point of a `Joint` in half a millisecond.
        A `PerLayer` takes "pulp" and "enumerate", a `PerExpert` takes "pulp" only.
    time_limit_s : float, optional
        Seconds that PuLP may take, for each layer of a `PerLayer`; without it PuLP runs until it has a proof.
        A `Joint` that is stopped keeps the better of PuLP's point and the Lagrangian's. A `PerExpert` that
        is stopped before it has any point makes nothing hot.

    Returns
    -------
    Thresholds or PerExpertSolution
        A `PerExpertSolution` of a `PerExpert`, otherwise `Thresholds`. `seconds` is the measured time.

    Raises
    ------
    InvalidInputError
        If the formulation has no such method, or has too many points to enumerate.

    Examples
    --------
    >>> import numpy as np
    >>> from moespac_nb.balancer import Demand, Joint, LaneTimes, candidates
    >>> utility = np.array([[2, 1, 0, 0], [2, 2, 1, 0]])
    >>> counts = np.array([[6, 3, 0, 1], [5, 4, 1, 0]])
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> table = candidates(utility, utility > 1, 4, times, Demand.of(utility, counts, levels=2))
    >>> best = solve(Joint(table), "enumerate")
    >>> best.tau, best.optimal
    (array([1, 2]), True)
    >>> solve(Joint(table), "lagrangian").tau
    array([1, 2])
    """
    solvers = SOLVERS[type(problem)]
    check_choice(f"method of {type(problem).__name__}", method, solvers)
    start = perf_counter()
    solution: Thresholds | PerExpertSolution = solvers[method](problem, time_limit_s)
    return replace(solution, seconds=perf_counter() - start)


def _joint_pulp(joint: Joint, time_limit_s: float | None) -> Thresholds:
    program, chosen = joint.program()
    status = solve_program(program, time_limit_s)
    if status == "infeasible":
        return joint.thresholds(None, "pulp", False)
    tau = None
    if status != "unsolved":
        tau = np.array([max((bit.value() or 0.0, tau) for tau, bit in bits.items())[1] for bits in chosen])
    if status == "optimal" and tau is not None and not joint.violations(tau):
        return joint.thresholds(tau, "pulp", True)
    other = lagrangian.solve(joint)
    if (
        tau is None
        or joint.violations(tau)
        or (other.feasible and other.objective_s < joint.objective_s(tau))
    ):
        return other
    return joint.thresholds(tau, "pulp", False)


def _joint_enumerate(joint: Joint, _time_limit_s: float | None) -> Thresholds:
    layers, levels = joint.table.layers, joint.table.levels
    if levels**layers > MAX_ENUMERATED:
        raise InvalidInputError(
            f"{layers} layers of {levels} levels have {levels**layers} points; expected: at most "
            f"{MAX_ENUMERATED} to enumerate, else method='pulp'"
        )
    points = map(np.array, product(range(levels, 0, -1), repeat=layers))
    feasible = [tau for tau in points if not joint.violations(tau)]
    return joint.thresholds(min(feasible, key=joint.objective_s, default=None), "enumerate", True)


def _per_layer_pulp(problem: PerLayer, time_limit_s: float | None) -> Thresholds:
    layers = [_one_layer_pulp(problem, layer, time_limit_s) for layer in range(problem.table.layers)]
    return problem.thresholds(
        np.array([tau for tau, _ in layers]), "pulp", all(proven for _, proven in layers)
    )


def _one_layer_pulp(problem: PerLayer, layer: int, time_limit_s: float | None) -> tuple[int, bool]:
    """Return one layer's τ, and whether it is proven."""
    program, chosen = problem.program(layer)
    status = solve_program(program, time_limit_s)
    if status == "infeasible":
        return problem.table.levels, True
    if status == "optimal":
        return max(chosen, key=lambda tau: chosen[tau].value()), True
    return int(problem.best[layer]), False


def _per_expert_pulp(problem: PerExpert, time_limit_s: float | None) -> PerExpertSolution:
    program, bits, takes = problem.program()
    status = solve_program(program, time_limit_s)
    hot = np.zeros(np.shape(problem.counts), bool)
    objective_s = problem.cold_s
    if status in ("optimal", "feasible"):
        for cell, bit in bits.items():
            hot[cell] = bit.value() > 0.5
        objective_s = problem.unit_s * sum(layer.value() for layer in takes)
    # What HiGHS had proven when it was stopped; minus infinity where nothing.
    proven_s = problem.unit_s * float(program.solverModel.getInfo().mip_dual_bound)
    bound_s = objective_s if status == "optimal" else proven_s
    return PerExpertSolution(hot, objective_s, bound_s, status == "optimal")


SOLVERS: dict[type, dict[str, Callable[[Any, float | None], Any]]] = {
    Joint: {
        "pulp": _joint_pulp,
        "lagrangian": lambda joint, _: lagrangian.solve(joint),
        "enumerate": _joint_enumerate,
    },
    PerLayer: {
        "pulp": _per_layer_pulp,
        "enumerate": lambda problem, _: problem.thresholds(problem.best.copy(), "enumerate", True),
    },
    PerExpert: {"pulp": _per_expert_pulp},
}
