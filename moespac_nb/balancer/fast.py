"""A good point of the joint programme within half a millisecond, by putting a price on what the layers share.

Given a price on a slot and one on a second of the link, the layers have nothing more to do with each other:
each takes the τ whose time and charges come to least. Many pairs of prices are tried at once, the best point
that keeps all constraints is kept, and what is still free is then given to whom it helps most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .thresholds import Thresholds

if TYPE_CHECKING:
    from .joint import Joint

__all__ = ["fast"]

Array = np.ndarray
SLOT_PRICES, LINK_PRICES, IMPROVEMENTS = 16, 6, 6


def fast(joint: Joint) -> Thresholds:
    """A feasible point wherever there is one; optimal only where every layer can have its own best."""
    table = joint.table
    tau = table.fastest
    if not joint.breaks(tau):
        return joint.thresholds(tau, "fast", True)
    start = np.full(table.layers, table.levels)  # the least slots and copies
    if joint.breaks(start):
        found = most_slack(joint)
        if found is None:
            return joint.thresholds(None, "fast", False)
        start = found
    tau = priced(joint, start)
    for _ in range(IMPROVEMENTS):
        switches = joint.switches(tau)
        gain_s = np.where(switches.allowed, switches.gain_s, 0.0)
        layer, level = divmod(int(gain_s.argmax()), table.levels)
        if gain_s[layer, level] <= 0:
            break
        tau[layer] = level + 1
    else:
        switches = joint.switches(tau)
    return joint.thresholds(tau, "fast", False, switches)


def priced(joint: Joint, start: Array) -> Array:
    """The best feasible point over a grid of prices, or `start` where that is better."""
    table, times = joint.table, joint.table.times
    total_s, hot, copies_s = table.total_s.T, table.hot.T, table.loads.T * times.copy_s  # (K, layers)
    gain_s = np.diff(total_s, axis=0)
    slot_prices = _prices(gain_s, -np.diff(hot, axis=0), SLOT_PRICES)
    link_prices = _prices(gain_s, -np.diff(copies_s, axis=0), LINK_PRICES)
    charged = total_s[:, None, None] + slot_prices[:, None, None] * hot[:, None, None]
    charged = (
        charged + link_prices[:, None] * copies_s[:, None, None]
    )  # (K, slot prices, link prices, layers)
    level = charged.argmin(axis=0).reshape(-1, table.layers)  # (points, layers)
    layers = np.arange(table.layers)
    taken_s = total_s[level, layers]
    begins_s = times.draft_window_s + (taken_s + times.dense_s).cumsum(axis=1) - taken_s
    in_time = (begins_s - copies_s[level, layers].cumsum(axis=1)).min(axis=1) >= -table.tolerance_s
    feasible = in_time & (hot[level, layers].sum(axis=1) <= table.slots)
    cost_s = np.where(feasible, taken_s.sum(axis=1), np.inf)
    best = int(cost_s.argmin())
    return level[best] + 1 if cost_s[best] < joint.objective_s(start) else start.copy()


def _prices(gain_s: Array, used: Array, number: int) -> Array:
    """0, and prices at which layers change their mind: quantiles of what a unit of the resource gains."""
    worth = gain_s[(gain_s > 0) & (used > 0)] / used[(gain_s > 0) & (used > 0)]
    if not worth.size:
        return np.zeros(1)
    worth.sort()
    return np.append(0.0, worth[np.linspace(0, worth.size - 1, number - 1).astype(int)] * (1 + 1e-9))


def most_slack(joint: Joint) -> Array | None:
    """A feasible point, or None: for each number of slots used so far, the most time the link can have left.

    More slack with no more slots is never worse, so one number for each count of slots decides. Needed only
    where τ = K everywhere misses a deadline that a slower layer before it would keep.
    """
    table, times = joint.table, joint.table.times
    slack_s = np.full(table.slots + 1, -np.inf)  # by slots used
    slack_s[0] = times.draft_window_s
    chosen = np.zeros((table.layers, table.slots + 1), np.int64)
    for layer in range(table.layers):
        following = np.full(table.slots + 1, -np.inf)
        for level in range(table.levels):
            hot = int(table.hot[layer, level])
            if hot > table.slots:
                continue
            before = slack_s[: table.slots + 1 - hot] + (
                times.dense_s - times.copy_s * table.loads[layer, level]
            )
            after = np.where(before >= -table.tolerance_s, before + table.total_s[layer, level], -np.inf)
            better = after > following[hot:]
            following[hot:][better] = after[better]
            chosen[layer, hot:][better] = level + 1
        slack_s = following
    used = int(slack_s.argmax())
    if slack_s[used] == -np.inf:
        return None
    tau = np.zeros(table.layers, np.int64)
    for layer in range(table.layers - 1, -1, -1):
        tau[layer] = chosen[layer, used]
        used -= int(table.hot[layer, tau[layer] - 1])
    return tau
