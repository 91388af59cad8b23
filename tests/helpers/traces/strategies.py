"""Made-up traces that are whole, small and cheap: no model is asked."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import strategies as st

from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.schema import Channel, TextInfo
from moespac_nb.trace.step import MoEShape, Prefill, Step, Top
from moespac_nb.trace.trace import Trace
from moespac_nb.trace.windows import DRAFT_GATES, NEXT_GATE

VOCABULARY, STOP, TOP = 40, 39, 3
GEOMETRY = MoEShape(layers=2, experts=6, top_k=2)


def routed(rng: np.random.Generator, positions: int) -> tuple[np.ndarray, np.ndarray]:
    """Distinct experts and weights for each position and layer."""
    shape = (positions, GEOMETRY.layers, GEOMETRY.experts)
    experts = rng.random(shape).argsort(-1)[..., : GEOMETRY.top_k].astype(np.int16)
    return experts, rng.random(experts.shape).astype(np.float32)


def one_text(seed: int = 0, *, gamma_max: int | None = None, sampled: bool = False, steps: int = 5) -> Trace:
    rng = np.random.default_rng(seed)
    prompt = rng.integers(0, VOCABULARY, rng.integers(1, 5))
    made: list[Step] = []
    position, last = len(prompt) - 1, int(prompt[-1])
    stream = rng.integers(0, VOCABULARY, max(400, 5 * steps)).tolist()
    for index in range(steps):
        gamma = int(rng.integers(0, 5)) if gamma_max is None else min(gamma_max, steps - 1 - index)
        accepted = int(rng.integers(0, gamma + 1))
        grown = accepted + 1 if gamma_max is None else 1
        ahead = stream[: accepted + 1]
        drafted = ahead[:accepted] + rng.integers(0, VOCABULARY, gamma - accepted).tolist()
        experts, weights = routed(rng, gamma + 1)
        target_ids = rng.integers(0, VOCABULARY, gamma + 1)
        target_ids[:accepted] = drafted[:accepted]
        uniforms = rng.random(gamma)
        uniforms[:accepted] = 0.0
        made.append(
            Step(
                index=index,
                position=position,
                window=np.array([last, *drafted]),
                draft_probs=rng.random(gamma).astype(np.float32) / 2 + np.float32(0.5),
                target_probs=rng.random(gamma).astype(np.float32) / 2 + np.float32(0.5),
                uniforms=uniforms if sampled else None,
                target_ids=target_ids,
                accepted=accepted,
                emitted=np.array(stream[:grown]),
                experts=experts,
                gate_weights=weights,
                experts_per_layer=GEOMETRY.experts,
                draft_top=Top(
                    rng.integers(0, VOCABULARY, (gamma, TOP)), rng.random((gamma, TOP), np.float32)
                ),
                target_top=Top(
                    rng.integers(0, VOCABULARY, (gamma + 1, TOP)), rng.random((gamma + 1, TOP), np.float32)
                ),
                draft_ms=rng.random(),
                verify_ms=rng.random(),
            )
        )
        last, position, stream = stream[grown - 1], position + grown, stream[grown:]
    text = TextInfo(
        target="a target", draft="a draft", mode="sample" if sampled else "greedy",
        temperature=0.8 if sampled else None, top_k=None, top_p=None, gamma=str(gamma_max or "any"),
        gamma_max=gamma_max, seed=seed, stop_ids=(STOP,), prompt_id=None, prompt="Zoë said", text="…",
        finish_reason="length", versions={"moespac-nb": "0.1.0"},
    )  # fmt: skip
    prefill = Prefill(prompt[:-1], *routed(rng, len(prompt) - 1), 1.5)
    strings = {token: f"«{token}»" for token in range(VOCABULARY)}
    return Trace.of(text, GEOMETRY, VOCABULARY, prefill, made, strings)


def with_extras(trace: Trace, seed: int) -> Trace:
    """The same with router scores and two sensors."""
    rng = np.random.default_rng(seed)
    verified, drafted = len(trace.window), len(trace.draft_probs)
    shape = (verified, GEOMETRY.layers, 2 * GEOMETRY.top_k)
    return replace(
        trace,
        score_experts=rng.integers(0, GEOMETRY.experts, shape).astype(np.int16),
        scores=rng.standard_normal(shape).astype(np.float32),
        channels={
            "next_gate": Channel("verified", rng.random((verified, 3), np.float32)),
            "table": Channel("drafted", rng.integers(0, 6, drafted).astype(np.int16)),
        },
    )


def with_channels(trace: Trace, seed: int = 0) -> Trace:
    """The same with the channels that sensors read: experts named at random."""
    rng = np.random.default_rng(seed)
    drafted, verified = (
        rng.random((n, GEOMETRY.layers, GEOMETRY.experts)).argsort(-1)[..., :4].astype(np.int16)
        for n in (len(trace.draft_probs), len(trace.window))
    )
    verified[:, 0] = -1
    channels = {DRAFT_GATES: Channel("drafted", drafted), NEXT_GATE: Channel("verified", verified)}
    return replace(trace, channels=channels)


def several(seeds: list[int], gamma_max: int | None, sampled: bool, extras: bool, steps: int) -> Trace:
    texts = [one_text(seed, gamma_max=gamma_max, sampled=sampled, steps=steps) for seed in seeds]
    return concatenate([with_extras(text, 1) if extras else text for text in texts])


ANY_TRACE = st.builds(
    several,
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True),
    gamma_max=st.sampled_from([None, 1, 3]),
    sampled=st.booleans(),
    extras=st.booleans(),
    steps=st.integers(1, 6),
)
