"""One bit an expert: the finest choice there is, slower to solve, and a bound on every choice by thresholds.

problem = PerExpert(counts, resident, slots, times)
solve(problem, time_limit_s=2).bound_s     # no thresholds on these counts take less
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..utils.exceptions import InvalidInputError
from .highs import linear, new_program
from .times import LaneTimes

__all__ = ["PerExpert", "PerExpertSolution"]


@dataclass(frozen=True, eq=False)
class PerExpertSolution:
    """Which experts are to have a slot.

    Attributes
    ----------
    hot : ndarray of bool, shape (layers, experts)
    objective_s : float
        Seconds that the window takes.
    bound_s : float
        Proven: no choice takes less.
    optimal : bool
    seconds : float
        Measured time of the solve.
    """

    hot: np.ndarray  # (layers, experts) bool
    objective_s: float
    bound_s: float  # proven: no placement takes less
    optimal: bool
    seconds: float = 0.0  # measured


@dataclass(frozen=True, eq=False)
class PerExpert:
    """One bit for each expert of all layers.

    A layer takes as long as its slower lane, or longer where it waits for the link.

    Parameters
    ----------
    counts : ndarray, shape (layers, experts)
        Positions that each expert serves in the window.
    resident : ndarray of bool, shape (layers, experts)
        Whether a slot holds the expert.
    slots : int
        Slots in all, at least one.
    times : LaneTimes
        The machine's times.

    Raises
    ------
    MoespacError
        Shapes disagree, or a number is out of range.
    """

    counts: np.ndarray
    resident: np.ndarray
    slots: int
    times: LaneTimes

    def __post_init__(self) -> None:
        shapes = np.shape(self.counts), np.shape(self.resident)
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or not np.size(self.counts):
            raise InvalidInputError(
                f"counts have shape {shapes[0]} and resident {shapes[1]}; expected: both (layers, experts)"
            )
        if not (np.isfinite(self.counts).all() and np.min(self.counts) >= 0):
            raise InvalidInputError("a count is negative or not finite; expected: positions, 0 or more")
        if self.slots < 1:
            raise InvalidInputError(f"slots is {self.slots}; expected: 1 or more")

    @cached_property
    def cold_s(self) -> float:
        """Seconds that the window takes when nothing is hot."""
        pairs, used = np.sum(self.counts, axis=1), np.count_nonzero(self.counts, axis=1)
        return float(np.maximum(pairs * self.times.cpu_pair_s, used * self.times.cpu_expert_s).sum())

    @cached_property
    def unit_s(self) -> float:
        """The unit of the program's times, so that a solver's tolerances fit any machine."""
        return max(self.cold_s / len(self.counts), self.times.copy_s, self.times.draft_window_s) or 1.0

    def program(self) -> tuple[Any, dict[tuple[int, int], Any], list[Any]]:
        """Build the PuLP problem, each (layer, expert) in use's bit, and each layer's time in `unit_s`."""
        times, unit_s = self.times, self.unit_s
        program = new_program("per_expert")
        takes = [program.add_variable(f"takes_{layer}", 0) for layer in range(len(self.counts))]
        slack = [program.add_variable(f"slack_{layer}", 0) for layer in range(len(self.counts))]
        program += linear((layer, 1.0) for layer in takes)
        bits: dict[tuple[int, int], Any] = {}
        for layer, counts in enumerate(np.asarray(self.counts, float)):
            used = np.flatnonzero(counts)  # who serves nobody needs no slot
            own = [program.add_variable(f"hot_{layer}_{e}", cat="Binary") for e in used]
            bits |= {(layer, int(e)): bit for e, bit in zip(used, own, strict=True)}
            for hot, amount, seconds in (
                (True, np.ones(used.size), times.gpu_expert_s),
                (True, counts[used], times.gpu_pair_s),
                (False, np.ones(used.size), times.cpu_expert_s),
                (False, counts[used], times.cpu_pair_s),
            ):
                each = amount * (seconds / unit_s)
                terms = [(bit, -s if hot else s) for bit, s in zip(own, each.tolist(), strict=True)]
                program += linear([(takes[layer], 1.0), *terms]) >= (0.0 if hot else float(each.sum()))
            copied = [bit for e, bit in zip(used, own, strict=True) if not self.resident[layer, e]]
            terms = [(slack[layer], 1.0), *((bit, times.copy_s / unit_s) for bit in copied)]
            begins = times.dense_s / unit_s
            if layer:
                terms += [(slack[layer - 1], -1.0), (takes[layer - 1], -1.0)]
            else:
                begins += times.draft_window_s / unit_s
            program += linear(terms) == begins, f"link_{layer}"
        program += linear((bit, 1.0) for bit in bits.values()) <= self.slots, "slots"
        return program, bits, takes

    def explain(self, placed: PerExpertSolution) -> list[dict[str, Any]]:
        """Return a row for each layer of a solution: its lanes' times, its loads, full slots."""
        times, counts = self.times, np.asarray(self.counts, float)
        rows = []
        for layer, hot in enumerate(placed.hot):
            used = counts[layer] > 0
            cold = used & ~hot
            rows.append(
                {
                    "layer": layer,
                    "cpu_s": float(
                        max(counts[layer][cold].sum() * times.cpu_pair_s, cold.sum() * times.cpu_expert_s)
                    ),
                    "gpu_s": float(
                        max(counts[layer][hot].sum() * times.gpu_pair_s, hot.sum() * times.gpu_expert_s)
                    ),
                    "hot": int(hot.sum()),
                    "loads": int((hot & ~np.asarray(self.resident)[layer]).sum()),
                    "used": int(used.sum()),
                    "binding": ["slots"] if placed.hot.sum() == self.slots else [],
                }
            )
        return rows

    def __str__(self) -> str:
        layers, experts = np.shape(self.counts)
        return "\n".join(
            [
                f"For each of {layers} × {experts} experts: hot, x = 1, or cold, x = 0",
                "  minimise    Σ_l T_l",
                "  subject to  T_l ≥ T_cpu,l(x) of the cold experts in use, T_l ≥ T_gpu,l(x) of the hot",
                f"              slots            Σ x ≤ {self.slots}",
                f"              link by layer l  {self.times.copy_s * 1e3:.4g} ms · Σ_(j≤l) loads_j(x) ≤ "
                f"{self.times.draft_window_s * 1e3:.4g} ms of drafting + {self.times.dense_s * 1e3:.4g} ms · "
                "(l + 1) + Σ_(j<l) T_j",
                "T_l above both lanes' times: the layer waits for the link.",
            ]
        )
