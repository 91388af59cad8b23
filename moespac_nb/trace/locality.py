"""How local a trace is: how much of what one token needs the next one needs too, and what a window asks for.

Numpy only. Figures are means over layers and texts of what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..utils.exceptions import MoespacError
from .cache_bounds import one_hot
from .step import MoEShape, expert_counts
from .trace import Trace

__all__ = [
    "check_expert_usage",
    "committed_experts",
    "distinct_by_chance",
    "distinct_by_gamma",
    "distinct_in_a_row",
    "expert_usage",
    "locality",
    "overlap",
    "overlap_by_layer",
]


def locality(trace: Trace) -> dict[str, Any]:
    """The figures of a trace; None where there is nothing to compute one from.

    overlap, overlap_shuffled: see `overlap`. distinct_experts_by_gamma: see `distinct_by_gamma`.
    acceptance_rate: accepted of all drafted tokens. acceptance_by_offset: of the first, second, … drafted
    token of a window. In a fan each committed position counts once, in an ordinary recording each round.
    """
    drafted = int(trace.gamma.sum())
    most = int(trace.gamma.max(initial=0))
    next_to, shuffled = overlap(trace) if trace.geometry.layers else (None, None)
    return {
        "overlap": next_to,
        "overlap_shuffled": shuffled,
        "distinct_experts_by_gamma": distinct_by_gamma(trace) if trace.geometry.layers else None,
        "acceptance_rate": int(trace.accepted.sum()) / drafted if drafted else None,
        "acceptance_by_offset": [float((trace.accepted[trace.gamma > i] > i).mean()) for i in range(most)],
    }


def overlap(trace: Trace) -> tuple[float | None, float | None]:
    """Share of a committed token's experts that the next one uses too, and the same with tokens shuffled.

    The means over layers of `overlap_by_layer`; None where no text has two tokens.
    """
    if not trace.geometry.layers:
        raise MoespacError("the trace is of a dense model; expected: one with experts")
    texts = [committed_experts(trace, text) for text in range(len(trace.texts))]
    found = overlap_by_layer(texts, trace.geometry.experts)
    return (None, None) if found is None else (float(found[0].mean()), float(found[1].mean()))


def overlap_by_layer(
    texts: Iterable[np.ndarray], experts_per_layer: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Share of a token's experts that the next one uses too, and with tokens shuffled, each (layers,).

    texts: experts of each text's tokens in their order, (tokens, layers, k); None where none has two tokens.
    Shuffled is no trial but the mean over all orders of a text's own tokens: what its popular experts alone
    would give.
    """
    in_order, in_any, pairs = 0.0, 0.0, 0
    for experts in texts:
        n, _, top_k = experts.shape
        if n < 2:
            continue
        used = one_hot(experts, experts_per_layer)
        uses = used.sum(axis=0, dtype=np.int64)  # (layers, experts)
        in_order += (used[1:] & used[:-1]).sum(axis=(0, 2)) / top_k
        # Of the n (n - 1) ordered pairs those that share it, for n - 1 neighbours.
        in_any += (uses * (uses - 1)).sum(axis=1) / (n * top_k)
        pairs += n - 1
    return (np.asarray(in_order / pairs), np.asarray(in_any / pairs)) if pairs else None


def committed_experts(trace: Trace, text: int) -> np.ndarray:
    """Experts of a text's committed tokens in their order, (tokens, layers, k); its last is not read yet."""
    first, last = trace.starts["steps"][text : text + 2]
    step = np.repeat(np.arange(first, last), trace.committed[first:last])
    offset = np.arange(len(step)) + trace.starts["committed"][first] - trace.starts["committed"][step]
    experts: np.ndarray = trace.experts[trace.starts["verified"][step] + offset]
    return experts


def distinct_by_gamma(trace: Trace) -> list[float]:
    """Mean number of experts a layer that the first γ + 1 positions of a window ask for, γ = 0, 1, …

    Over the windows that have so many positions.
    """
    seen = np.zeros((len(trace), trace.geometry.layers, trace.geometry.experts), bool)
    means = []
    for gamma in range(int(trace.gamma.max(initial=-1)) + 1):
        held = np.flatnonzero(trace.gamma >= gamma)
        chosen = trace.experts[trace.starts["verified"][held] + gamma]
        seen[held] |= one_hot(chosen, trace.geometry.experts)
        means.append(float(seen[held].sum() / (len(held) * trace.geometry.layers)))
    return means


def distinct_by_chance(shares: np.ndarray, positions: int) -> float:
    """Mean number of a layer's experts that positions would ask for if each chose by itself.

    shares: (experts,) or, of several layers, whose mean is given, (layers, experts): the probability that a
    position asks for each expert. An expert is spared where every position passes it over.
    """
    return float((1 - (1 - shares) ** positions).sum(axis=-1).mean())


def distinct_in_a_row(texts: Iterable[np.ndarray], experts_per_layer: int, longest: int) -> list[float]:
    """Mean number of experts a layer that 1, 2, … `longest` consecutive tokens ask for together.

    texts: experts of each text's tokens in their order, (tokens, layers, k). What a window would ask for
    if every drafted token were right, over all places where it fits; lengths that fit nowhere are left out.
    """
    sums, places = np.zeros(longest), np.zeros(longest)
    for experts in texts:
        used = one_hot(experts, experts_per_layer)
        seen = np.zeros_like(used)
        for length in range(1, min(longest, len(used)) + 1):
            seen = seen[: len(used) - length + 1] | used[length - 1 :]
            sums[length - 1] += seen.sum() / used.shape[1]
            places[length - 1] += len(seen)
    fits = places > 0
    return [float(mean) for mean in sums[fits] / places[fits]]


def expert_usage(trace: Trace) -> np.ndarray:
    """How often a trace's verified positions used each expert, (layers, experts): for `static-hot`."""
    return expert_counts(trace.experts, trace.geometry.experts)


def check_expert_usage(
    profile: np.ndarray | Trace | None, geometry: MoEShape, whose: str
) -> np.ndarray | None:
    """A profile as an array (layers, experts), fit for this geometry. whose: it is, for the error."""
    known = expert_usage(profile) if isinstance(profile, Trace) else profile
    if known is not None and known.shape != (geometry.layers, geometry.experts):
        raise MoespacError(
            f"the profile has shape {known.shape}; expected: the {whose}'s {geometry.layers} layers × "
            f"{geometry.experts} experts"
        )
    return known
