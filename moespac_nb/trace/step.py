"""What travels out of the decoder: `Prefill` once, then one `Step` a round. Numpy only.

Knows nothing of models: a step can be pickled, replayed and drawn where no torch is installed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from typing import Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np


@dataclass(frozen=True)
class MoEShape:
    """The shape of a model's routing; a dense model has 0 layers."""

    layers: int  # with experts; dense ones in between are not counted
    experts: int  # in each of them
    top_k: int  # chosen for each token


class Top(NamedTuple):
    """The likeliest tokens at each position, likeliest first."""

    ids: np.ndarray  # (positions, m) int64
    probs: np.ndarray  # (positions, m) float32


class _ReadOnlyArrays:
    """What was recorded stays as it was: every array field is closed for writing."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            for array in value if isinstance(value, Top) else (value,):
                if isinstance(array, np.ndarray):
                    array.setflags(write=False)


@dataclass(frozen=True, eq=False)
class Prefill(_ReadOnlyArrays):
    """The target's reading of the prompt, without its last token: that one opens the first window."""

    ids: np.ndarray  # (n,) int64, the prompt without its last token
    experts: np.ndarray  # (n, layers, k) int16
    gate_weights: np.ndarray  # (n, layers, k) float32
    ms: float  # measured: target and draft together


@dataclass(frozen=True, eq=False)
class Step(_ReadOnlyArrays):
    """One round: the draft proposes γ tokens, the target reads the window in one pass, a prefix is accepted.

    The window is the last committed token and the γ drafted ones. The target's distribution at window
    position i judges drafted token i; the one at the last accepted position gives the round's own token: a
    correction where a drafted token was rejected, a bonus where none was.

    Greedy: token i is accepted if `drafted[i] == target_ids[i]`; probabilities are the plain softmax.
    Sampling: if `uniforms[i] < target_probs[i] / draft_probs[i]`, after temperature, top-k and top-p.
    """

    index: int  # number of the round, from 0
    position: int  # of the window's first token in the sequence
    window: np.ndarray  # (γ+1,) int64
    draft_probs: np.ndarray  # (γ,) float32, q of each drafted token
    target_probs: np.ndarray  # (γ,) float32, p of each drafted token
    uniforms: np.ndarray | None  # (γ,) float64 in [0, 1), None when greedy
    target_ids: np.ndarray  # (γ+1,) int64, the target's likeliest token at each position
    accepted: int  # drafted tokens accepted, 0..γ
    emitted: np.ndarray  # (accepted + 1,) int64, shorter where a stop token cut it
    experts: np.ndarray  # (γ+1, layers, k) int16, as the target's routers chose
    gate_weights: np.ndarray  # (γ+1, layers, k) float32, as the experts' outputs were weighted
    experts_per_layer: int  # how many there are to choose from
    draft_top: Top  # (γ, 3)
    target_top: Top  # (γ+1, 3)
    draft_ms: float  # measured
    verify_ms: float  # measured

    @property
    def drafted(self) -> np.ndarray:
        """Drafted ids, (γ,)."""
        return self.window[1:]

    @property
    def gamma(self) -> int:
        """Draft length of this round; 0 is plain decoding."""
        return len(self.window) - 1

    @property
    def accepted_mask(self) -> np.ndarray:
        """Which drafted positions were accepted, (γ,) bool."""
        return np.arange(self.gamma) < self.accepted

    @property
    def outcome(self) -> Literal["bonus", "corrected", "cut"]:
        """What the last emitted token is: the target's bonus, its correction, or an accepted stop token."""
        if len(self.emitted) <= self.accepted:
            return "cut"
        return "bonus" if self.accepted == self.gamma else "corrected"

    @cached_property
    def counts(self) -> np.ndarray:
        """The window's counts f: how many of its positions went to each expert, (layers, experts) int64."""
        counts = expert_counts(self.experts, self.experts_per_layer)
        counts.setflags(write=False)
        return counts


def expert_counts(experts: np.ndarray, experts_per_layer: int) -> np.ndarray:
    """How many of the positions went to each expert: (positions, layers, k) -> (layers, experts) int64."""
    layers = experts.shape[1]
    flat = experts.astype(np.int64) + np.arange(layers)[:, None] * experts_per_layer
    counts = np.bincount(flat.ravel(), minlength=layers * experts_per_layer)
    return counts.reshape(layers, experts_per_layer)


@runtime_checkable
class GammaPolicy(Protocol):
    """Chooses the next draft length from the last step, which is None before the first."""

    def next_gamma(self, last_step: Step | None, /) -> int: ...
