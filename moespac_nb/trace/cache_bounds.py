"""Cache hits of LRU and of Belady's optimal policy over a recorded stream of experts.

Each layer has a cache of its own, empty at first. A row of the stream (a token, or all positions that one
pass verifies) uses a set of experts at once. Those in the cache are hits; then all that were used are loaded,
and only then is the cache trimmed to its slots. So a cache may drop what has just been used, and one with
top-k slots holds the last token's experts. Caches of all sizes can be looked at in one pass: whatever stays
with C slots stays with C + 1 too, so that one ranking of the experts tells which sizes hold which [1]_. Numpy
only; knows neither engine nor costs.

.. [1] Mattson, Gecsei, Slutz and Traiger, "Evaluation techniques for storage hierarchies", 1970.
"""

from __future__ import annotations

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole

__all__ = ["belady_curve", "belady_hits", "hit_rate", "lru_curve", "lru_hits", "one_hot"]


def one_hot(experts: np.ndarray, experts_per_layer: int) -> np.ndarray:
    """Mark the experts that each row uses.

    Parameters
    ----------
    experts : ndarray
        (rows, layers, k), ids of experts.
    experts_per_layer : int
        Number of experts of a layer.

    Returns
    -------
    ndarray
        (rows, layers, experts) bool.

    Examples
    --------
    >>> one_hot(np.array([[[0, 2]]]), experts_per_layer=4).astype(int)
    array([[[1, 0, 1, 0]]])
    """
    used = np.zeros((*experts.shape[:-1], experts_per_layer), bool)
    np.put_along_axis(used, experts.astype(np.int64), True, axis=-1)
    return used


def hit_rate(used: np.ndarray, hits: np.ndarray) -> float | None:
    """Return the share of uses that were hits, cold misses included.

    Parameters
    ----------
    used : ndarray
        (rows, layers, experts) bool.
    hits : ndarray
        (rows, layers), as `lru_hits` and `belady_hits` return them.

    Returns
    -------
    float or None
        None where nothing was used.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.trace.locality import committed_experts
    >>> trace = load_trace("chat", half="report")
    >>> used = one_hot(committed_experts(trace, text=0), trace.geometry.experts)
    >>> [round(hit_rate(used, hits(used, slots=16)), 2) for hits in (lru_hits, belady_hits)]
    [0.62, 0.77]
    """
    uses = int(used.sum())
    return int(hits.sum()) / uses if uses else None


def lru_hits(used: np.ndarray, slots: int) -> np.ndarray:
    """Count hits where the expert used longest ago is evicted first.

    Of experts last used in the same row the highest id is evicted first.

    Parameters
    ----------
    used : ndarray
        (rows, layers, experts) bool.
    slots : int
        Slots of a layer.

    Returns
    -------
    ndarray
        (rows, layers) int64.

    Raises
    ------
    InvalidInputError
        If `used` is not bool, or `slots` no whole number from 0.

    Examples
    --------
    >>> used = one_hot(np.array([[[0]], [[1]], [[0]], [[2]]]), experts_per_layer=4)
    >>> lru_hits(used, slots=2).ravel()
    array([0, 0, 1, 0])
    """
    return _hits(used, _last_use(used), slots)


def belady_hits(used: np.ndarray, slots: int) -> np.ndarray:
    """Count hits where the expert needed latest is evicted first [1]_.

    No policy has more hits. It reads the future, so it is a bound and not a policy.

    Parameters
    ----------
    used : ndarray
        (rows, layers, experts) bool.
    slots : int
        Slots of a layer.

    Returns
    -------
    ndarray
        (rows, layers) int64.

    Raises
    ------
    InvalidInputError
        If `used` is not bool, or `slots` no whole number from 0.

    References
    ----------
    .. [1] Belady, "A study of replacement algorithms for a virtual-storage computer", 1966.

    Examples
    --------
    >>> used = one_hot(np.array([[[0]], [[1]], [[2]], [[0]], [[2]]]), experts_per_layer=4)
    >>> int(belady_hits(used, slots=2).sum()), int(lru_hits(used, slots=2).sum())
    (2, 1)
    """
    return _hits(used, -_next_use(used), slots)


def _hits(used: np.ndarray, worth: np.ndarray, slots: int) -> np.ndarray:
    """Count hits where after each row the experts of highest worth (rows, layers, experts) stay."""
    checked_whole("slots", slots, least=0)
    _check(used)
    cached = np.zeros(used.shape[1:], bool)
    hits = np.zeros(used.shape[:-1], np.int64)
    for row, needed in enumerate(used):
        hits[row] = (cached & needed).sum(axis=-1)
        cached |= needed
        worst = np.iinfo(np.int64).min
        best = np.argsort(-np.where(cached, worth[row], worst + 1), axis=-1, kind="stable")[..., :slots]
        kept = np.zeros_like(cached)
        np.put_along_axis(kept, best, True, axis=-1)
        cached &= kept
    return hits


def lru_curve(used: np.ndarray) -> np.ndarray:
    """Count the hits of `lru_hits` for every number of slots in one pass.

    Parameters
    ----------
    used : ndarray
        (rows, layers, experts) bool.

    Returns
    -------
    ndarray
        (layers, experts + 1) int64, the hits of all rows with 0, 1, … slots a layer.

    Raises
    ------
    InvalidInputError
        If `used` is not bool.

    Examples
    --------
    >>> lru_curve(one_hot(np.array([[[0]], [[1]], [[2]], [[0]], [[2]]]), 4)).tolist()
    [[0, 0, 1, 2, 2]]
    """
    _check(used)
    return _curve(used, _last_use(used))


def belady_curve(used: np.ndarray) -> np.ndarray:
    """Count the hits of `belady_hits` for every number of slots in one pass.

    Parameters
    ----------
    used : ndarray
        (rows, layers, experts) bool.

    Returns
    -------
    ndarray
        (layers, experts + 1) int64, the hits of all rows with 0, 1, … slots a layer.

    Raises
    ------
    InvalidInputError
        If `used` is not bool.

    Examples
    --------
    >>> belady_curve(one_hot(np.array([[[0]], [[1]], [[2]], [[0]], [[2]]]), 4)).tolist()
    [[0, 1, 2, 2, 2]]
    """
    _check(used)
    return _curve(used, -_next_use(used))


def _curve(used: np.ndarray, worth: np.ndarray) -> np.ndarray:
    """Count hits by slots: an expert's rank is the number of slots that just do not hold it."""
    _, layers, experts = used.shape
    rank = np.full((layers, experts), experts)  # of no expert that has not been used yet
    holders = np.zeros((layers, experts + 1), np.int64)  # of each rank, uses at it
    layer = np.arange(layers)
    for row, needed in enumerate(used):
        np.add.at(holders, (np.nonzero(needed)[0], rank[needed]), 1)
        order = np.argsort(-worth[row], axis=-1, kind="stable")  # best first, of equals the lowest id
        place = np.argsort(order, axis=-1, kind="stable")  # of each expert in that order
        by_rank = np.full((layers, experts), -1)  # the expert of each rank, before
        held = np.nonzero(rank < experts)
        by_rank[held[0], rank[held]] = held[1]
        # With one slot more, one expert more stays: the best of those used now and of better ranks.
        waiting = np.where(needed, place, experts)
        after = np.full((layers, experts), experts)
        for slots in range(experts):
            before = by_rank[:, slots]
            there = (before >= 0) & ~needed[layer, before]
            waiting[layer[there], before[there]] = place[layer[there], before[there]]
            best = waiting.argmin(axis=-1)
            here = waiting[layer, best] < experts
            if not here.any():
                break
            after[layer[here], best[here]] = slots
            waiting[layer[here], best[here]] = experts
        rank = after
    hits = np.zeros((layers, experts + 1), np.int64)
    hits[:, 1:] = np.cumsum(holders[:, :-1], axis=-1)
    return hits


def _last_use(used: np.ndarray) -> np.ndarray:
    """Return the last row up to each that used each expert, -1 if none has."""
    row = np.arange(len(used)).reshape(-1, *[1] * (used.ndim - 1))
    return np.asarray(np.maximum.accumulate(np.where(used, row, -1)))


def _next_use(used: np.ndarray) -> np.ndarray:
    """Return the first row after each that uses each expert, the number of rows if none does."""
    never = len(used)
    row = np.arange(never).reshape(-1, *[1] * (used.ndim - 1))
    next_use = np.full(used.shape, never)
    next_use[:-1] = np.minimum.accumulate(np.where(used, row, never)[::-1])[::-1][1:]
    return next_use


def _check(used: np.ndarray) -> None:
    if used.dtype != bool:
        raise InvalidInputError(f"used is an array of {used.dtype}; expected: bool, see one_hot")
