"""A made-up trace with locality, of any size: replays are about its routing, its tokens mean nothing."""

from __future__ import annotations

import numpy as np

from moespac_nb.trace.schema import TextInfo
from moespac_nb.trace.step import MoEShape, Prefill, Step, Top
from moespac_nb.trace.trace import Trace


def made_up(geometry: MoEShape, gamma: int, steps: int, seed: int = 0, prompt: int = 64) -> Trace:
    """One text: experts have lasting popularity, topics change every twelve windows, and a position keeps
    some of the experts of the one before it.
    """
    rng = np.random.default_rng(seed)
    layers, experts, k = geometry.layers, geometry.experts, geometry.top_k
    lasting = rng.gumbel(size=(layers, experts))

    def routed(positions: int, topic: np.ndarray) -> np.ndarray:
        chosen = np.empty((positions, layers, k), np.int16)
        last = np.zeros((layers, experts))
        for position in range(positions):
            scores = lasting + 1.5 * topic + 1.5 * last + rng.gumbel(size=(layers, experts))
            chosen[position] = np.argpartition(-scores, k, axis=1)[:, :k]
            last = np.zeros((layers, experts))
            np.put_along_axis(last, chosen[position].astype(np.int64), 1.0, axis=1)
        return chosen

    made, position, topic = [], prompt - 1, rng.gumbel(size=(layers, experts))
    for index in range(steps):
        if index % 12 == 0:
            topic = rng.gumbel(size=(layers, experts))
        accepted = int(rng.binomial(gamma, 0.6))
        seen = routed(gamma + 1, topic)
        window = rng.integers(0, 99, gamma + 1)
        targets = rng.integers(0, 99, gamma + 1)
        targets[:accepted] = window[1 : accepted + 1]
        ones = np.ones(gamma, np.float32)
        top = [Top(np.zeros((n, 1), np.int64), np.ones((n, 1), np.float32)) for n in (gamma, gamma + 1)]
        if made:
            window[0] = made[-1].emitted[-1]
        step = Step(
            index, position, window, ones, ones, None, targets, accepted, targets[: accepted + 1], seen,
            np.ones(seen.shape, np.float32), experts, *top, draft_ms=1.0, verify_ms=1.0,
        )  # fmt: skip
        made.append(step)
        position += accepted + 1
    ids = np.append(rng.integers(0, 99, prompt - 1), 0)[: prompt - 1]
    seen = routed(prompt - 1, topic)
    text = TextInfo(
        target="made up", draft="made up", mode="greedy", temperature=None, top_k=None, top_p=None,
        gamma=str(gamma), gamma_max=None, seed=seed, stop_ids=(), prompt_id=None, prompt=None, text=None,
        finish_reason="length", versions={},
    )  # fmt: skip
    return Trace.of(text, geometry, 99, Prefill(ids, seen, np.ones(seen.shape, np.float32), 1.0), made)
