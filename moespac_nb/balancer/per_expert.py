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
from ..utils.validation import checked_whole
from .candidates import LaneTimes
from .highs import add_deadlines, linear, new_program

__all__ = ["PerExpert", "PerExpertSolution"]


@dataclass(frozen=True, eq=False)
class PerExpertSolution:
    """Decision of one bit an expert: which experts are to have a slot.

    Attributes
    ----------
    hot : ndarray of bool, shape (layers, experts)
        Whether the expert is to have a slot.
    objective_s : float
        Seconds that the window takes.
    bound_s : float
        Proven: no choice takes less.
    optimal : bool
        Whether the choice is proven to be the best.
    seconds : float
        Measured time of the solve.

    Examples
    --------
    >>> from moespac_nb import LaneTimes, PerExpert, solve
    >>> counts = np.array([[6, 3, 0, 1]])
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> found = solve(PerExpert(counts, counts > 5, 2, times))
    >>> found.optimal, round(found.objective_s, 6) == round(found.bound_s, 6)
    (True, True)
    """

    hot: np.ndarray
    objective_s: float
    bound_s: float
    optimal: bool
    seconds: float = 0.0


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
    InvalidInputError
        If shapes disagree, or a number is out of range.

    Examples
    --------
    >>> from moespac_nb import LaneTimes, solve
    >>> counts = np.array([[6, 3, 0, 1]])
    >>> times = LaneTimes(gpu_expert_s=1e-3, cpu_pair_s=2e-3, copy_s=4e-3, draft_window_s=8e-3)
    >>> solve(PerExpert(counts, counts > 5, 2, times)).hot
    array([[ True,  True, False, False]])
    """

    counts: np.ndarray
    resident: np.ndarray
    slots: int
    times: LaneTimes

    def __post_init__(self) -> None:
        """Check shapes and numbers."""
        shapes = np.shape(self.counts), np.shape(self.resident)
        if shapes[0] != shapes[1] or len(shapes[0]) != 2 or not np.size(self.counts):
            raise InvalidInputError(
                f"counts have shape {shapes[0]} and resident {shapes[1]}; expected: both (layers, experts)"
            )
        if not (np.isfinite(self.counts).all() and np.min(self.counts) >= 0):
            raise InvalidInputError("a count is negative or not finite; expected: positions, 0 or more")
        checked_whole("slots", self.slots, least=1)

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
        """Build the PuLP problem, with times in units of `unit_s`.

        Returns
        -------
        program : pulp.LpProblem
        bits : dict
            The variable, 0 or 1, of each (layer, expert) in use.
        takes : list
            The variable of each layer's time.
        """
        times, unit_s = self.times, self.unit_s
        program = new_program("per_expert")
        takes = [program.add_variable(f"takes_{layer}", 0) for layer in range(len(self.counts))]
        program += linear((layer, 1.0) for layer in takes)
        bits: dict[tuple[int, int], Any] = {}
        copies: list[list[tuple[Any, float]]] = []
        for layer, counts in enumerate(np.asarray(self.counts, float)):
            used = np.flatnonzero(counts).tolist()  # an expert without work needs no slot
            own = {expert: program.add_variable(f"hot_{layer}_{expert}", cat="Binary") for expert in used}
            bits |= {(layer, expert): bit for expert, bit in own.items()}
            for hot, amount, seconds in (
                (True, np.ones(len(used)), times.gpu_expert_s),
                (True, counts[used], times.gpu_pair_s),
                (False, np.ones(len(used)), times.cpu_expert_s),
                (False, counts[used], times.cpu_pair_s),
            ):
                work = amount * (seconds / unit_s)
                terms = zip(own.values(), (-work if hot else work).tolist(), strict=True)
                program += linear([(takes[layer], 1.0), *terms]) >= (0.0 if hot else float(work.sum()))
            loaded = (bit for expert, bit in own.items() if not self.resident[layer, expert])
            copies.append([(bit, times.copy_s / unit_s) for bit in loaded])
        add_deadlines(program, times, unit_s, copies, [[(layer, 1.0)] for layer in takes])
        program += linear((bit, 1.0) for bit in bits.values()) <= self.slots, "slots"
        return program, bits, takes

    def explain(self, placed: PerExpertSolution) -> list[dict[str, Any]]:
        """Return a row for each layer of a solution: its lanes' times, its loads, full slots.

        Parameters
        ----------
        placed : PerExpertSolution

        Returns
        -------
        list of dict
        """
        times, used, hot = self.times, np.asarray(self.counts) > 0, placed.hot
        cold_pairs, hot_pairs = (np.sum(self.counts * chosen, axis=1) for chosen in (~hot, hot))
        cpu_s = np.maximum(cold_pairs * times.cpu_pair_s, (used & ~hot).sum(axis=1) * times.cpu_expert_s)
        gpu_s = np.maximum(hot_pairs * times.gpu_pair_s, hot.sum(axis=1) * times.gpu_expert_s)
        return [
            {
                "layer": layer,
                "cpu_s": float(cpu_s[layer]),
                "gpu_s": float(gpu_s[layer]),
                "hot": int(hot[layer].sum()),
                "loads": int((hot & ~np.asarray(self.resident))[layer].sum()),
                "used": int(used[layer].sum()),
                "binding": ["slots"] if hot.sum() == self.slots else [],
            }
            for layer in range(len(hot))
        ]

    def __str__(self) -> str:
        """Return the program in words."""
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
