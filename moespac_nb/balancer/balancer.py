"""The balancer that a policy asks in each window: learned demand, and a solver for the thresholds.

balancer = Balancer(layers=48, levels=4)
solution = balancer.thresholds(utility, resident, slots=1044, times=LaneTimes.of(costs, gamma=8), pairs=72)
wanted = utility >= solution.tau[:, None]
balancer.observe(utility, counts)      # when the window's counts are known
"""

from __future__ import annotations

from dataclasses import replace
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..utils.validation import check_choice, check_number, checked_whole
from .candidates import LaneTimes, Thresholds, candidates
from .demand import LevelRates
from .joint import Joint
from .per_layer import PerLayer
from .solve import solve

__all__ = ["FORMULATIONS", "Balancer"]

FORMULATIONS = ("joint", "per-layer", "per-layer-difference")


class Balancer:
    """Choose each window's thresholds from the demand that earlier windows had.

    Parameters
    ----------
    layers : int
        Layers with experts.
    levels : int
        K, the highest utility.
    formulation : {"joint", "per-layer", "per-layer-difference"}
        "joint" is one integer program over all layers. The other two solve each layer alone, by
        max(T_cpu, T_gpu) or, as in the paper, by the difference of the two.
    exact_every : int, default 0
        Solve every n-th window exactly with PuLP, starting with the first; 0 disables it. The per-layer
        formulations need no PuLP, as they are enumerated.
    time_limit_s : float, optional
        Seconds for such a solve. None lets it finish, so that results are the same on every machine.
    warmup : int, default 8
        Windows over which demand is a plain mean, see `LevelRates`.
    log : list, optional
        Each window's `Candidates` are appended to it.

    Raises
    ------
    InvalidInputError
        If the formulation is unknown, or a number is out of range.

    Examples
    --------
    >>> from moespac_nb import LaneTimes
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> balancer = Balancer(layers=2, levels=2)
    >>> utility, counts = np.array([[2, 1, 0, 0], [2, 2, 1, 0]]), np.array([[6, 3, 0, 1], [5, 4, 1, 0]])
    >>> balancer.observe(utility, counts)
    >>> balancer.thresholds(utility, utility > 1, slots=4, times=times, pairs=10).tau
    array([1, 2])
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
        if time_limit_s is not None:
            check_number("time_limit_s", time_limit_s, above=0)
        self.formulation = check_choice("formulation", formulation, FORMULATIONS)
        self.exact_every = checked_whole("exact_every", exact_every, least=0)
        self.time_limit_s = time_limit_s
        self.rates = LevelRates(layers, levels, warmup)
        self.solved = 0
        self.log = log

    def observe(self, utility: np.ndarray, counts: np.ndarray) -> None:
        """Learn from a verified window.

        Parameters
        ----------
        utility : ndarray of int, shape (layers, experts)
            The utility that was known before the window, 0 to K.
        counts : ndarray of int, shape (layers, experts)
            Positions that each expert served in it.
        """
        self.rates.observe(utility, counts)

    def problem(
        self, utility: np.ndarray, resident: np.ndarray, *, slots: int, times: LaneTimes, pairs: float
    ) -> Joint | PerLayer:
        """Build the coming window's problem, to print or solve.

        Parameters
        ----------
        utility, resident, slots, times, pairs
            As in `thresholds`.

        Returns
        -------
        Joint or PerLayer
        """
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
        """Find the coming window's thresholds.

        Parameters
        ----------
        utility : ndarray of int, shape (layers, experts)
            0 to K.
        resident : ndarray of bool, shape (layers, experts)
            Whether a slot holds the expert.
        slots : int
            Slots in all.
        times : LaneTimes
            The machine's times.
        pairs : float
            Token–expert pairs that each layer will serve: (γ + 1) · k.

        Returns
        -------
        Thresholds
            `seconds` is all the time that it took, the candidate table included.
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
