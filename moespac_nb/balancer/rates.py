"""The shares r_c and r_g learned online: how much work an expert of each utility brings, layer by layer.

    rates = LevelRates(layers=48, levels=4)
    rates.observe(utility, counts)      # after each window: its counts, and the utility known before it
    rates.demand(utility, pairs=72)     # before the next

What is learned is the work of one expert at each level of utility, not the shares themselves: how many
experts stand at a level changes from window to window, and the shares at each τ follow from both. So r_c
rises with τ, r_g falls, and a τ that no expert reaches leaves everything to the cold side.
"""

from __future__ import annotations

import numpy as np

from ..errors import MoespacError
from .demand import Demand, checked_utility, level_sums

__all__ = ["LevelRates"]

Array = np.ndarray


class LevelRates:
    """Plain means over the first `warmup` windows, moving averages over about as many afterwards.

    Before the first window every expert is as likely as the other, and no two pairs share one. That counts
    as much as one expert seen at each level, and fades like what was seen.
    """

    def __init__(self, layers: int, levels: int, warmup: int = 8) -> None:
        for name, value in (("layers", layers), ("levels", levels), ("warmup", warmup)):
            if value < 1:
                raise MoespacError(f"{name} is {value}; accepted: 1 or more")
        self.levels, self.warmup, self.windows = levels, warmup, 0
        # Sums over windows at each level, (layers, K + 1). A layer's mean expert serves 1 in each window,
        # so that the draft length does not matter.
        self._experts = np.ones((layers, levels + 1))
        self._work = np.ones((layers, levels + 1))
        self._pairs = np.ones((layers, levels + 1))
        self._used = np.ones((layers, levels + 1))

    @property
    def warm(self) -> bool:
        return self.windows >= self.warmup

    def observe(self, utility: Array, counts: Array) -> None:
        """One window: counts f and the utility that was known before it, both (layers, experts)."""
        counts = np.asarray(counts)
        if counts.shape != np.shape(utility) or len(counts) != len(self._work):
            raise MoespacError(
                f"counts have shape {counts.shape} and the utility {np.shape(utility)}; accepted: both "
                f"(layers, experts) with {len(self._work)} layers"
            )
        if not counts.min() >= 0:
            raise MoespacError(f"counts go down to {counts.min()}; accepted: positions, 0 or more")
        utility = checked_utility(utility, self.levels)
        if self.warm:
            for sums in (self._experts, self._work, self._pairs, self._used):
                sums *= 1 - 1 / self.warmup
        pairs = level_sums(utility, self.levels, counts)
        total = pairs.sum(axis=1, keepdims=True)
        self._experts += level_sums(utility, self.levels, np.ones(counts.shape))
        self._work += pairs * (counts.shape[1] / np.maximum(total, 1))
        self._pairs += pairs
        self._used += level_sums(utility, self.levels, counts > 0)
        self.windows += 1

    def demand(self, utility: Array, pairs: float) -> Demand:
        """Of a window in which each layer serves `pairs` token–expert pairs: (γ + 1)·k."""
        utility = checked_utility(utility, self.levels)
        if len(utility) != len(self._work):
            raise MoespacError(f"the utility has {len(utility)} layers; accepted: {len(self._work)}")
        if not 0 <= pairs < np.inf:
            raise MoespacError(f"pairs is {pairs}; accepted: a finite number of 0 or more")
        experts = level_sums(utility, self.levels, np.ones(utility.shape))
        work = experts * (self._work / self._experts)
        expected = pairs * work / work.sum(axis=1, keepdims=True)
        return Demand.of_levels(expected, np.minimum(experts, expected * (self._used / self._pairs)))
