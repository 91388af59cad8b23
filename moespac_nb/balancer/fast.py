"""A good point of the joint programme within half a millisecond, by putting a price on what the layers share.

Given a price on a slot and one on a second of the link, the layers have nothing more to do with each other:
each takes the τ whose time and charges come to least. Many pairs of prices are looked at together. A few of
them are then walked: layer after layer takes the cheapest τ that still leaves the layers to come a way out.
What is free after the best walk goes to whom it helps most.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .thresholds import Thresholds

if TYPE_CHECKING:
    from .joint import Joint, Switches

__all__ = ["fast"]

Array = np.ndarray
SLOT_PRICES, LINK_PRICES = 12, 5  # tried together
WALKS, ROUNDS = 3, 3  # more find little more


def fast(joint: Joint) -> Thresholds:
    """A feasible point wherever there is one; optimal only where every layer can have its own best."""
    table = joint.table
    tau = table.fastest
    if not joint.breaks(tau):
        return joint.thresholds(tau, "fast", True)
    way_out = np.full(table.layers, table.levels)  # the least slots and copies
    if joint.breaks(way_out):
        found = most_slack(joint)
        if found is None:
            return joint.thresholds(None, "fast", False)
        way_out = found
    walked = [walk(joint, cost, way_out) for cost in priced(joint)]
    tau = min([way_out, *walked], key=joint.objective_s)
    switches = joint.switches(tau)
    for _ in range(ROUNDS):
        if not improve(joint, tau, switches):
            break
        switches = joint.switches(tau)
    return joint.thresholds(tau, "fast", False, switches)


def priced(joint: Joint) -> list[Array]:
    """What each τ of each layer costs, charges included, (layers, K): at the prices that promise most.

    At any prices the layers' least costs, less what the shared resources are worth at them, bound the optimum
    from below; the prices of the highest bounds are those whose layers come nearest to it.
    """
    table, times = joint.table, joint.table.times
    total_s, hot, copies_s = table.total_s.T, table.hot.T, table.loads.T * times.copy_s  # (K, layers)
    gain_s = np.diff(total_s, axis=0)
    slot_price = _prices(gain_s, -np.diff(hot, axis=0), SLOT_PRICES)[:, None]
    link_price = _prices(gain_s, -np.diff(copies_s, axis=0), LINK_PRICES)
    # (K, slot prices, link prices, layers)
    charged = (total_s[:, None] + slot_price * hot[:, None])[:, :, None] + link_price[:, None] * copies_s[
        :, None, None
    ]
    window_s = times.draft_window_s + table.layers * times.dense_s
    least = charged.min(axis=0).sum(axis=-1)
    # A second won by one layer is a second less for the link: the last deadline's price is paid on both.
    bound = (least - slot_price * table.slots - link_price * window_s) / (1 + link_price)
    best = np.argsort(-bound, axis=None)[:WALKS]
    return [charged[:, i, j].T for i, j in zip(*np.unravel_index(best, bound.shape), strict=True)]


def _prices(gain_s: Array, used: Array, number: int) -> Array:
    """0, and prices at which layers change their mind: quantiles of what a unit of the resource gains."""
    tells = (gain_s > 0) & (used > 0)
    worth = gain_s[tells] / used[tells]
    if not worth.size:
        return np.zeros(1)
    worth.sort()
    return np.append(0.0, worth[np.linspace(0, worth.size - 1, number - 1).astype(int)])


def walk(joint: Joint, cost: Array, way_out: Array) -> Array:
    """Each layer in turn takes its cheapest τ after which `way_out` is still feasible for those to come."""
    table, times = joint.table, joint.table.times
    out_s = table.of(table.total_s, way_out).tolist()
    out_hot = table.of(table.hot, way_out)
    out_copies_s = (times.copy_s * table.of(table.loads, way_out)).tolist()
    slots = (table.slots - out_hot[::-1].cumsum()[::-1] + out_hot).tolist()  # for this layer and those before
    # needed[l]: the link's slack after layer l without which the way out would be late.
    needed = [-np.inf] * table.layers
    for layer in range(table.layers - 1, 0, -1):
        own = out_copies_s[layer] - times.dense_s
        needed[layer - 1] = own + max(0.0, needed[layer] - out_s[layer])
    order = cost.argsort(axis=1).tolist()
    total, hot, copies = table.total_s.tolist(), table.hot.tolist(), (times.copy_s * table.loads).tolist()
    tau, used, slack, least = way_out.tolist(), 0, times.draft_window_s, -table.tolerance_s
    for layer in range(table.layers):
        slack += times.dense_s
        for level in order[layer]:
            left = slack - copies[layer][level]
            if (
                left >= least
                and used + hot[layer][level] <= slots[layer]
                and left + total[layer][level] - needed[layer] >= least
            ):
                tau[layer] = level + 1
                break
        level = tau[layer] - 1
        used += hot[layer][level]
        slack += total[layer][level] - copies[layer][level]
    return np.array(tau)


def improve(joint: Joint, tau: Array, switches: Switches) -> bool:
    """Give what is free to the layers that gain most, in place; False where nobody gains.

    Switches that are allowed one by one need not be allowed together: what is left is counted along.
    """
    table = joint.table
    gain_s = np.where(switches.allowed, switches.gain_s, 0.0)
    flat = gain_s.ravel()
    worth = np.flatnonzero(flat > table.tolerance_s)
    if not worth.size:
        return False
    worth = worth[np.argsort(-flat[worth])]
    free = table.slots - int(table.of(table.hot, tau).sum())
    slack = joint.slack_s(tau).tolist()
    seen = set()
    for cell in worth.tolist():
        layer, level = divmod(cell, table.levels)
        if layer in seen:
            continue
        at = int(tau[layer]) - 1
        more = int(table.hot[layer, level] - table.hot[layer, at])
        copies = table.times.copy_s * float(table.loads[layer, level] - table.loads[layer, at])
        gain = flat[cell]
        if more > free or slack[layer] < copies or min(slack[layer + 1 :], default=np.inf) < copies + gain:
            continue
        seen.add(layer)
        free -= more
        slack[layer] -= copies
        for i in range(layer + 1, table.layers):
            slack[i] -= copies + gain
        tau[layer] = level + 1
    return bool(seen)


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
