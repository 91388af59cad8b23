"""Columns of a trace: what each array holds, its dtype, and what its rows are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

__all__ = ["COLUMNS", "EXPERT_CHANNELS", "REDACTED", "SENSOR_DTYPES", "Channel", "Column", "TextInfo"]


Axis = Literal["texts", "prompt", "steps", "committed", "verified", "drafted"]


@dataclass(frozen=True)
class TextInfo:
    """Where the steps of one text come from. `text` is all of it, also in a slice that holds a part."""

    target: str
    draft: str | None  # None for plain decoding
    mode: str  # greedy or sample
    temperature: float | None  # None when greedy, as top_k and top_p
    top_k: int | None
    top_p: float | None
    gamma: str  # the draft length, or the policy that chose it
    fan: int | None  # γ_max of a fan, None of an ordinary recording
    seed: int
    stop_ids: tuple[int, ...]  # it ends with any of these, and so does a draft
    prompt_id: str | None  # of a bundled prompt
    prompt: str | None  # None where it was given as ids, or redacted
    text: str | None  # None where there was no tokenizer
    finish_reason: str | None  # None where more could have come
    versions: Mapping[str, str]  # of what recorded it
    redacted: bool = False
    min_p: float | None = None  # None when greedy too
    stop_strings: tuple[str, ...] = ()  # it ends with the token that completes any of these
    processors: tuple[str, ...] = ()  # what changed the logits before a token was chosen, by type


@dataclass(frozen=True, eq=False)
class Channel:
    """What something else saw at each verified position or drafted token: one row for each, of any shape."""

    rows: Literal["verified", "drafted"]
    values: np.ndarray


class Column(NamedTuple):
    """What an array of a trace must look like."""

    dtype: str
    axis: Axis  # what its rows are
    shape: tuple[str, ...] = ()  # of a row: layers, top_k, alternatives, scored
    optional: bool = False


COLUMNS: dict[str, Column] = {
    "text_steps": Column("int32", "texts"),
    "text_prompt": Column("int32", "texts"),
    "prefill_ms": Column("float64", "texts"),
    "prompt_ids": Column("int32", "prompt"),
    "prompt_experts": Column("int16", "prompt", ("layers", "top_k")),
    "prompt_gate_weights": Column("float32", "prompt", ("layers", "top_k")),
    "step_index": Column("int32", "steps"),
    "step_position": Column("int32", "steps"),
    "gamma": Column("int32", "steps"),
    "accepted": Column("int32", "steps"),
    "committed": Column("int32", "steps"),
    "draft_ms": Column("float64", "steps"),
    "verify_ms": Column("float64", "steps"),
    "committed_ids": Column("int32", "committed"),
    "window": Column("int32", "verified"),
    "target_ids": Column("int32", "verified"),
    "target_top_ids": Column("int32", "verified", ("alternatives",)),
    "target_top_probs": Column("float32", "verified", ("alternatives",)),
    "experts": Column("int16", "verified", ("layers", "top_k")),
    "gate_weights": Column("float32", "verified", ("layers", "top_k")),
    "score_experts": Column("int16", "verified", ("layers", "scored"), optional=True),
    "scores": Column("float32", "verified", ("layers", "scored"), optional=True),
    "draft_probs": Column("float32", "drafted"),
    "target_probs": Column("float32", "drafted"),
    "uniforms": Column("float64", "drafted"),
    "draft_top_ids": Column("int32", "drafted", ("alternatives",)),
    "draft_top_probs": Column("float32", "drafted", ("alternatives",)),
}

Rows = Literal["verified", "drafted"]


REDACTED = -1  # stands for a token id of a prompt that was taken out


SENSOR_DTYPES = ("bool", "uint8", "int16", "int32", "float16", "float32")


# Sensors that name experts, best first, -1 for none: int16 (rows, layers, m); and what their rows are.
EXPERT_CHANNELS: dict[str, Rows] = {"draft-gates": "drafted", "next-gate": "verified"}


MOST_VOCABULARY, MOST_EXPERTS = 2**31 - 1, 2**15 - 1  # what int32 ids and int16 experts can name
