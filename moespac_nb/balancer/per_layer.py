"""The paper's formulation: each layer alone chooses its threshold, as if link and slots were its own.

print(PerLayer(table, "difference"))
solve(PerLayer(table), "enumerate").tau
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np

from ..utils.validation import check_choice
from .candidates import Candidates, Thresholds, lowest
from .highs import linear, new_program

__all__ = ["PerLayer"]

OBJECTIVES = {"difference": "|T_cpu(τ) − T_gpu(τ)|", "max": "max(T_cpu(τ), T_gpu(τ))"}


@dataclass(frozen=True, eq=False)
class PerLayer:
    """One small integer program for each layer, as in the paper.

    Parameters
    ----------
    table : Candidates
        What each threshold brings in each layer.
    objective : {"max", "difference"}
        "max" is what a layer takes, max(T_cpu, T_gpu); "difference" is the paper's |T_cpu - T_gpu|.

    Raises
    ------
    InvalidInputError
        If the objective is unknown.

    See Also
    --------
    balancer.solve : Finds the thresholds.

    Examples
    --------
    >>> from moespac_nb import Demand, LaneTimes, candidates, solve
    >>> utility = np.array([[2, 1, 0, 0], [2, 2, 1, 0]])
    >>> demand = Demand.of(utility, np.array([[6, 3, 0, 1], [5, 4, 1, 0]]), levels=2)
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> table = candidates(utility, utility > 1, 4, times, demand)
    >>> solve(PerLayer(table)).tau
    array([1, 2])
    """

    table: Candidates
    objective: Literal["difference", "max"] = "max"

    def __post_init__(self) -> None:
        """Check the objective."""
        check_choice("objective", self.objective, OBJECTIVES)

    @cached_property
    def cost_s(self) -> np.ndarray:
        """Seconds that are minimised, (layers, K)."""
        table = self.table
        return np.abs(table.cpu_s - table.gpu_s) if self.objective == "difference" else table.total_s

    @property
    def window_s(self) -> float:
        """Seconds that a layer's loads may hide behind besides its own experts: its share of the drafting."""
        return self.table.times.draft_window_s / self.table.layers + self.table.times.dense_s

    @cached_property
    def breaks_link(self) -> np.ndarray:
        """Whether a candidate's loads take longer than they may, (layers, K)."""
        table = self.table
        free_s = table.total_s + self.window_s + table.tolerance_s
        return np.asarray(table.loads * table.times.copy_s > free_s)

    @cached_property
    def breaks_slots(self) -> np.ndarray:
        """Whether a candidate has more loads than room, (layers, K)."""
        return np.asarray(self.table.loads > self.table.room)

    @cached_property
    def feasible(self) -> np.ndarray:
        """Whether a candidate keeps both constraints, (layers, K)."""
        return np.asarray(~(self.breaks_link | self.breaks_slots))

    @cached_property
    def best(self) -> np.ndarray:
        """Each layer's feasible τ of least cost, (layers,); K where no τ is feasible."""
        return lowest(np.where(self.feasible, self.cost_s, np.inf))

    def thresholds(self, tau: np.ndarray, method: str, proven: bool) -> Thresholds:
        """Make a result of some thresholds.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,)
            A threshold for each layer, 1 to K.
        method : str
            The method that found them.
        proven : bool
            Whether each is its layer's best.

        Returns
        -------
        Thresholds
        """
        feasible = bool(self.table.of(self.feasible, tau).all())
        return Thresholds(
            tau=tau,
            objective_s=float(self.table.of(self.cost_s, tau).sum()),
            feasible=feasible,
            optimal=feasible and proven,
            method=method,
            binding=self._binding(),
        )

    def program(self, layer: int) -> tuple[Any, dict[int, Any]]:
        """Build one layer's PuLP problem, with times in units of `unit_s`.

        The lanes' times are known at each τ, so the objective has a coefficient for each.

        Parameters
        ----------
        layer : int

        Returns
        -------
        program : pulp.LpProblem
        chosen : dict
            chosen[τ] is a variable that is 0 or 1.
        """
        table, unit_s = self.table, self.table.unit_s
        taus = range(1, table.levels + 1)
        program = new_program("per_layer")
        chosen = program.add_variable_dicts("tau", taus, cat="Binary")

        def at_tau(row: np.ndarray) -> Any:
            return linear(zip(chosen.values(), row.tolist(), strict=True))

        loads = table.loads[layer]
        late_s = loads * table.times.copy_s - table.total_s[layer]
        program += at_tau(self.cost_s[layer] / unit_s)
        program += at_tau(np.ones(table.levels)) == 1
        program += at_tau(late_s / unit_s) <= self.window_s / unit_s, "link"
        program += at_tau(loads - table.room) <= 0, "slots"
        return program, chosen

    def _violated(self, layer: int, level: int) -> list[str]:
        broken = {"link": self.breaks_link, "slots": self.breaks_slots}
        return [name for name, cells in broken.items() if cells[layer, level]]

    def _binding(self) -> tuple[str, ...]:
        """Name what each layer's unconstrained best violates; where nothing is feasible, what K violates."""
        wished = np.where(self.feasible.any(axis=1), lowest(self.cost_s), self.table.levels)
        violated = [(name, at) for at, tau in enumerate(wished) for name in self._violated(at, tau - 1)]
        return tuple(f"{name} at layer {layer}" for name, layer in sorted(violated))

    def explain(self, tau: np.ndarray | None = None) -> list[dict[str, Any]]:
        """Return a row for every candidate of every layer: its times, its loads, what it violates.

        Parameters
        ----------
        tau : ndarray of int, shape (layers,), optional
            The thresholds chosen; None takes each layer's best.

        Returns
        -------
        list of dict
        """
        table, tau = self.table, self.best if tau is None else tau
        return [
            {
                **table.row(layer, level),
                "objective_s": float(self.cost_s[layer, level]),
                "copies_hide_behind_s": float(table.total_s[layer, level] + self.window_s),
                "slots_to_load_into": int(table.room[level]),
                "feasible": bool(self.feasible[layer, level]),
                "binding": self._violated(layer, level),
                "chosen": bool(tau[layer] == level + 1),
            }
            for layer, level in np.ndindex(table.hot.shape)
        ]

    def __str__(self) -> str:
        """Return the program in words."""
        table = self.table
        return "\n".join(
            [
                f"For each of {table.layers} layers alone: the threshold τ of its hot experts (s ≥ τ)",
                f"  minimise    {OBJECTIVES[self.objective]}",
                f"  over        τ = 1 … {table.levels}",
                f"  subject to  link    {table.times.copy_s * 1e3:.4g} ms · n(τ) ≤ max(T_cpu(τ), T_gpu(τ)) + "
                f"{self.window_s * 1e3:.4g} ms",
                f"              slots   n(τ) ≤ free + evictable = {', '.join(map(str, table.room))} at "
                f"τ = 1 … {table.levels}",
                "  else        τ = K, where no τ is feasible",
                "n(τ): hot experts that are not resident. T_cpu, T_gpu: of the cold and of the hot.",
            ]
        )
