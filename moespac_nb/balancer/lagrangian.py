"""Lagrangian heuristic for the joint program: a good point within half a millisecond.

With a price on a slot and one on a second of the link, the layers are independent: each takes the τ with the
least time and charges. Many pairs of prices are tried together. At the best pair the layers are rounded in
turn, each to its cheapest τ that keeps a feasible rest. What is then free goes to the layers that gain most,
and layers swap where both together gain.
"""

from __future__ import annotations

import numpy as np

from .candidates import Thresholds
from .joint import Joint, Switches

__all__ = ["solve"]

Array = np.ndarray
SLOT_PRICES, LINK_PRICES = 12, 5  # looked at together
ROUNDS, GIVERS, PAIRS = 6, 40, 3  # more finds little more


def solve(joint: Joint) -> Thresholds:
    """Find a feasible point wherever there is one, usually close to the optimum.

    Parameters
    ----------
    joint : Joint
        The problem of one window.

    Returns
    -------
    Thresholds
        `optimal` is True only where it is proven.
    """
    table = joint.table
    tau = table.fastest
    if not joint.violations(tau):
        return joint.thresholds(tau, "lagrangian", True)
    way_out = np.full(table.layers, table.levels)  # the least slots and copies
    if joint.violations(way_out):
        feasible = max_slack_point(joint)
        if feasible is None:
            return joint.thresholds(None, "lagrangian", False)
        way_out = feasible
    tau = min(round_greedily(joint, dual_prices(joint), way_out), way_out, key=joint.objective_s)
    switches = joint.switches(tau)
    for _ in range(ROUNDS):
        if not (improve(joint, tau, switches) or swap(joint, tau, switches)):
            break
        switches = joint.switches(tau)
    return joint.thresholds(tau, "lagrangian", False, switches)


def dual_prices(joint: Joint) -> Array:
    """Return the cost of each τ of each layer, (layers, K), at the best prices of a slot and of the link.

    At any prices the layers' least costs, less the price of the shared resources, bound the optimum from
    below. The prices with the highest bound are chosen.
    """
    table, times = joint.table, joint.table.times
    # (K, layers) and, with the prices in between, (K, slot prices, link prices, layers).
    total_s, hot = np.ascontiguousarray(table.total_s.T), np.ascontiguousarray(table.hot.T, np.float64)
    copies_s = np.multiply(table.loads.T, times.copy_s, order="C")
    gain_s = total_s[1:] - total_s[:-1]
    slot_price = _prices(gain_s, hot[:-1] - hot[1:], SLOT_PRICES)[:, None]
    link_price = _prices(gain_s, copies_s[:-1] - copies_s[1:], LINK_PRICES)
    for_slots = total_s[:, None] + slot_price * hot[:, None]
    for_copies = link_price[:, None] * copies_s[:, None]
    least_s = (for_slots[:, :, None] + for_copies[:, None]).min(axis=0).sum(axis=-1)
    window_s = times.draft_window_s + table.layers * times.dense_s
    # Time that a layer takes is time the link has: at the last deadline it earns what a copy pays.
    bound_s = (least_s - slot_price * table.slots - link_price * window_s) / (1 + link_price)
    at_slot, at_link = divmod(int(bound_s.argmax()), len(link_price))
    return np.asarray((for_slots[:, at_slot] + for_copies[:, at_link]).T)


def _prices(gain_s: Array, used: Array, number: int) -> Array:
    """0, and prices at which layers change their mind: quantiles of what a unit of the resource gains."""
    tells = (gain_s > 0) & (used > 0)
    worth = gain_s[tells] / used[tells]
    if not worth.size:
        return np.zeros(1)
    worth.sort()
    return np.append(0.0, worth[np.linspace(0, worth.size - 1, number - 1).astype(int)])


def round_greedily(joint: Joint, cost: Array, way_out: Array) -> Array:
    """Give each layer in turn its cheapest τ that leaves `way_out` feasible for those after it."""
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
    """Give what is free to the layers that gain most, in place; False where no layer gains.

    Switches that are allowed one by one need not be allowed together, so what is left is updated on the way.
    """
    table = joint.table
    gain_s = np.where(switches.allowed, switches.gain_s, 0.0).ravel()
    worth = np.flatnonzero(gain_s > table.tolerance_s)
    free, slack_s, changed = switches.free, joint.slack_s(tau), set()
    for cell in worth[np.argsort(-gain_s[worth])].tolist():
        layer, level = divmod(cell, table.levels)
        more, copies_s = switches.hot[layer, level], switches.copies_s[layer, level]
        later_s = slack_s[layer + 1 :]
        if (
            layer in changed
            or more > free
            or slack_s[layer] < copies_s
            or (later_s < copies_s + gain_s[cell]).any()
        ):
            continue
        tau[layer] = level + 1
        changed.add(layer)
        free -= more
        slack_s[layer] -= copies_s
        later_s -= copies_s + gain_s[cell]
    return bool(changed)


def swap(joint: Joint, tau: Array, switches: Switches) -> bool:
    """Slow one layer down for another that gains more by it, in place; False where no pair is found."""
    table, gain_s, K = joint.table, switches.gain_s, joint.table.levels
    takers = np.flatnonzero(gain_s > table.tolerance_s)
    givers = np.flatnonzero((gain_s <= 0) & ((switches.hot < 0) | (switches.copies_s < 0)))
    givers = givers[np.argsort(-gain_s.flat[givers])[:GIVERS]]
    if not (takers.size and givers.size):
        return False
    give, take = givers[:, None] // K, takers // K  # layers
    won_s = gain_s.flat[givers][:, None] + gain_s.flat[takers]
    giver_s = (switches.copies_s + gain_s).flat[givers][:, None]  # off the slack of the layers after it
    taker_s = switches.copies_s.flat[takers]
    slack_s = joint.slack_s(tau)
    fits = switches.hot.flat[givers][:, None] + switches.hot.flat[takers] <= switches.free
    fits &= (give != take) & (taker_s + giver_s * (give < take) <= slack_s[take])
    # The last deadline sees all of both; those between are looked at for the best pairs only.
    fits &= giver_s + taker_s + gain_s.flat[takers] * (take < table.layers - 1) <= slack_s[-1]
    won_s = np.where(fits, won_s, 0.0)
    for _ in range(PAIRS):
        giver, taker = divmod(int(won_s.argmax()), takers.size)
        if won_s[giver, taker] <= table.tolerance_s:
            return False
        other = tau.copy()
        for cell in (givers[giver], takers[taker]):
            other[cell // K] = cell % K + 1
        if not joint.violations(other):
            tau[:] = other
            return True
        won_s[giver, taker] = 0.0
    return False


def max_slack_point(joint: Joint) -> Array | None:
    """Find a feasible point, or None, by dynamic programming over the slots used so far.

    More slack with no more slots is never worse, so one number for each count of slots decides. Needed
    only where τ = K in all layers misses a deadline that a slower layer before it would keep.
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
