"""A step whose routing a test writes down; everything else about it is plain."""

from __future__ import annotations

import numpy as np

from moespac_nb.step import Step, Top


def step(
    index: int, position: int, experts: list[list[list[int]]], accepted: int, per_layer: int = 4
) -> Step:
    """A step whose window sends its positions to the given experts (γ+1, layers, k)."""
    chosen = np.array(experts, np.int16)
    gamma = len(chosen) - 1
    top = Top(np.zeros((gamma + 1, 1), np.int64), np.ones((gamma + 1, 1), np.float32))
    return Step(
        index=index, position=position, window=np.zeros(gamma + 1, np.int64),
        draft_probs=np.ones(gamma, np.float32), target_probs=np.ones(gamma, np.float32), uniforms=None,
        target_ids=np.zeros(gamma + 1, np.int64), accepted=accepted, emitted=np.zeros(accepted + 1, np.int64),
        experts=chosen, gate_weights=np.ones(chosen.shape, np.float32), experts_per_layer=per_layer,
        draft_top=top, target_top=top, draft_ms=1.0, verify_ms=1.0,
    )  # fmt: skip
