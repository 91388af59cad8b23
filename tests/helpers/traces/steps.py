"""A step, and a text of steps, whose routing a test writes down; everything else about them is plain."""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from moespac_nb.trace.schema import TextInfo
from moespac_nb.trace.step import MoEShape, Prefill, Step, Top
from moespac_nb.trace.trace import Trace

Routing = list[list[list[int]]]  # of each position and layer, the experts


def step(
    index: int, position: int, experts: Routing, accepted: int, per_layer: int = 4, emitted: int | None = None
) -> Step:
    """A step whose window sends its positions to the given experts (γ+1, layers, k)."""
    chosen = np.array(experts, np.int16)
    gamma = len(chosen) - 1
    tops = [Top(np.zeros((n, 1), np.int64), np.ones((n, 1), np.float32)) for n in (gamma, gamma + 1)]
    grown = accepted + 1 if emitted is None else emitted
    return Step(
        index=index, position=position, window=np.zeros(gamma + 1, np.int64),
        draft_probs=np.ones(gamma, np.float32), target_probs=np.ones(gamma, np.float32), uniforms=None,
        target_ids=np.zeros(gamma + 1, np.int64), accepted=accepted, emitted=np.zeros(grown, np.int64),
        experts=chosen, gate_weights=np.ones(chosen.shape, np.float32), experts_per_layer=per_layer,
        draft_top=tops[0], target_top=tops[1], draft_ms=1.0, verify_ms=1.0,
    )  # fmt: skip


def prefill(*experts: list[list[int]], layers: int = 1, k: int = 1) -> Prefill:
    """The reading of a prompt whose positions use the given experts (layers, k); of none without them."""
    read = np.array(experts, np.int16).reshape(-1, layers, k)
    return Prefill(np.zeros(len(read), np.int64), read, np.ones(read.shape, np.float32), 1.0)


def text(
    prompt: Routing, windows: list[tuple[Routing, int]], per_layer: int = 4, gamma_max: int | None = None
) -> Trace:
    """A text of one token over and over: the routing of its prompt, and of each window with how much of it
    was accepted. Of a dense trace, each window commits one token."""
    steps: list[Step] = []
    position = len(prompt)
    for index, (experts, accepted) in enumerate(windows):
        steps.append(step(index, position, experts, accepted, per_layer, None if gamma_max is None else 1))
        position += len(steps[-1].emitted)
    _, layers, top_k = steps[0].experts.shape
    told = TextInfo(
        target="made by hand", draft="made by hand", mode="greedy", temperature=None, top_k=None, top_p=None,
        gamma="any", gamma_max=gamma_max, seed=0, stop_ids=(), prompt_id=None, prompt=None, text=None,
        finish_reason="length", versions={},
    )  # fmt: skip
    read = prefill(*prompt, layers=layers, k=top_k)
    return Trace.of(told, MoEShape(layers, per_layer, top_k), 1, read, steps)


def same_step(a: Step, b: Step) -> bool:
    """Equal in every field, with the same types."""
    for field in fields(Step):
        ours, theirs = getattr(a, field.name), getattr(b, field.name)
        for x, y in zip(*[v if isinstance(v, Top) else (v,) for v in (ours, theirs)], strict=True):
            if isinstance(x, np.ndarray):
                if x.dtype != y.dtype or not np.array_equal(x, y):
                    return False
            elif x != y:
                return False
    return True
