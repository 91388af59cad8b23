"""What each threshold would bring in each layer: the table that formulations of one τ a layer choose from.

table = candidates(utility, resident, slots, times, demand)
table.total_s[3, 0]      # seconds of layer 3 at τ = 1, both lanes side by side
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from ..utils.exceptions import InvalidInputError
from .demand import Demand, checked_utility
from .times import LaneTimes

__all__ = ["Candidates", "candidates"]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Candidates:
    """What each threshold brings in each layer; column τ - 1 is threshold τ, an expert is hot where s ≥ τ.

    Attributes
    ----------
    cpu_s, gpu_s : ndarray, shape (layers, K)
        Seconds of the CPU lane (cold pairs) and of the GPU lane (hot experts).
    hot, loads : ndarray of int, shape (layers, K)
        Hot experts, which need a slot; and those of them that are not resident, n(τ).
    room : ndarray of int, shape (K,)
        Slots that are free or held by an expert that is cold at τ.
    slots : int
        Slots in all.
    times : LaneTimes
        The machine's times.
    """

    cpu_s: Array  # (layers, K) T_cpu: the cold pairs, on the CPU lane
    gpu_s: Array  # (layers, K) T_gpu: the hot experts, on the GPU lane
    hot: Array  # (layers, K) experts that are to have a slot: kept, or loaded
    loads: Array  # (layers, K) n(τ): those of them that are not resident
    room: Array  # (K,) slots free, or held by an expert that is cold at τ: what τ alone could load into
    slots: int
    times: LaneTimes

    @cached_property
    def total_s(self) -> Array:
        """max(T_cpu, T_gpu), (layers, K): the lanes run side by side."""
        return np.asarray(np.maximum(self.cpu_s, self.gpu_s))

    @property
    def layers(self) -> int:
        return len(self.hot)

    @property
    def levels(self) -> int:
        return int(self.hot.shape[1])

    @cached_property
    def unit_s(self) -> float:
        """The largest time in sight: a solver is given times in it, and its tolerances fit any machine."""
        return max(float(self.total_s.max()), self.times.copy_s, self.times.draft_window_s) or 1.0

    @property
    def tolerance_s(self) -> float:
        """How far a time constraint may be missed: what a solver's arithmetic cannot tell from kept."""
        return 1e-6 * self.unit_s

    @cached_property
    def fastest(self) -> Array:
        """(layers,) each layer's τ of least total_s, were it alone; of equal ones the highest."""
        return lowest(self.total_s)

    def row(self, layer: int, level: int) -> dict[str, Any]:
        """Return one candidate, τ = level + 1, as plain values: the part that all formulations explain."""
        return {
            "layer": layer,
            "tau": level + 1,
            "cpu_s": float(self.cpu_s[layer, level]),
            "gpu_s": float(self.gpu_s[layer, level]),
            "total_s": float(self.total_s[layer, level]),
            "hot": int(self.hot[layer, level]),
            "loads": int(self.loads[layer, level]),
            "copies_s": float(self.loads[layer, level] * self.times.copy_s),
        }

    def of(self, table: Array, tau: Array) -> Array:
        """Return a table's entry of each layer at thresholds `tau`, (layers,)."""
        return np.asarray(table[np.arange(self.layers), tau - 1])


def lowest(cost: Array) -> Array:
    """(layers,) the τ of least cost (layers, K); of equal ones the highest, with the fewest slots."""
    return np.asarray(cost.shape[1] - cost[:, ::-1].argmin(axis=1))


def candidates(utility: Array, resident: Array, slots: int, times: LaneTimes, demand: Demand) -> Candidates:
    """Build the candidate table of one window.

    Parameters
    ----------
    utility : ndarray of int, shape (layers, experts)
        0 to K, the number of the demand's levels.
    resident : ndarray of bool, shape (layers, experts)
        Whether a slot holds the expert.
    slots : int
        Slots in all, shared by the layers: at least one, and one for each resident.
    times : LaneTimes
        The machine's times.
    demand : Demand
        The expected work of each layer.

    Returns
    -------
    Candidates

    Raises
    ------
    MoespacError
        Shapes disagree, or a number is out of range.

    Examples
    --------
    >>> utility = np.array([[2, 1, 0, 0]])
    >>> times = LaneTimes(gpu_expert_s=5, cpu_pair_s=2, copy_s=1, draft_window_s=1)
    >>> demand = Demand.of(utility, np.array([[6, 3, 0, 1]]), levels=2)
    >>> table = candidates(utility, utility > 1, 2, times, demand)
    >>> table.hot.tolist(), table.loads.tolist()
    ([[2, 1]], [[1, 0]])
    """
    layers, levels = demand.cold_share.shape
    utility = checked_utility(utility, levels)
    resident = np.asarray(resident)
    if resident.dtype != bool or resident.shape != utility.shape:
        raise InvalidInputError(
            f"resident is {resident.dtype} of shape {resident.shape}; expected: bool of the utility's "
            f"shape, {utility.shape}"
        )
    if len(utility) != layers:
        raise InvalidInputError(
            f"the utility has {len(utility)} layers and the demand {layers}; expected: as many"
        )
    held = int(np.count_nonzero(resident))
    if slots < max(1, held):
        raise InvalidInputError(
            f"slots is {slots} with {held} experts resident; expected: at least one slot, and one for each "
            "resident"
        )
    # One pass over the experts: cell (layer, level, resident or not).
    cell = 2 * utility.astype(np.int32) + (2 * (levels + 1) * np.arange(layers, dtype=np.int32))[:, None]
    cell += resident
    counts = np.bincount(cell.ravel(), minlength=2 * layers * (levels + 1)).reshape(layers, levels + 1, 2)
    at_least = counts[:, :0:-1].cumsum(axis=1)[:, ::-1]  # levels K … 1 summed, back in order
    kept_or_loaded = at_least.sum(axis=2)
    hot_residents = at_least[:, :, 1].sum(axis=0)
    pairs, distinct = demand.pairs[:, None], demand.distinct[:, None]
    cpu_s = np.maximum(
        demand.cold_share * (pairs * times.cpu_pair_s),
        (1.0 - demand.hot_share) * (distinct * times.cpu_expert_s),
    )
    gpu_s = np.maximum(
        demand.hot_share * (distinct * times.gpu_expert_s),
        (1.0 - demand.cold_share) * (pairs * times.gpu_pair_s),
    )
    return Candidates(
        cpu_s, gpu_s, kept_or_loaded, at_least[:, :, 0], slots - hot_residents, int(slots), times
    )
