"""Output of the decoder: one `Prefill`, then one `Step` for each verified window. Numpy only.

A step can be pickled, replayed and drawn where no torch is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np

__all__ = ["GammaPolicy", "MoEShape", "Prefill", "Step", "Top", "expert_counts"]


@dataclass(frozen=True)
class MoEShape:
    """Shape of a model's routing; a dense model has 0 layers.

    Parameters
    ----------
    layers : int
        Layers with experts; dense layers in between are not counted.
    experts : int
        Experts of each such layer.
    top_k : int
        Experts chosen for each token.

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> load_trace("chat", half="report").geometry
    MoEShape(layers=8, experts=64, top_k=4)
    """

    layers: int
    experts: int
    top_k: int


class Top(NamedTuple):
    """The likeliest tokens at each position, likeliest first.

    Parameters
    ----------
    ids : ndarray
        (positions, m) int64.
    probs : ndarray
        (positions, m) float32.
    """

    ids: np.ndarray
    probs: np.ndarray


class _ReadOnlyArrays:
    """Make every array field of a dataclass read-only."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            for array in value if isinstance(value, Top) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Prefill(_ReadOnlyArrays):
    """The target's reading of the prompt without its last token, which opens the first window.

    Parameters
    ----------
    ids : ndarray
        (n,) int64, the prompt without its last token.
    experts : ndarray
        (n, layers, k) int16, the experts chosen for each token.
    gate_weights : ndarray
        (n, layers, k) float32; None of an imported text whose log has none.
    ms : float
        Milliseconds measured, of target and draft together.

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> prefill = load_trace("chat", half="report").prefill()
    >>> prefill.ids.shape, prefill.experts.shape
    ((30,), (30, 8, 4))
    """

    ids: np.ndarray
    experts: np.ndarray
    gate_weights: np.ndarray | None
    ms: float


@dataclass(frozen=True, eq=False)
class Step(_ReadOnlyArrays):
    """One step: the draft proposes γ tokens, the target verifies them in one pass and accepts a prefix.

    The window is the last committed token and the γ drafted ones. The target's distribution at window
    position i judges drafted token i. The one at the last accepted position gives the target's own token: a
    correction where a drafted token was rejected, a bonus where none was. Arrays are read-only.

    Parameters
    ----------
    index : int
        Number of the step, from 0.
    position : int
        Position of the window's first token in the sequence.
    window : ndarray
        (γ+1,) int64, token ids.
    draft_probs, target_probs : ndarray
        (γ,) float32, probabilities q and p of each drafted token.
    uniforms : ndarray
        (γ,) float64 in [0, 1), the random numbers of the acceptance rule; None when greedy.
    target_ids : ndarray
        (γ+1,) int64, the target's likeliest token at each position.
    accepted : int
        Accepted length: drafted tokens accepted, 0 to γ.
    emitted : ndarray
        (accepted + 1,) int64, the committed tokens; shorter where a stop token cut it.
    experts : ndarray
        (γ+1, layers, k) int16, the experts that the target's routers chose.
    gate_weights : ndarray
        (γ+1, layers, k) float32, the weights of the experts' outputs; None of an imported text whose log has
        none.
    experts_per_layer : int
        Number of experts that a router chooses from.
    draft_top, target_top : Top
        (γ, 3) and (γ+1, 3), the likeliest tokens of both models.
    draft_ms, verify_ms : float
        Milliseconds measured, NaN where they were not.

    Notes
    -----
    Greedy: token i is accepted if `drafted[i] == target_ids[i]`; probabilities are the plain softmax.
    Sampling: if `uniforms[i] < target_probs[i] / draft_probs[i]`, after temperature, top-k and top-p [1]_.

    References
    ----------
    .. [1] Leviathan, Kalman, Matias, "Fast inference from transformers via speculative decoding", 2023.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> step = load_trace("chat", half="report")[0]
    >>> step.gamma, step.accepted, step.outcome, len(step.emitted)
    (8, 2, 'corrected', 3)
    >>> step.counts.shape, int(step.counts.sum())  # 9 positions × 8 layers × 4 experts
    ((8, 64), 288)
    """

    index: int
    position: int
    window: np.ndarray
    draft_probs: np.ndarray
    target_probs: np.ndarray
    uniforms: np.ndarray | None
    target_ids: np.ndarray
    accepted: int
    emitted: np.ndarray
    experts: np.ndarray
    gate_weights: np.ndarray | None
    experts_per_layer: int
    draft_top: Top
    target_top: Top
    draft_ms: float
    verify_ms: float

    @property
    def drafted(self) -> np.ndarray:
        """Drafted token ids, (γ,)."""
        return self.window[1:]

    @property
    def gamma(self) -> int:
        """Draft length of this step; 0 is plain decoding."""
        return len(self.window) - 1

    @property
    def accepted_mask(self) -> np.ndarray:
        """Whether each drafted token was accepted, (γ,) bool."""
        return np.arange(self.gamma) < self.accepted

    @property
    def outcome(self) -> Literal["bonus", "corrected", "cut"]:
        """Kind of the last emitted token: the target's bonus, its correction, or an accepted stop token."""
        if len(self.emitted) <= self.accepted:
            return "cut"
        return "bonus" if self.accepted == self.gamma else "corrected"

    @cached_property
    def counts(self) -> np.ndarray:
        """Counts f of the window: positions that used each expert, (layers, experts) int64."""
        counts = expert_counts(self.experts, self.experts_per_layer)
        counts.setflags(write=False)
        return counts


def expert_counts(experts: np.ndarray, experts_per_layer: int) -> np.ndarray:
    """Count the positions that used each expert.

    Parameters
    ----------
    experts : ndarray
        (positions, layers, k), the experts chosen for each position.
    experts_per_layer : int
        Number of experts of a layer.

    Returns
    -------
    ndarray
        (layers, experts) int64.

    Examples
    --------
    >>> expert_counts(np.array([[[0, 2]], [[2, 1]]]), experts_per_layer=4)
    array([[1, 1, 2, 0]])
    """
    layers = experts.shape[1]
    flat = experts.astype(np.int64) + np.arange(layers)[:, None] * experts_per_layer
    counts = np.bincount(flat.ravel(), minlength=layers * experts_per_layer)
    return counts.reshape(layers, experts_per_layer)


@runtime_checkable
class GammaPolicy(Protocol):
    """Protocol of what chooses draft lengths."""

    def next_gamma(self, last_step: Step | None, /) -> int:
        """Return the next draft length; `last_step` is None before the first step of a text."""
        ...
