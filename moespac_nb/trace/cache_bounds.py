"""What a cache of a layer's experts would have held: hits of LRU and of Belady's best over a recorded stream.

Numpy only; knows neither engine nor costs. The rule, the same for every policy: a cache a layer, empty at
first. An event (a token, or all positions that one pass verifies) asks for a set of experts at once. Those
held are hits; then all it asked for comes in, and only then is the cache trimmed to its slots. So a cache may
drop what has just been used, and one as large as top-k holds just the last token's experts.

    used = one_hot(committed_experts(trace, 0), trace.geometry.experts)    # (tokens, layers, experts)
    hit_rate(used, lru_hits(used, slots=16))
"""

from __future__ import annotations

import numpy as np

from ..utils.exceptions import MoespacError

__all__ = ["belady_hits", "hit_rate", "lru_hits", "one_hot"]


def one_hot(experts: np.ndarray, experts_per_layer: int) -> np.ndarray:
    """Which experts each event uses: ids (events, layers, k) -> (events, layers, experts) bool."""
    used = np.zeros((*experts.shape[:-1], experts_per_layer), bool)
    np.put_along_axis(used, experts.astype(np.int64), True, axis=-1)
    return used


def hit_rate(used: np.ndarray, hits: np.ndarray) -> float | None:
    """Hits of all that was asked for, cold misses included; None where nothing was."""
    asked = int(used.sum())
    return int(hits.sum()) / asked if asked else None


def lru_hits(used: np.ndarray, slots: int) -> np.ndarray:
    """Hits of each event, (events, layers), where what was used longest ago goes first.

    used: (events, layers, experts) bool. Of experts last used in the same event the higher id goes first.
    """
    event = np.arange(len(used)).reshape(-1, *[1] * (used.ndim - 1))
    return _hits(used, np.maximum.accumulate(np.where(used, event, -1)), slots)


def belady_hits(used: np.ndarray, slots: int) -> np.ndarray:
    """Hits of each event, (events, layers), where what is needed latest goes first: no policy has more.

    used: (events, layers, experts) bool. Belady, *A study of replacement algorithms for a virtual-storage
    computer*, 1966. It reads the future, so it is a bound and not a contestant.
    """
    never = len(used)
    event = np.arange(never).reshape(-1, *[1] * (used.ndim - 1))
    next_use = np.full(used.shape, never)  # strictly after each event
    from_here = np.minimum.accumulate(np.where(used, event, never)[::-1])[::-1]
    next_use[:-1] = from_here[1:]
    return _hits(used, -next_use, slots)


def _hits(used: np.ndarray, worth: np.ndarray, slots: int) -> np.ndarray:
    """Hits where after each event those of highest worth (events, layers, experts) stay."""
    if isinstance(slots, bool) or not isinstance(slots, int | np.integer) or slots < 0:
        raise MoespacError(f"slots is {slots!r}; expected: a whole number from 0, experts held a layer")
    if used.dtype != bool:
        raise MoespacError(f"used is an array of {used.dtype}; expected: bool, see one_hot")
    held = np.zeros(used.shape[1:], bool)
    hits = np.zeros(used.shape[:-1], np.int64)
    for event, asked in enumerate(used):
        hits[event] = (held & asked).sum(axis=-1)
        held |= asked
        worst = np.iinfo(np.int64).min
        best = np.argsort(-np.where(held, worth[event], worst + 1), axis=-1, kind="stable")[..., :slots]
        kept = np.zeros_like(held)
        np.put_along_axis(kept, best, True, axis=-1)
        held &= kept
    return hits
