"""What a balancer decides: one threshold a layer, and what keeps it from a better one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Thresholds"]


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Experts of layer l with utility s ≥ tau[l] are hot. Where nothing is feasible every τ is K.

    Attributes
    ----------
    tau : ndarray of int, shape (layers,)
        1 to K.
    objective_s : float
        The minimised value at these thresholds.
    feasible, optimal : bool
        `optimal` means proven; it is False for a heuristic's point, and after a time limit.
    method : {"pulp", "enumerate", "lagrangian"}
        The method that found this point.
    binding : tuple of str
        Constraints that it violates, or that keep layers from a better τ.
    seconds : float
        Measured time of the search.
    """

    tau: np.ndarray  # (layers,) integers 1 … K
    objective_s: float  # what was minimised, at these thresholds
    feasible: bool
    optimal: bool  # proven; False of a heuristic's point and of a solver stopped by its time limit
    method: str  # "pulp", "enumerate" or "lagrangian": the method that found this point
    binding: tuple[str, ...] = ()  # constraints that it breaks, or that keep layers from a better τ
    seconds: float = 0.0  # measured: what finding it took
