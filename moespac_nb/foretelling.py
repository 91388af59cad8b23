"""How well does what is known after a window foretell the experts of the next one?

Every predictor names the same number of experts a layer, so that none wins by naming more. Numpy only;
knows nothing of models: it reads the steps of a decode and, for popularity, routing observed elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np

from .errors import MoespacError
from .step import Prefill, Step, expert_counts

LAST_WINDOW = "last window's counts"
LAST_TOKEN = "last token"
CHANCE = "chance"


def recall_by_predictor(
    prefill: Prefill, steps: Sequence[Step], size: int, popularity: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """Share of the next window's experts that each predictor names, mean over layers and windows.

    size: experts named a layer, by every predictor alike.
    popularity: more predictors, each a fixed score (layers, experts): how often experts are used in general.

    `last window's counts` is the paper's sensor: experts by how many of the window's positions they served,
    rejected positions included. `last token` names those of the last committed token. What is missing to
    `size` is filled by recency over committed tokens for both. `chance` is what naming at random would get.
    """
    popularity = dict(popularity or {})
    if len(steps) < 2:
        raise MoespacError(
            f"the decode has {len(steps)} steps; accepted: at least 2, as each foretells the next"
        )
    layers, experts = steps[0].counts.shape
    if not 1 <= size <= experts:
        raise MoespacError(f"size is {size}; accepted: 1 to {experts}, the experts of a layer")
    for name, scores in popularity.items():
        if scores.shape != (layers, experts):
            raise MoespacError(f"popularity {name!r} has shape {scores.shape}; accepted: {(layers, experts)}")
    found: dict[str, list[float]] = {}
    for (counts, last_used), following in zip(_known_after(prefill, steps), steps[1:], strict=False):
        recency = (last_used + 1) / (last_used.max() + 2)  # in [0, 1): orders what the counts leave equal
        predictors = {LAST_WINDOW: counts + recency, LAST_TOKEN: recency, **popularity}
        needed = following.counts > 0
        for name, scores in predictors.items():
            named = np.argsort(-scores, axis=1, kind="stable")[:, :size]
            hits = np.take_along_axis(needed, named, axis=1).sum(axis=1)
            found.setdefault(name, []).append(float((hits / needed.sum(axis=1)).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()} | {CHANCE: size / experts}


def _known_after(prefill: Prefill, steps: Sequence[Step]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """After each step: its counts, and the position at which each expert last served a committed token."""
    last_used = np.full(steps[0].counts.shape, -1)
    _mark(last_used, prefill.experts, 0)
    for step in steps:
        # The window's first token and the accepted ones are committed; what follows them was thrown away.
        _mark(last_used, step.experts[: step.accepted + 1], step.position)
        yield step.counts, last_used


def _mark(last_used: np.ndarray, experts: np.ndarray, position: int) -> None:
    for offset, chosen in enumerate(experts):
        np.put_along_axis(last_used, chosen.astype(np.int64), position + offset, axis=1)


def use_shares(routings: Iterable[np.ndarray], experts_per_layer: int) -> np.ndarray:
    """How often each expert is used over observed texts: (layers, experts), each layer's sum 1.

    routings: arrays (positions, layers, k), as `routing.observe` returns them.
    """
    counted = [expert_counts(experts, experts_per_layer) for experts in routings]
    if not counted:
        raise MoespacError("there is no routing to count; accepted: at least one observed text")
    total = np.sum(counted, axis=0)
    return np.asarray(total / total.sum(axis=1, keepdims=True))
