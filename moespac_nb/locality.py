"""How local a trace is: how much of what one token needs the next one needs too, and what a window asks for.

Numpy only. Figures are means over layers and texts of what was recorded.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from .errors import MoespacError
from .trace import Trace

__all__ = ["committed_experts", "distinct_by_gamma", "locality", "overlap"]


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

    Shuffled is no trial but the mean over all orders of a text's own tokens: what its popular experts alone
    would give.
    """
    if not trace.geometry.layers:
        raise MoespacError("the trace is of a dense model; accepted: one with experts")
    shared = np.zeros(2)
    pairs = 0
    for text in range(len(trace.texts)):
        used = _one_hot(committed_experts(trace, text), trace.geometry.experts)
        n = len(used)
        if n < 2:
            continue
        uses = used.sum(axis=0, dtype=np.int64)  # (layers, experts)
        in_order = (used[1:] & used[:-1]).sum()
        in_any = (uses * (uses - 1)).sum() / n  # pairs that share it, of n (n - 1), for n - 1 neighbours
        shared += in_order, in_any
        pairs += n - 1
    if not pairs:
        return None, None
    in_order, in_any = (shared / (pairs * trace.geometry.layers * trace.geometry.top_k)).tolist()
    return in_order, in_any


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
        seen[held] |= _one_hot(chosen, trace.geometry.experts)
        means.append(float(seen[held].sum() / (len(held) * trace.geometry.layers)))
    return means


def _one_hot(experts: np.ndarray, per_layer: int) -> np.ndarray:
    """(n, layers, k) -> (n, layers, experts) bool."""
    used = np.zeros((*experts.shape[:2], per_layer), bool)
    np.put_along_axis(used, experts.astype(np.int64), True, axis=2)
    return used
