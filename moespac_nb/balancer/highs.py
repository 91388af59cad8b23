"""PuLP with HiGHS in this process: one thread, silent, and honest about what a time limit cut short."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache
from tempfile import TemporaryFile
from threading import Lock
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .candidates import LaneTimes

__all__ = ["add_deadlines", "linear", "new_program", "solve_program"]

Terms = Sequence[tuple[Any, float]]  # variables, and their coefficients

# Searches that cost these programs a fifth of their time and find them nothing.
SPARED = {"mip_detect_symmetry": False, "mip_heuristic_run_feasibility_jump": False}

BANNER = (b"Running HiGHS", b"Includes third-party", b"Copyright (c)")  # the lines of it begin so
FIRST = Lock()  # `cache` alone lets two threads in, and the later one would keep the redirected descriptor


def new_program(name: str) -> Any:
    """Return an empty integer program to minimise.

    Parameters
    ----------
    name : str

    Returns
    -------
    pulp.LpProblem
    """
    import pulp

    return pulp.LpProblem(name, pulp.LpMinimize)


def linear(terms: Iterable[tuple[Any, float]]) -> Any:
    """Return a linear expression; PuLP's own sums are slow.

    Parameters
    ----------
    terms : iterable of (variable, coefficient)

    Returns
    -------
    pulp.LpAffineExpression
    """
    import pulp

    return pulp.LpAffineExpression([(variable, value) for variable, value in terms if value])


def add_deadlines(
    program: Any, times: LaneTimes, unit_s: float, copies: Sequence[Terms], takes: Sequence[Terms]
) -> None:
    """Add to a program that each layer's copies are there when the layer begins its experts.

    The link's time that is left is carried from layer to layer, which keeps the row of a deadline short.

    Parameters
    ----------
    program : pulp.LpProblem
    times : LaneTimes
        The machine's times.
    unit_s : float
        Seconds of the program's unit of time.
    copies, takes : sequence of sequences of (variable, coefficient)
        By layer: what its copies take on the link, and what its experts take, in the program's unit.
    """
    slack = [program.add_variable(f"slack_{layer}", 0) for layer in range(len(copies))]
    for layer, terms in enumerate(copies):
        before = [(slack[layer - 1], 1.0), *takes[layer - 1]] if layer else []
        begins_s = times.dense_s + (0.0 if layer else times.draft_window_s)
        program += (
            linear([(slack[layer], 1.0), *terms, *((variable, -value) for variable, value in before)])
            == begins_s / unit_s,
            f"link_{layer}",
        )


def solve_program(program: Any, time_limit_s: float | None = None) -> str:
    """Solve a program in place.

    Parameters
    ----------
    program : pulp.LpProblem
    time_limit_s : float, optional
        Seconds that HiGHS may take.

    Returns
    -------
    {"optimal", "feasible", "infeasible", "unsolved"}
        "feasible" means stopped with a point, "unsolved" stopped without one.
    """
    import pulp

    with FIRST:
        _meet_highs()
    # Gaps of 0: the programs are small, and the Lagrangian heuristic is measured against them.
    options = {"gapRel": 0.0, "gapAbs": 1e-9, **SPARED}
    program.solve(pulp.HiGHS(msg=False, threads=1, timeLimit=time_limit_s, **options))
    # `status` says optimal also of a solve that ran out of time; `sol_status` tells the two apart.
    return {
        pulp.LpSolutionOptimal: "optimal",
        pulp.LpSolutionIntegerFeasible: "feasible",
        pulp.LpSolutionInfeasible: "infeasible",
    }.get(program.sol_status, "unsolved")


@cache
def _meet_highs() -> None:
    """Drop the banner that a process's first HiGHS prints on descriptor 1; what other threads print stays."""
    import highspy

    with suppress(OSError), TemporaryFile() as aside:  # no standard output, nothing to keep clean
        kept = os.dup(1)
        try:
            os.dup2(aside.fileno(), 1)
            highspy.Highs()
        finally:
            os.dup2(kept, 1)
            os.close(kept)
            aside.seek(0)
            others = b"".join(line for line in aside if not line.startswith(BANNER))
            while others:
                others = others[os.write(1, others) :]
