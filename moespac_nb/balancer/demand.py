"""How much work the coming window brings, and how it divides at each threshold: the paper's γ·k, b, r_c, r_g.

An expert is hot at threshold τ where its utility s ≥ τ. Layers × levels arrays have τ = 1 … K as columns.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import MoespacError

__all__ = ["Demand", "checked_utility", "level_sums"]

Array = np.ndarray


@dataclass(frozen=True, eq=False)
class Demand:
    """What each layer is expected to serve in one window. Finite and 0 or more; else MoespacError."""

    pairs: Array  # (layers,) token–expert pairs: the paper's γ·k
    distinct: Array  # (layers,) distinct experts: the paper's b
    cold_share: Array  # (layers, K) r_c: the share of the pairs that goes to cold experts
    hot_share: Array  # (layers, K) r_g: the share of the distinct experts that is hot

    def __post_init__(self) -> None:
        layers, levels = np.shape(self.cold_share) if np.ndim(self.cold_share) == 2 else (0, 0)
        accepted = {"pairs": (layers,), "distinct": (layers,), "cold_share": (layers, levels)}
        accepted["hot_share"] = (layers, levels)
        for name, shape in accepted.items():
            array = getattr(self, name)
            if np.shape(array) != shape or not array.size:
                raise MoespacError(
                    f"{name} has shape {np.shape(array)}; accepted: pairs and distinct (layers,), cold_share "
                    "and hot_share (layers, levels), at least one of each"
                )
            highest = 1.0 + 1e-9 if name.endswith("share") else np.inf
            if not (array.min() >= 0 and array.max() <= highest and array.max() < np.inf):
                raise MoespacError(
                    f"{name} goes from {array.min()} to {array.max()}; accepted: "
                    + ("shares from 0 to 1" if highest < 2 else "finite numbers of 0 or more")
                )

    @classmethod
    def of(cls, utility: Array, counts: Array, levels: int) -> Demand:
        """Of a window whose counts f (layers, experts) are known: expected or true ones, whole or not."""
        utility = checked_utility(utility, levels)
        counts = np.asarray(counts, np.float64)
        if counts.shape != utility.shape:
            raise MoespacError(f"counts have shape {counts.shape}; accepted: the utility's, {utility.shape}")
        pairs = level_sums(utility, levels, counts)
        used = level_sums(utility, levels, counts > 0)
        return cls.of_levels(pairs, used)

    @classmethod
    def of_levels(cls, pairs: Array, used: Array) -> Demand:
        """From the pairs and the distinct experts at each level of utility, both (layers, K + 1)."""
        hot_pairs, hot_used = _at_least(pairs), _at_least(used)
        all_pairs, all_used = hot_pairs[:, :1], hot_used[:, :1]
        hot_share_of_pairs = hot_pairs[:, 1:] / np.maximum(all_pairs, np.finfo(float).tiny)
        hot_share = hot_used[:, 1:] / np.maximum(all_used, np.finfo(float).tiny)
        return cls(all_pairs[:, 0], all_used[:, 0], 1.0 - hot_share_of_pairs, hot_share)


def checked_utility(utility: Array, levels: int) -> Array:
    """The utility as integers (layers, experts) in 0 … K, K = levels ≥ 1; else MoespacError."""
    if levels < 1:
        raise MoespacError(f"levels is {levels}; accepted: K of 1 or more, the highest utility")
    utility = np.asarray(utility)
    if utility.ndim != 2 or not utility.size or utility.dtype.kind not in "iu":
        raise MoespacError(
            f"the utility is {utility.dtype} of shape {utility.shape}; accepted: integers (layers, experts)"
        )
    if utility.min() < 0 or utility.max() > levels:
        raise MoespacError(
            f"the utility goes from {utility.min()} to {utility.max()}; accepted: 0 to K = {levels}"
        )
    return utility


def level_sums(utility: Array, levels: int, amount: Array) -> Array:
    """The sum of an amount (layers, experts) over the experts at each level: (layers, K + 1) floats."""
    layers = len(utility)
    cell = utility + np.arange(layers)[:, None] * (levels + 1)
    return np.bincount(cell.ravel(), amount.ravel(), layers * (levels + 1)).reshape(layers, levels + 1)


def _at_least(at_level: Array) -> Array:
    """Column s: the sum over the levels ≥ s."""
    return at_level[:, ::-1].cumsum(axis=1)[:, ::-1]
