"""Cache hits of LRU and of Belady's optimal policy over a recorded stream of experts.

Each layer has a cache of its own, empty at first. A row of the stream (a token, or all positions that one
pass verifies) uses a set of experts at once. Those in the cache are hits; then all that were used are loaded,
and only then is the cache trimmed to its slots. So a cache may drop what has just been used, and one with
top-k slots holds the last token's experts. Numpy only; knows neither engine nor costs.
"""

from __future__ import annotations

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole

__all__ = ["belady_hits", "hit_rate", "lru_hits", "one_hot"]


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
    """
    row = np.arange(len(used)).reshape(-1, *[1] * (used.ndim - 1))
    return _hits(used, np.maximum.accumulate(np.where(used, row, -1)), slots)


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
    """
    never = len(used)
    row = np.arange(never).reshape(-1, *[1] * (used.ndim - 1))
    next_use = np.full(used.shape, never)  # strictly after each row
    from_here = np.minimum.accumulate(np.where(used, row, never)[::-1])[::-1]
    next_use[:-1] = from_here[1:]
    return _hits(used, -next_use, slots)


def _hits(used: np.ndarray, worth: np.ndarray, slots: int) -> np.ndarray:
    """Count hits where after each row the experts of highest worth (rows, layers, experts) stay."""
    checked_whole("slots", slots, least=0)
    if used.dtype != bool:
        raise InvalidInputError(f"used is an array of {used.dtype}; expected: bool, see one_hot")
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
