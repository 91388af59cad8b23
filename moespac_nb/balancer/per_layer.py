"""The paper's formulation: each layer alone chooses its threshold, as if link and slots were its own.

print(PerLayer(table, "difference"))
PerLayer(table).solve("enumerate").tau
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from time import perf_counter
from typing import Any, Literal

import numpy as np

from ..utils.exceptions import MoespacError
from .candidates import Candidates, lowest
from .highs import linear, problem, solve
from .thresholds import Thresholds

__all__ = ["PerLayer"]

OBJECTIVES = {"difference": "|T_cpu(τ) − T_gpu(τ)|", "max": "max(T_cpu(τ), T_gpu(τ))"}


@dataclass(frozen=True, eq=False)
class PerLayer:
    """One small programme a layer. `difference` is the paper's objective, `max` what a layer takes."""

    table: Candidates
    objective: Literal["difference", "max"] = "max"

    def __post_init__(self) -> None:
        if self.objective not in OBJECTIVES:
            raise MoespacError(f"objective is {self.objective!r}; expected: {', '.join(OBJECTIVES)}")

    @cached_property
    def cost_s(self) -> np.ndarray:
        """(layers, K) what is minimised."""
        table = self.table
        return np.abs(table.cpu_s - table.gpu_s) if self.objective == "difference" else table.total_s

    @property
    def window_s(self) -> float:
        """What a layer's loads may hide behind besides its own experts: its share of the drafting."""
        return self.table.times.draft_window_s / self.table.layers + self.table.times.dense_s

    @cached_property
    def breaks_link(self) -> np.ndarray:
        table = self.table
        free_s = table.total_s + self.window_s + table.tolerance_s
        return np.asarray(table.loads * table.times.copy_s > free_s)

    @cached_property
    def breaks_slots(self) -> np.ndarray:
        return np.asarray(self.table.loads > self.table.room)

    @cached_property
    def feasible(self) -> np.ndarray:
        return np.asarray(~(self.breaks_link | self.breaks_slots))

    def solve(
        self, how: Literal["enumerate", "pulp"] = "enumerate", time_limit_s: float | None = None
    ) -> Thresholds:
        """Every layer's best feasible τ, K where there is none. The time limit is each layer's, PuLP only."""
        start = perf_counter()
        if how == "enumerate":
            tau, stopped = lowest(np.where(self.feasible, self.cost_s, np.inf)), False
            tau[~self.feasible.any(axis=1)] = self.table.levels
        elif how == "pulp":
            solved = [self._solve_layer(layer, time_limit_s) for layer in range(self.table.layers)]
            tau, stopped = np.array([t for t, _ in solved]), not all(proven for _, proven in solved)
        else:
            raise MoespacError(f"how is {how!r}; expected: enumerate, pulp")
        feasible = bool(self.table.of(self.feasible, tau).all())
        return Thresholds(
            tau=tau,
            objective_s=float(self.table.of(self.cost_s, tau).sum()),
            feasible=feasible,
            optimal=feasible and not stopped,
            how=how,
            binding=self._binding(),
            seconds=perf_counter() - start,
        )

    def _solve_layer(self, layer: int, time_limit_s: float | None) -> tuple[int, bool]:
        """One layer's τ through PuLP, and whether it is proven."""
        table, unit_s = self.table, self.table.unit_s
        taus = range(1, table.levels + 1)
        programme = problem("per_layer")
        chosen = programme.add_variable_dicts("tau", taus, cat="Binary")

        def at_tau(row: np.ndarray) -> Any:
            return linear((chosen[tau], float(value)) for tau, value in zip(taus, row, strict=True))

        cpu, gpu = at_tau(table.cpu_s[layer] / unit_s), at_tau(table.gpu_s[layer] / unit_s)
        cost = programme.add_variable("cost", 0)
        programme += cost
        programme += at_tau(np.ones(table.levels)) == 1
        if self.objective == "difference":
            programme += cost >= cpu - gpu
            programme += cost >= gpu - cpu
        else:
            programme += cost >= cpu
            programme += cost >= gpu
        loads = table.loads[layer]
        programme += (
            at_tau((loads * table.times.copy_s - table.total_s[layer]) / unit_s) <= self.window_s / unit_s,
            "link",
        )
        programme += at_tau(loads - table.room) <= 0, "slots"
        status = solve(programme, time_limit_s)
        if status == "infeasible":
            return table.levels, True
        own = int(lowest(np.where(self.feasible, self.cost_s, np.inf)[[layer]])[0])
        if status == "unsolved":
            return own, False
        tau = max(taus, key=lambda t: chosen[t].value())
        return (tau, True) if status == "optimal" else (own, False)

    def _binding(self) -> tuple[str, ...]:
        """What a layer's unconstrained best would break; where nothing is feasible, what K breaks."""
        wished = np.where(self.feasible.any(axis=1), lowest(self.cost_s), self.table.levels)
        names = []
        for name, broken in (("link", self.breaks_link), ("slots", self.breaks_slots)):
            layers = np.flatnonzero(self.table.of(broken, wished))
            names += [f"{name} at layer {layer}" for layer in layers]
        return tuple(names)

    def explain(self) -> list[dict[str, Any]]:
        """Every candidate of every layer: its times, loads, what it breaks, and which one is chosen."""
        table, tau = self.table, self.solve().tau
        free_s = table.total_s + self.window_s
        return [
            {
                **table.row(layer, level),
                "objective_s": float(self.cost_s[layer, level]),
                "copies_hide_behind_s": float(free_s[layer, level]),
                "slots_to_load_into": int(table.room[level]),
                "feasible": bool(self.feasible[layer, level]),
                "binding": [
                    name
                    for name, broken in (("link", self.breaks_link), ("slots", self.breaks_slots))
                    if broken[layer, level]
                ],
                "chosen": bool(tau[layer] == level + 1),
            }
            for layer in range(table.layers)
            for level in range(table.levels)
        ]

    def __str__(self) -> str:
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
