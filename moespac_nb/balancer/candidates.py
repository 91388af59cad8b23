"""What each threshold would bring in each layer: the table that formulations of one τ a layer choose from.

table = candidates(utility, resident, slots, times, demand)
table.total_s[3, 0]      # seconds of layer 3 at τ = 1, both lanes side by side
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_number, checked_whole
from .demand import Demand, checked_utility

if TYPE_CHECKING:
    from ..hardware.costs import Costs

__all__ = ["Candidates", "LaneTimes", "Thresholds", "candidates"]

Array = np.ndarray


@dataclass(frozen=True, kw_only=True)
class LaneTimes:
    """Seconds that each lane takes for one thing. A pair is one position served by one expert.

    A lane that serves several experts takes as long as the slower of reading each of them once and computing
    their pairs. The paper has one number a lane, `gpu_expert_s` and `cpu_pair_s`; the others are then 0.

    Parameters
    ----------
    gpu_expert_s, cpu_expert_s : float
        Reading one expert's weights, from its slot or from the host's memory.
    gpu_pair_s, cpu_pair_s : float
        The arithmetic of one pair.
    copy_s : float
        Bringing one expert into a slot.
    draft_window_s : float
        Drafting the whole window; the link is free to copy meanwhile.
    dense_s : float
        A layer before its experts; the link copies meanwhile too.

    Raises
    ------
    InvalidInputError
        If a time is negative or not finite.

    Examples
    --------
    >>> from moespac_nb import cost_model
    >>> costs = cost_model("rtx4090", "qwen3-30b-a3b")
    >>> times = LaneTimes.of(costs, gamma=8)
    >>> times.cpu_pair_s < times.copy_s
    True
    """

    gpu_expert_s: float
    cpu_pair_s: float
    copy_s: float
    draft_window_s: float
    gpu_pair_s: float = 0.0
    cpu_expert_s: float = 0.0
    dense_s: float = 0.0

    def __post_init__(self) -> None:
        """Check the times."""
        for name, seconds in vars(self).items():
            check_number(name, seconds, least=0)

    @classmethod
    def of(cls, costs: Costs, gamma: int) -> LaneTimes:
        """Make the times of one machine and model.

        Parameters
        ----------
        costs : Costs
            See `cost_model`.
        gamma : int
            Drafted tokens of a window; γ + 1 positions are verified.

        Returns
        -------
        LaneTimes
        """
        checked_whole("gamma", gamma, least=0)
        return cls(
            gpu_expert_s=costs.gpu_read_s,
            gpu_pair_s=costs.gpu_pair_s,
            cpu_expert_s=costs.cpu_read_s,
            cpu_pair_s=costs.cpu_pair_s,
            copy_s=costs.copy_s(),
            draft_window_s=gamma * costs.draft_s,
            dense_s=costs.layer_s(gamma + 1),
        )


@dataclass(frozen=True, eq=False)
class Thresholds:
    """Decision of a balancer: experts of layer l with utility s ≥ tau[l] are hot.

    Where nothing is feasible every τ is K.

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

    Examples
    --------
    >>> Thresholds(np.array([1, 2]), objective_s=0.01, feasible=True, optimal=False, method="lagrangian").tau
    array([1, 2])
    """

    tau: Array
    objective_s: float
    feasible: bool
    optimal: bool
    method: str
    binding: tuple[str, ...] = ()
    seconds: float = 0.0


@dataclass(frozen=True, eq=False)
class Candidates:
    """Table of what each threshold brings in each layer: an expert is hot where s ≥ τ.

    Column τ - 1 is threshold τ.

    Attributes
    ----------
    cpu_s, gpu_s : ndarray, shape (layers, K)
        Seconds of the CPU lane (cold pairs) and of the GPU lane (hot experts).
    hot, loads : ndarray of int, shape (layers, K)
        Hot experts, which need a slot; and those of them that are not resident, n(τ).
    room : ndarray of int, shape (K,)
        Slots that are free or held by an expert that is cold at τ: what τ alone could load into.
    slots : int
        Slots in all.
    times : LaneTimes
        The machine's times.

    Examples
    --------
    >>> from moespac_nb import Demand, candidates
    >>> utility = np.array([[2, 1, 0, 0]])
    >>> demand = Demand.of(utility, np.array([[6, 3, 0, 1]]), levels=2)
    >>> times = LaneTimes(gpu_expert_s=5, cpu_pair_s=2, copy_s=1, draft_window_s=1)
    >>> table = candidates(utility, utility > 1, 2, times, demand)
    >>> table.hot, table.loads, table.room
    (array([[2, 1]]), array([[1, 0]]), array([1, 1]))
    """

    cpu_s: Array
    gpu_s: Array
    hot: Array
    loads: Array
    room: Array
    slots: int
    times: LaneTimes

    @cached_property
    def total_s(self) -> Array:
        """Seconds of each layer, max(T_cpu, T_gpu), (layers, K): the lanes run side by side."""
        return np.asarray(np.maximum(self.cpu_s, self.gpu_s))

    @property
    def layers(self) -> int:
        """Number of layers."""
        return len(self.hot)

    @property
    def levels(self) -> int:
        """K, the highest threshold."""
        return int(self.hot.shape[1])

    @cached_property
    def unit_s(self) -> float:
        """Largest time of the table: a solver is given times in it, so its tolerances fit any machine."""
        return max(float(self.total_s.max()), self.times.copy_s, self.times.draft_window_s) or 1.0

    @property
    def tolerance_s(self) -> float:
        """Seconds by which a deadline may be missed: a solver's arithmetic cannot tell that from kept."""
        return 1e-6 * self.unit_s

    @cached_property
    def fastest(self) -> Array:
        """Each layer's τ of least `total_s`, were it alone, (layers,); of equal ones the highest."""
        return lowest(self.total_s)

    def row(self, layer: int, level: int) -> dict[str, Any]:
        """Return one candidate as plain values: the part that all formulations explain.

        Parameters
        ----------
        layer, level : int
            The candidate's row and column; its threshold is level + 1.

        Returns
        -------
        dict
        """
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
        """Return a table's entry of each layer at some thresholds.

        Parameters
        ----------
        table : ndarray, shape (layers, K)
            One of this table's arrays, or one like it.
        tau : ndarray of int, shape (layers,)
            1 to K.

        Returns
        -------
        ndarray, shape (layers,)
        """
        return np.asarray(table[np.arange(self.layers), tau - 1])


def lowest(cost: Array) -> Array:
    """Return each layer's τ of least cost (layers, K); of equal ones the highest, with the fewest slots."""
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
    InvalidInputError
        If shapes disagree, or a number is out of range.

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
