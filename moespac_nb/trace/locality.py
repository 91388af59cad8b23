"""Locality of a trace: experts that consecutive tokens share, and distinct experts of a window. Numpy only.

Figures are means over layers and texts of what was recorded.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from ..utils.exceptions import InvalidInputError
from .cache_bounds import belady_curve, lru_curve, one_hot
from .step import MoEShape, expert_counts
from .trace import Trace

__all__ = [
    "check_expert_usage",
    "committed_experts",
    "distinct_by_chance",
    "distinct_by_gamma",
    "distinct_in_a_row",
    "expert_usage",
    "hit_curves",
    "locality",
    "overlap",
    "overlap_by_layer",
]


def locality(trace: Trace) -> dict[str, Any]:
    """Return figures that describe a trace.

    In a dense trace each committed position counts once, in an ordinary recording each step.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    dict
        None where there is nothing to compute a figure from. `overlap` and `overlap_shuffled`: see
        `overlap`; `overlap_by_layer`: the first of them, layer by layer. `distinct_experts_by_gamma`: see
        `distinct_by_gamma`; `distinct_experts_in_a_row`: of 1 to 9 tokens, see `distinct_in_a_row`.
        `acceptance_rate`: share of the drafted tokens that were accepted; `acceptance_by_offset`: the same
        of the first, second, … drafted token of a window.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> figures = locality(load_trace("chat", half="report"))
    >>> {name: round(figures[name], 2) for name in ("overlap", "overlap_shuffled", "acceptance_rate")}
    {'overlap': 0.18, 'overlap_shuffled': 0.15, 'acceptance_rate': 0.46}
    """
    drafted = int(trace.gamma.sum())
    most = int(trace.gamma.max(initial=0))
    texts = [committed_experts(trace, text) for text in range(len(trace.texts))]
    overlaps = overlap_by_layer(texts, trace.geometry.experts) if trace.geometry.layers else None
    in_order, shuffled = _means(overlaps)
    return {
        "overlap": in_order,
        "overlap_shuffled": shuffled,
        "overlap_by_layer": None if overlaps is None else overlaps[0].tolist(),
        "distinct_experts_by_gamma": distinct_by_gamma(trace) if trace.geometry.layers else None,
        "distinct_experts_in_a_row": (
            distinct_in_a_row(texts, trace.geometry.experts, 9) if trace.geometry.layers else None
        ),
        "acceptance_rate": int(trace.accepted.sum()) / drafted if drafted else None,
        "acceptance_by_offset": [float((trace.accepted[trace.gamma > i] > i).mean()) for i in range(most)],
    }


def overlap(trace: Trace) -> tuple[float | None, float | None]:
    """Return the share of a committed token's experts that the next token uses too.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    in_order, shuffled : float or None
        Means over layers of `overlap_by_layer`; None where no text has two tokens.

    Raises
    ------
    InvalidInputError
        If the model has no experts.
    """
    if not trace.geometry.layers:
        raise InvalidInputError("the trace is of a dense model; expected: one with experts")
    texts = (committed_experts(trace, text) for text in range(len(trace.texts)))
    return _means(overlap_by_layer(texts, trace.geometry.experts))


def _means(overlaps: tuple[np.ndarray, np.ndarray] | None) -> tuple[float | None, float | None]:
    return (None, None) if overlaps is None else (float(overlaps[0].mean()), float(overlaps[1].mean()))


def overlap_by_layer(
    texts: Iterable[np.ndarray], experts_per_layer: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return the share of a token's experts that the next token uses too, by layer.

    Parameters
    ----------
    texts : iterable of ndarray
        Experts of each text's tokens in order, (tokens, layers, k).
    experts_per_layer : int
        Number of experts of a layer.

    Returns
    -------
    in_order, shuffled : ndarray
        (layers,) each; None instead of both where no text has two tokens. `shuffled` is the mean over all
        orders of a text's own tokens: the overlap that its popular experts alone would give.
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
    """Return the experts of a text's committed tokens in order.

    Parameters
    ----------
    trace : Trace
        The trace.
    text : int
        Number of the text, from 0.

    Returns
    -------
    ndarray
        (tokens, layers, k), without the last token, which the target has not read.
    """
    first, last = trace.starts["steps"][text : text + 2]
    step = np.repeat(np.arange(first, last), trace.committed[first:last])
    offset = np.arange(len(step)) + trace.starts["committed"][first] - trace.starts["committed"][step]
    experts: np.ndarray = trace.experts[trace.starts["verified"][step] + offset]
    return experts


def distinct_by_gamma(trace: Trace) -> list[float]:
    """Return how many distinct experts the first γ + 1 positions of a window use, for each γ from 0.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    list of float
        Means over layers, and over the windows that have so many positions.
    """
    used = np.zeros((len(trace), trace.geometry.layers, trace.geometry.experts), bool)
    means = []
    for gamma in range(int(trace.gamma.max(initial=-1)) + 1):
        steps = np.flatnonzero(trace.gamma >= gamma)
        chosen = trace.experts[trace.starts["verified"][steps] + gamma]
        used[steps] |= one_hot(chosen, trace.geometry.experts)
        means.append(float(used[steps].sum() / (len(steps) * trace.geometry.layers)))
    return means


def distinct_by_chance(shares: np.ndarray, positions: int) -> float:
    """Return how many distinct experts independent positions would use, in the mean.

    Parameters
    ----------
    shares : ndarray
        (experts,), or (layers, experts): the probability that a position uses each expert.
    positions : int
        Number of positions.

    Returns
    -------
    float
        The expected number of a layer, the mean over layers: an expert is not used where no position
        chooses it.

    Examples
    --------
    >>> distinct_by_chance(np.array([0.5, 0.5, 1.0]), positions=2)
    2.5
    """
    return float((1 - (1 - shares) ** positions).sum(axis=-1).mean())


def distinct_in_a_row(texts: Iterable[np.ndarray], experts_per_layer: int, longest: int) -> list[float]:
    """Return how many distinct experts 1, 2, … `longest` consecutive tokens use together.

    This is what a window would use if every drafted token were right.

    Parameters
    ----------
    texts : iterable of ndarray
        Experts of each text's tokens in order, (tokens, layers, k).
    experts_per_layer : int
        Number of experts of a layer.
    longest : int
        Number of tokens of the longest window.

    Returns
    -------
    list of float
        Means over layers and over all places where the window fits; lengths that fit nowhere are left out.
    """
    sums, places = np.zeros(longest), np.zeros(longest)
    for experts in texts:
        used = one_hot(experts, experts_per_layer)
        window = np.zeros_like(used)
        for length in range(1, min(longest, len(used)) + 1):
            window = window[: len(used) - length + 1] | used[length - 1 :]
            sums[length - 1] += window.sum() / used.shape[1]
            places[length - 1] += len(window)
    fits = places > 0
    return [float(mean) for mean in sums[fits] / places[fits]]


def hit_curves(trace: Trace) -> dict[str, list[float]]:
    """Return the hit rates of a cache of experts for every number of slots a layer, token after token.

    Each text starts with empty slots. `lru` evicts the expert used longest ago, `belady` the one needed
    latest, which no policy beats: it reads the future. Both are exact.

    Parameters
    ----------
    trace : Trace
        The trace; its committed tokens count.

    Returns
    -------
    dict of str to list of float
        `lru` and `belady`: the share of all uses that hit with 0, 1, … slots a layer. Empty lists where no
        text has a token.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> curves = hit_curves(load_trace("chat", half="report"))
    >>> len(curves["lru"]), [round(curves[name][16], 2) for name in ("lru", "belady")]
    (65, [0.48, 0.68])
    """
    hits, uses = np.zeros((2, trace.geometry.experts + 1), np.int64), 0
    for text in range(len(trace.texts)):
        used = one_hot(committed_experts(trace, text), trace.geometry.experts)
        hits += [lru_curve(used).sum(axis=0), belady_curve(used).sum(axis=0)]
        uses += int(used.sum())
    lru, belady = (hits / uses).tolist() if uses else ([], [])
    return {"lru": lru, "belady": belady}


def expert_usage(trace: Trace) -> np.ndarray:
    """Count how often a trace's verified positions used each expert, for the policy `static-hot`.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    ndarray
        (layers, experts) int64.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> expert_usage(load_trace("chat", half="tune")).shape
    (8, 64)
    """
    return expert_counts(trace.experts, trace.geometry.experts)


def check_expert_usage(usage: np.ndarray | Trace | None, geometry: MoEShape, whose: str) -> np.ndarray | None:
    """Return the usage of experts as an array that fits a model.

    Parameters
    ----------
    usage : ndarray, Trace or None
        (layers, experts), or a trace to count in.
    geometry : MoEShape
        Shape of the model's routing.
    whose : str
        What the geometry is of, for the error message.

    Returns
    -------
    ndarray or None
        (layers, experts).

    Raises
    ------
    InvalidInputError
        If the shape does not fit.
    """
    counts = expert_usage(usage) if isinstance(usage, Trace) else usage
    if counts is not None and counts.shape != (geometry.layers, geometry.experts):
        raise InvalidInputError(
            f"expert_usage has shape {counts.shape}; expected: the {whose}'s {geometry.layers} layers × "
            f"{geometry.experts} experts"
        )
    return counts
