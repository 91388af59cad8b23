"""The balancer a scheduler asks at each window: learned demand, a fast path, PuLP now and then.

balancer = Balancer(layers=48, levels=4)
found = balancer.thresholds(utility, resident, slots=1044, times=LaneTimes.of(costs, gamma=8), pairs=72)
wanted = utility >= found.tau[:, None]
balancer.observe(utility, counts)      # when the window's counts are known
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..utils.exceptions import MoespacError, did_you_mean
from .candidates import candidates
from .demand import LevelRates
from .joint import Joint
from .per_layer import PerLayer
from .solve import solve
from .thresholds import Thresholds
from .times import LaneTimes

__all__ = ["FORMULATIONS", "Balancer"]

FORMULATIONS = ("joint", "per-layer", "per-layer-difference")


class Balancer:
    """State: what the windows so far taught about demand, and how many there were.

    formulation: `joint`, or the paper's `per-layer` by max(T_cpu, T_gpu) or by their `difference`.
    exact_every: PuLP solves each so-manieth window, from the first on; 0 never. Per-layer needs no PuLP: its
    enumeration is exact.
    log: a list to which each window's `Candidates` are appended.
    time_limit_s: of such a solve; None lets it finish, and results can then be made again on any machine.
    """

    def __init__(
        self,
        layers: int,
        levels: int,
        *,
        formulation: Literal["joint", "per-layer", "per-layer-difference"] = "joint",
        exact_every: int = 0,
        time_limit_s: float | None = None,
        warmup: int = 8,
        log: list[Any] | None = None,
    ) -> None:
        if formulation not in FORMULATIONS:
            raise MoespacError(
                f"formulation is {formulation!r}; expected: {', '.join(FORMULATIONS)}"
                + did_you_mean(formulation, FORMULATIONS)
            )
        if exact_every < 0:
            raise MoespacError(f"exact_every is {exact_every}; expected: a number of windows, or 0 for never")
        if time_limit_s is not None and not time_limit_s > 0:
            raise MoespacError(f"time_limit_s is {time_limit_s}; expected: seconds above 0, or None")
        self.formulation, self.exact_every, self.time_limit_s = formulation, exact_every, time_limit_s
        self.rates = LevelRates(layers, levels, warmup)
        self.solved = 0
        self.log = log

    def observe(self, utility: np.ndarray, counts: np.ndarray) -> None:
        """Learn from a window: its counts (layers, experts), and the utility that was known before it."""
        self.rates.observe(utility, counts)

    def problem(
        self, utility: np.ndarray, resident: np.ndarray, *, slots: int, times: LaneTimes, pairs: float
    ) -> Joint | PerLayer:
        """The coming window's formulation, to print, explain or solve; arguments as for `thresholds`."""
        demand = self.rates.demand(utility, pairs)
        table = candidates(utility, resident, slots, times, demand)
        if self.log is not None:
            self.log.append(table)
        if self.formulation == "joint":
            return Joint(table)
        return PerLayer(table, "max" if self.formulation == "per-layer" else "difference")

    def thresholds(
        self, utility: np.ndarray, resident: np.ndarray, *, slots: int, times: LaneTimes, pairs: float
    ) -> Thresholds:
        """The coming window's thresholds; `seconds` is all it took, the candidate table included.

        utility: (layers, experts) integers 0 … K. resident: bool, alike. pairs: (γ + 1)·k of each layer.
        """
        start = perf_counter()
        problem = self.problem(utility, resident, slots=slots, times=times, pairs=pairs)
        if isinstance(problem, PerLayer):
            solution = solve(problem, "enumerate")
        elif self.exact_every and self.solved % self.exact_every == 0:
            solution = solve(problem, "pulp", self.time_limit_s)
        else:
            solution = solve(problem, "lagrangian")
        self.solved += 1
        return replace(solution, seconds=perf_counter() - start)
