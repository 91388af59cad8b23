"""Statistics of routing, each by layer, alike for captures and for synthetic texts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from moespac_nb.trace.cache_bounds import belady_hits, lru_hits, one_hot

__all__ = [
    "cache_hit_rates",
    "distinct_experts",
    "lag_overlaps",
    "layer_correlation",
    "lru_curve",
    "overlap_across_texts",
    "overlap_of_same_tokens",
    "popularity_curve",
    "used_experts",
    "window_overlap",
    "window_recalls",
]

_AT_ONCE = 16
Texts = Sequence[np.ndarray]  # of each text the experts that its tokens use, (tokens, layers, experts) bool


def used_experts(texts: Sequence[np.ndarray], experts_per_layer: int) -> list[np.ndarray]:
    """Mark the experts of texts, (tokens, layers, k) each."""
    return [one_hot(experts, experts_per_layer) for experts in texts]


def _top_k(texts: Texts) -> int:
    return int(texts[0][0, 0].sum())


def lag_overlaps(texts: Texts, lags: Sequence[int]) -> np.ndarray:
    """Share of a token's experts that the token some places on uses too, (layers, lags); NaN if none is."""
    columns = []
    for lag in lags:
        long = [used for used in texts if len(used) > lag]
        shared = sum((used[lag:] & used[:-lag]).sum(axis=(0, 2)) for used in long)
        pairs = sum(len(used) - lag for used in long)
        columns.append(shared / (pairs * _top_k(texts)) if pairs else np.full(texts[0].shape[1], np.nan))
    return np.stack(columns, axis=1)


def overlap_across_texts(texts: Texts) -> np.ndarray:
    """Share of a token's experts that a token of another text uses too, (layers,)."""
    uses = np.array([used.sum(axis=0) for used in texts], float)
    tokens = np.array([len(used) for used in texts], float)
    shared = (uses.sum(axis=0) ** 2 - (uses**2).sum(axis=0)).sum(axis=1)
    return np.asarray(shared / (tokens.sum() ** 2 - (tokens**2).sum()) / _top_k(texts))


def popularity_curve(uses: np.ndarray, shares: Sequence[float]) -> np.ndarray:
    """Share of all uses, (layers, experts), that the most popular experts have, (layers, shares)."""
    curve = np.cumsum(-np.sort(-uses, axis=1), axis=1) / uses.sum(axis=1, keepdims=True)
    return curve[:, [max(1, round(share * uses.shape[1])) - 1 for share in shares]]


def distinct_experts(texts: Texts, lengths: Sequence[int]) -> np.ndarray:
    """Number of distinct experts that so many tokens in a row use, (layers, lengths)."""
    columns = []
    for length in lengths:
        total, places = np.zeros(texts[0].shape[1]), 0
        for used in texts:
            if (fits := len(used) - length + 1) > 0:
                window = np.logical_or.reduce([used[i : i + fits] for i in range(length)])
                total += window.sum(axis=(0, 2))
                places += fits
        columns.append(total / places)
    return np.stack(columns, axis=1)


def window_overlap(texts: Texts, window: int) -> np.ndarray:
    """Share of a window's experts that the window before it used too, (layers,)."""
    shared = needed = np.zeros(texts[0].shape[1])
    for used in texts:
        if (fits := len(used) - window + 1) > window:
            whole = np.logical_or.reduce([used[i : i + fits] for i in range(window)])
            shared = shared + (whole[window:] & whole[:-window]).sum(axis=(0, 2))
            needed = needed + whole[window:].sum(axis=(0, 2))
    return shared / needed


def overlap_of_same_tokens(texts: Texts, token_ids: Sequence[np.ndarray]) -> np.ndarray:
    """Share of experts that two places with the same token, not neighbours, have in common, (layers,)."""
    shared, pairs = np.zeros(texts[0].shape[1]), 0
    for used, ids in zip(texts, token_ids, strict=True):
        first, second = np.triu_indices(len(ids), 2)
        same = ids[first] == ids[second]
        shared += (used[first[same]] & used[second[same]]).sum(axis=(0, 2))
        pairs += int(same.sum())
    return np.asarray(shared / (pairs * _top_k(texts)))


def layer_correlation(texts: Texts) -> float:
    """Mean correlation of two layers in how many experts a token shares with the one before it."""
    shared = np.concatenate([(used[1:] & used[:-1]).sum(axis=2) for used in texts])
    correlation = np.corrcoef(shared.T)
    return float(correlation[np.triu_indices(len(correlation), 1)].mean())


def lru_curve(texts: Texts) -> np.ndarray:
    """Hit rate of LRU with 1, 2, … slots a layer, (layers, experts); rules as in `lru_hits`."""
    texts = sorted(texts, key=len, reverse=True)
    hits = np.zeros(texts[0].shape[1:])
    last_use = np.full((len(texts), *hits.shape), -1, np.int32)
    for row in range(len(texts[0])):
        there = sum(len(used) > row for used in texts)
        needed = np.stack([used[row] for used in texts[:there]])
        order = np.argsort(-last_use[:there], axis=-1, kind="stable")
        cached = np.take_along_axis(needed & (last_use[:there] >= 0), order, axis=-1)
        hits += cached.sum(axis=0)
        last_use[:there][needed] = row
    uses = sum(used.sum(axis=(0, 2)) for used in texts)
    return np.cumsum(hits, axis=1) / np.asarray(uses)[:, None]


def cache_hit_rates(texts: Texts, slots: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Hit rates of LRU and of Belady, token by token and cold in each text, (layers, slots) each."""
    layers = texts[0].shape[1]
    hits = np.zeros((2, layers, len(slots)))
    by_length = sorted(texts, key=len)
    for group in (by_length[first : first + _AT_ONCE] for first in range(0, len(texts), _AT_ONCE)):
        # Side by side, as if they were more layers; a row without uses after a text's end changes nothing.
        missing = [len(group[-1]) - len(used) for used in group]
        padded = [np.pad(used, ((0, n), (0, 0), (0, 0))) for used, n in zip(group, missing, strict=True)]
        beside = np.concatenate(padded, axis=1)
        for rates, policy in zip(hits, (lru_hits, belady_hits), strict=True):
            for column, n in enumerate(slots):
                rates[:, column] += policy(beside, n).sum(axis=0).reshape(-1, layers).sum(axis=0)
    uses = np.asarray(sum(used.sum(axis=(0, 2)) for used in texts))[:, None]
    return hits[0] / uses, hits[1] / uses


def window_recalls(texts: Texts, window: int, decay: float) -> np.ndarray:
    """Recall of the next window's experts by three rules, (layers, 3).

    Last counts, an exponential moving average of counts, and frequency so far. Each names as many experts as
    the last window used, so that none wins by naming more.
    """
    layers, experts = texts[0].shape[1:]
    found, needed = np.zeros((layers, 3)), np.zeros(layers)
    for used in texts:
        average, frequency = np.zeros((2, layers, experts))
        whole = [used[i : i + window] for i in range(0, len(used) - window + 1, window)]
        for last, following in pairwise(whole):
            counts = last.sum(axis=0)
            average = (1 - decay) * average + decay * counts
            frequency = frequency + counts
            size = (counts > 0).sum(axis=1, keepdims=True)
            target = following.any(axis=0)
            needed += target.sum(axis=1)
            for rule, score in enumerate((counts, average, frequency)):
                order = np.argsort(-score, axis=1, kind="stable")
                named = np.take_along_axis(target, order, axis=1) & (np.arange(experts) < size)
                found[:, rule] += named.sum(axis=1)
    return found / needed[:, None]
