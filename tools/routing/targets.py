"""What the generator is fitted to: statistics by layer of captures, and the same of synthetic texts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from moespac_nb.datasets.routing_model import RoutedText
from moespac_nb.trace.step import MoEShape

from .statistics import (
    distinct_experts,
    lag_overlaps,
    lru_curve,
    overlap_across_texts,
    overlap_of_same_tokens,
    popularity_curve,
    used_experts,
    window_overlap,
)

__all__ = ["CACHE_SHARES", "Target", "cache_slots"]

CACHE_SHARES = 0.08, 0.125, 0.17, 0.25, 0.5
LAGS = 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96
POPULAR = 0.03, 0.08, 0.17, 0.33, 0.5, 0.75
LENGTHS = 2, 3, 5, 9
WINDOW = 5
# How much each statistic counts, in the order of `Target.of_texts`.
WEIGHTS = np.array([3, 1.5, *[1] * 11, *[0.3] * 4, 2, *[1] * 4, 1.5, 0.3, *[2.5] * 6, 1])

ONE_TEXT_WEIGHT = 0.4


def cache_slots(experts: int) -> list[int]:
    """Slots of a layer that the shares of its experts come to."""
    return [max(1, round(share * experts)) for share in CACHE_SHARES]


@dataclass(frozen=True, eq=False)
class Target:
    """What to fit to.

    `tokens` are the lengths of the captures; so many `replicates` of them are generated. A capture may hold
    fewer experts a token than the model uses: then its `recorded` best are compared. `published` are LRU's
    hit rates by slots, means over layers, of texts whose routing was not published.
    """

    geometry: MoEShape
    tokens: Sequence[int]
    values: np.ndarray = field(repr=False)  # (layers, statistics), NaN where nothing is known
    recorded: int
    replicates: int = 1
    published: Mapping[int, float] = field(default_factory=dict)

    @classmethod
    def of_captures(
        cls,
        geometry: MoEShape,
        texts: Sequence[np.ndarray],
        *,
        same_tokens: np.ndarray,
        usage: np.ndarray | None = None,
        replicates: int = 1,
        published: Mapping[int, float] | None = None,
    ) -> Target:
        """Measure captures; where `usage` (layers, experts) is known, popularity is taken from it."""
        recorded = texts[0].shape[2]
        in_time = _in_time(used_experts(texts, geometry.experts))
        if usage is None:
            used = used_experts(texts, geometry.experts)
            popular = _popular([used])
        else:
            shares = geometry.top_k * usage / usage.sum(axis=1, keepdims=True)
            across = (shares**2).sum(axis=1, keepdims=True) / geometry.top_k
            popular = np.hstack([popularity_curve(usage, POPULAR), across])
        unknown = np.full((geometry.layers, len(published or {})), np.nan)
        values = np.hstack([in_time, same_tokens[:, None], popular, unknown])
        return cls(geometry, [len(text) for text in texts], values, recorded, replicates, published or {})

    def with_published(self, texts: Sequence[RoutedText]) -> Target:
        """Spread the published means over layers, as they are spread in texts of a first fit."""
        values, rates = self.values.copy(), np.array([*self.published.values()])
        first_fit = self.of_texts(texts)[:, -len(rates) :]
        values[:, -len(rates) :] = first_fit + rates - first_fit.mean(axis=0)
        return replace(self, values=values)

    def of_texts(self, texts: Sequence[RoutedText]) -> np.ndarray:
        """Measure synthetic texts, (layers, statistics), as `values` were measured."""
        chosen = [text.experts(self.geometry.top_k) for text in texts]
        used = used_experts(chosen, self.geometry.experts)
        seen = used
        if self.recorded < self.geometry.top_k:
            seen = used_experts([experts[..., : self.recorded] for experts in chosen], self.geometry.experts)
        same = overlap_of_same_tokens(used, [text.token_ids for text in texts])
        # One text says nothing about others: its usage was counted elsewhere, in many texts.
        size = len(used) if len(self.tokens) == 1 else len(self.tokens)
        popular = _popular([used[i : i + size] for i in range(0, len(used), size)])
        published = (
            lru_curve(used)[:, np.array([*self.published], int) - 1] if self.published else used[0][0][:, :0]
        )
        return np.hstack([_in_time(seen), same[:, None], popular, published])

    def residuals(self, texts: Sequence[RoutedText]) -> np.ndarray:
        """Weighted differences, (layers, statistics), 0 where nothing is known."""
        weights = np.append(WEIGHTS, np.full(len(self.published), 0))
        if self.published and not np.isnan(self.values[:, -1]).any():
            in_time = np.arange(len(WEIGHTS)) < len(LAGS) + len(LENGTHS) + 1 + len(CACHE_SHARES)
            weights = np.append(
                np.where(in_time, ONE_TEXT_WEIGHT * WEIGHTS, WEIGHTS), np.full(len(self.published), 3)
            )
        return np.nan_to_num((self.of_texts(texts) - self.values) * weights)


def _in_time(used: Sequence[np.ndarray]) -> np.ndarray:
    top_k = int(used[0][0, 0].sum())
    slots = np.array(cache_slots(used[0].shape[2]))
    return np.hstack(
        [
            lag_overlaps(used, LAGS),
            distinct_experts(used, LENGTHS) / top_k,
            window_overlap(used, WINDOW)[:, None],
            lru_curve(used)[:, slots - 1],
        ]
    )


def _popular(replicates: Sequence[Sequence[np.ndarray]]) -> np.ndarray:
    rows = []
    for used in replicates:
        uses = sum(text.sum(axis=0) for text in used)
        rows.append(
            np.hstack([popularity_curve(np.asarray(uses), POPULAR), overlap_across_texts(used)[:, None]])
        )
    return np.asarray(np.mean(rows, axis=0))
