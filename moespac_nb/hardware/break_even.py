"""How often a prefetch must be right to pay for itself."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np

from ..utils.validation import check_choice, check_number, checked_whole
from .costs import Costs

__all__ = ["break_even_precision"]


def break_even_precision(
    costs: Costs,
    hidden_share: float | np.ndarray,
    *,
    positions: int = 1,
    miss: Literal["cpu", "load"] = "cpu",
) -> float | np.ndarray:
    """Return the share of prefetches that must be used for prefetching to save time.

    A used one saves what a miss takes beyond a hit. Each takes the part of its copy that runs beside nothing
    else, and on a shared bus what it holds the CPU lane up. That an evicted expert may be missed is left out,
    so that the share is a lower bound.

    Parameters
    ----------
    costs : Costs
        Of a machine and a model, see `cost_model`.
    hidden_share : float or ndarray
        The part of a copy that runs while something else runs, 0 to 1.
    positions : int, default 1
        Positions that the expert serves when it is used.
    miss : {"cpu", "load"}
        Whether a missing expert computes on the CPU lane, or is copied and waited for.

    Returns
    -------
    float or ndarray
        Above 1 where no prefetch pays, however often it is right.

    Raises
    ------
    InvalidInputError
        If an argument is out of its range.

    Examples
    --------
    >>> from moespac_nb.hardware.costs import cost_model
    >>> costs = cost_model("rtx4090", "qwen3-30b-a3b")
    >>> [round(float(break_even_precision(costs, hidden, positions=4)), 2) for hidden in (0.5, 0.9)]
    [2.03, 0.41]
    """
    for share in np.atleast_1d(hidden_share):
        check_number("hidden_share", float(share), least=0, most=1)
    positions = checked_whole("positions", positions, least=1)
    check_choice("miss", miss, ("cpu", "load"))
    copy_s, hit_s = costs.copy_s(), costs.gpu_s(positions)
    saved_s = (costs.cpu_s(positions) if miss == "cpu" else copy_s + hit_s) - hit_s
    taken_s = (1 - hidden_share) * copy_s + hidden_share * _held_up_s(costs)
    return taken_s / saved_s if saved_s > 0 else taken_s * math.inf


def _held_up_s(costs: Costs) -> float:
    """Return the seconds that a hidden copy takes from a CPU lane that reads all the time."""
    if costs.bus_bytes_per_s is None:
        return 0.0
    copy_s = costs.copy_s()
    together_bytes_per_s = costs.cpu_bytes_per_s + costs.expert_bytes / copy_s
    return max(0.0, together_bytes_per_s / costs.bus_bytes_per_s - 1) * copy_s
