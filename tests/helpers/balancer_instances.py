"""Small instances for the balancer's tests, from a seed: times of one order, so that all of them matter."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moespac_nb.balancer import Candidates, Demand, LaneTimes, candidates


@dataclass(frozen=True, eq=False)
class Instance:
    utility: np.ndarray
    resident: np.ndarray
    counts: np.ndarray
    slots: int
    times: LaneTimes

    @property
    def levels(self) -> int:
        return 3

    def table(self) -> Candidates:
        demand = Demand.of(self.utility, self.counts, self.levels)
        return candidates(self.utility, self.resident, self.slots, self.times, demand)


def instance(seed: int, layers: int = 4, experts: int = 6) -> Instance:
    rng = np.random.default_rng(seed)
    utility = rng.integers(0, 4, (layers, experts))
    counts = np.maximum(0, utility + rng.integers(-1, 2, utility.shape))
    resident = rng.random(utility.shape) < rng.random() * 0.6
    slots = max(1, int(resident.sum()), int(rng.random() * utility.size))
    times = LaneTimes(
        gpu_expert_s=rng.choice([0.1, 0.5, 1.0]) * 1e-3,
        cpu_pair_s=rng.choice([0.3, 1.0]) * 1e-3,
        cpu_expert_s=rng.choice([0.0, 0.7]) * 1e-3,
        gpu_pair_s=rng.choice([0.0, 0.3]) * 1e-3,
        copy_s=rng.choice([0.2, 1.0, 2.5]) * 1e-3,
        draft_window_s=rng.choice([0.0, 2.0, 10.0]) * 1e-3,
        dense_s=rng.choice([0.0, 0.5]) * 1e-3,
    )
    return Instance(utility, resident, counts, slots, times)
