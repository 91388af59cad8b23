"""PuLP with HiGHS in this process: one thread, silent, and honest about what a time limit cut short."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress
from functools import cache
from tempfile import TemporaryFile
from threading import Lock
from typing import Any

__all__ = ["linear", "new_program", "solve_program"]

# Searches that cost these programs a fifth of their time and find them nothing.
SPARED = {"mip_detect_symmetry": False, "mip_heuristic_run_feasibility_jump": False}

BANNER = (b"Running HiGHS", b"Includes third-party", b"Copyright (c)")  # the lines of it begin so
FIRST = Lock()  # `cache` alone lets two threads in, and the later one would keep the redirected descriptor


def new_program(name: str) -> Any:
    """Return an empty integer program to minimise."""
    import pulp

    return pulp.LpProblem(name, pulp.LpMinimize)


def linear(terms: Iterable[tuple[Any, float]]) -> Any:
    """Return a linear expression of (variable, coefficient) pairs; PuLP's own sums are slow."""
    import pulp

    return pulp.LpAffineExpression([(variable, value) for variable, value in terms if value])


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
    """The first HiGHS of a process prints a banner on file descriptor 1 whatever its options: drop it.

    What other threads print in the meantime is not lost.
    """
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
