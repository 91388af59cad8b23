"""The coming window's work, and its division at each threshold: the paper's γ·k, b, r_c, r_g.

An expert is hot at threshold τ where its utility s ≥ τ. Layers × levels arrays have τ = 1 … K as columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_number, checked_whole

__all__ = ["Demand", "LevelRates", "checked_utility", "level_sums"]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Demand:
    """The work that each layer is expected to have in one window.

    Attributes
    ----------
    pairs : ndarray, shape (layers,)
        Token–expert pairs: the paper's γ·k.
    distinct : ndarray, shape (layers,)
        Distinct experts: the paper's b.
    cold_share : ndarray, shape (layers, K)
        Share of the pairs that goes to cold experts, r_c, at each τ.
    hot_share : ndarray, shape (layers, K)
        Share of the distinct experts that is hot, r_g, at each τ.

    Raises
    ------
    InvalidInputError
        If shapes disagree, or a value is negative, not finite, or a share above 1.

    Examples
    --------
    >>> demand = Demand.of(np.array([[2, 1, 0, 0]]), counts=np.array([[6, 3, 0, 1]]), levels=2)
    >>> demand.pairs, demand.distinct
    (array([10.]), array([3.]))
    >>> demand.cold_share  # at τ = 1 and τ = 2
    array([[0.1, 0.4]])
    """

    pairs: Array
    distinct: Array
    cold_share: Array
    hot_share: Array

    def __post_init__(self) -> None:
        """Check shapes and values."""
        shape = np.shape(self.cold_share)
        for name, array in vars(self).items():
            expected = shape if name.endswith("share") else shape[:1]
            if len(shape) != 2 or np.shape(array) != expected or not array.size:
                raise InvalidInputError(
                    f"{name} has shape {np.shape(array)}; expected: pairs and distinct (layers,), cold_share "
                    "and hot_share (layers, levels), at least one of each"
                )
            highest = 1.0 + 1e-9 if name.endswith("share") else np.inf
            if not (array.min() >= 0 and array.max() <= highest and array.max() < np.inf):
                raise InvalidInputError(
                    f"{name} goes from {array.min()} to {array.max()}; expected: "
                    + ("shares from 0 to 1" if highest < 2 else "finite numbers of 0 or more")
                )

    @classmethod
    def of(cls, utility: Array, counts: Array, levels: int) -> Demand:
        """Make the demand of a window whose counts are known, or expected.

        Parameters
        ----------
        utility : ndarray of int, shape (layers, experts)
            0 to `levels`.
        counts : ndarray, shape (layers, experts)
            Positions that each expert serves.
        levels : int
            K.

        Returns
        -------
        Demand

        Examples
        --------
        >>> demand = Demand.of(np.array([[2, 1, 0, 0]]), np.array([[6, 3, 0, 1]]), levels=2)
        >>> demand.pairs, demand.distinct
        (array([10.]), array([3.]))
        """
        utility = checked_utility(utility, levels)
        counts = np.asarray(counts, np.float64)
        if counts.shape != utility.shape:
            raise InvalidInputError(
                f"counts have shape {counts.shape}; expected: the utility's, {utility.shape}"
            )
        pairs = level_sums(utility, levels, counts)
        used = level_sums(utility, levels, counts > 0)
        return cls.of_levels(pairs, used)

    @classmethod
    def of_levels(cls, pairs: Array, used: Array) -> Demand:
        """Make a demand of the work at each level of utility.

        Parameters
        ----------
        pairs, used : ndarray, shape (layers, K + 1)
            Token–expert pairs, and distinct experts in use, at the levels 0 to K.

        Returns
        -------
        Demand
        """
        hot_pairs, hot_used = _at_least(pairs), _at_least(used)
        all_pairs, all_used = hot_pairs[:, :1], hot_used[:, :1]
        hot_share_of_pairs = hot_pairs[:, 1:] / np.maximum(all_pairs, np.finfo(float).tiny)
        hot_share = hot_used[:, 1:] / np.maximum(all_used, np.finfo(float).tiny)
        return cls(all_pairs[:, 0], all_used[:, 0], 1.0 - hot_share_of_pairs, hot_share)


def checked_utility(utility: Array, levels: int) -> Array:
    """Return the utility as integers (layers, experts) from 0 to K = levels; raise if it is anything else."""
    checked_whole("levels", levels, least=1)
    utility = np.asarray(utility)
    if utility.ndim != 2 or not utility.size or utility.dtype.kind not in "iu":
        raise InvalidInputError(
            f"the utility is {utility.dtype} of shape {utility.shape}; expected: integers (layers, experts)"
        )
    if utility.min() < 0 or utility.max() > levels:
        raise InvalidInputError(
            f"the utility goes from {utility.min()} to {utility.max()}; expected: 0 to K = {levels}"
        )
    return utility


def level_sums(utility: Array, levels: int, amount: Array) -> Array:
    """Return the sums of an amount (layers, experts) over the experts at each level, (layers, K + 1)."""
    layers = len(utility)
    cell = utility + np.arange(layers)[:, None] * (levels + 1)
    return np.bincount(cell.ravel(), amount.ravel(), layers * (levels + 1)).reshape(layers, levels + 1)


def _at_least(at_level: Array) -> Array:
    """Sum the levels ≥ s in column s."""
    return at_level[:, ::-1].cumsum(axis=1)[:, ::-1]


class LevelRates:
    """Rates at which experts of each level of utility are used, learned from windows.

    Rates are plain means over the first `warmup` windows and moving averages over about as many afterwards.
    Before the first window every expert is as likely as the next, and no two pairs share one; this prior
    counts as one expert seen at each level, and fades like everything else.

    Parameters
    ----------
    layers : int
        Layers with experts.
    levels : int
        K, the highest utility.
    warmup : int, default 8
        Windows, at least one.

    Examples
    --------
    >>> rates = LevelRates(layers=1, levels=2)
    >>> utility, counts = np.array([[2, 1, 0, 0]]), np.array([[6, 3, 0, 1]])
    >>> rates.observe(utility, counts)
    >>> rates.demand(utility, pairs=10).distinct.round(2)
    array([4.])
    """

    def __init__(self, layers: int, levels: int, warmup: int = 8) -> None:
        checked_whole("layers", layers, least=1)
        self.levels = checked_whole("levels", levels, least=1)
        self.warmup = checked_whole("warmup", warmup, least=1)
        self.windows = 0
        # Sums over windows at each level, (layers, K + 1): experts, work, pairs and experts in use. A layer's
        # mean expert has work 1 in each window, so that the draft length does not matter.
        self._sums = np.ones((4, layers, levels + 1))

    @property
    def warm(self) -> bool:
        """Whether `warmup` windows have been observed."""
        return self.windows >= self.warmup

    def observe(self, utility: Array, counts: Array) -> None:
        """Learn from one window.

        Parameters
        ----------
        utility : ndarray of int, shape (layers, experts)
            The utility that was known before the window, 0 to K.
        counts : ndarray of int, shape (layers, experts)
            Positions that each expert served in it.

        Raises
        ------
        InvalidInputError
            If shapes disagree, or a number is out of range.
        """
        counts, layers = np.asarray(counts), self._sums.shape[1]
        if counts.shape != np.shape(utility) or len(counts) != layers:
            raise InvalidInputError(
                f"counts have shape {counts.shape} and the utility {np.shape(utility)}; expected: both "
                f"(layers, experts) with {layers} layers"
            )
        if not counts.min() >= 0:
            raise InvalidInputError(f"counts go down to {counts.min()}; expected: positions, 0 or more")
        utility = checked_utility(utility, self.levels)
        if self.warm:
            self._sums *= 1 - 1 / self.warmup
        experts = level_sums(utility, self.levels, np.ones(counts.shape))
        pairs = level_sums(utility, self.levels, counts)
        used = level_sums(utility, self.levels, counts > 0)
        work = pairs * (counts.shape[1] / np.maximum(pairs.sum(axis=1, keepdims=True), 1))
        self._sums += (experts, work, pairs, used)
        self.windows += 1

    def demand(self, utility: Array, pairs: float) -> Demand:
        """Predict the demand of a window.

        Parameters
        ----------
        utility : ndarray of int, shape (layers, experts)
            0 to K.
        pairs : float
            Token–expert pairs of each layer: (γ + 1) · k.

        Returns
        -------
        Demand
        """
        utility = checked_utility(utility, self.levels)
        experts_seen, work_seen, pairs_seen, used_seen = self._sums
        if len(utility) != len(experts_seen):
            raise InvalidInputError(f"the utility has {len(utility)} layers; expected: {len(experts_seen)}")
        check_number("pairs", pairs, least=0)
        experts = level_sums(utility, self.levels, np.ones(utility.shape))
        work = experts * (work_seen / experts_seen)
        expected = pairs * work / work.sum(axis=1, keepdims=True)
        return Demand.of_levels(expected, np.minimum(experts, expected * (used_seen / pairs_seen)))
