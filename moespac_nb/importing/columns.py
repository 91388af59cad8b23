"""Columns of a trace from the routing of positions: each is a step without a draft, or part of a prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from ..trace.schema import TextInfo
from ..trace.step import MoEShape
from ..trace.trace import Trace
from .log import TextSource
from .rows import NO_TOKEN

__all__ = ["Stretch", "trace_of"]


class Stretch(NamedTuple):
    """Positions in a row that make one text.

    Parameters
    ----------
    source : TextSource
        Where they come from.
    positions : int
        Number of positions.
    prompt : int
        How many of them are prompt; the last position of a prompt is the first step.
    """

    source: TextSource
    positions: int
    prompt: int


def trace_of(
    stretches: Sequence[Stretch],
    shape: MoEShape,
    vocabulary: int,
    token_strings: Mapping[int, str],
    notes: tuple[str, ...],
    *,
    experts: np.ndarray,
    gate_weights: np.ndarray | None,
    tokens: np.ndarray,
    model: str | None,
) -> Trace:
    """Make a trace of texts that were decoded without a draft.

    Parameters
    ----------
    stretches : sequence of Stretch
        The texts, one after another.
    shape : MoEShape
        Shape of the model's routing.
    vocabulary : int
        Number of token ids.
    token_strings : mapping of int to str
        What a token id reads as.
    notes : tuple of str
        What was found.
    experts, gate_weights : ndarray
        (positions, layers, k) of all texts; the weights may be None.
    tokens : ndarray
        (positions,) int32, `NO_TOKEN` where it is not known.
    model : str, optional
        Its name.

    Returns
    -------
    Trace
    """
    positions = np.array([stretch.positions for stretch in stretches])
    prompt = np.array([max(0, min(s.prompt, s.positions) - 1) for s in stretches])
    steps = positions - prompt
    first = np.cumsum(positions) - positions
    within = np.arange(positions.sum()) - np.repeat(first, positions)
    is_step = within >= np.repeat(prompt, positions)
    following = np.roll(tokens, -1)
    following[first + positions - 1] = NO_TOKEN  # the token after a text's last position was not logged
    n = int(steps.sum())
    zeros, no_times = np.zeros(n, np.int32), np.full(n, np.nan)
    whole = bool(is_step.all())  # then nothing is copied
    return Trace(
        geometry=shape,
        vocabulary=vocabulary,
        texts=tuple(_text_info(stretch.source, model) for stretch in stretches),
        token_strings=token_strings,
        notes=notes,
        text_steps=steps.astype(np.int32),
        text_prompt=prompt.astype(np.int32),
        prefill_ms=np.full(len(stretches), np.nan),
        prompt_ids=tokens[~is_step],
        prompt_experts=experts[~is_step],
        prompt_gate_weights=None if gate_weights is None else gate_weights[~is_step],
        step_index=(within - np.repeat(prompt, positions))[is_step].astype(np.int32),
        step_position=within[is_step].astype(np.int32),
        gamma=zeros,
        accepted=zeros.copy(),
        committed=np.ones(n, np.int32),
        draft_ms=no_times,
        verify_ms=no_times.copy(),
        committed_ids=following[is_step],
        window=tokens if whole else tokens[is_step],
        target_ids=np.full(n, NO_TOKEN, np.int32),
        target_top_ids=np.empty((n, 0), np.int32),
        target_top_probs=np.empty((n, 0), np.float32),
        experts=experts if whole else experts[is_step],
        gate_weights=gate_weights if whole or gate_weights is None else gate_weights[is_step],
        draft_probs=np.empty(0, np.float32),
        target_probs=np.empty(0, np.float32),
        uniforms=np.empty(0),
        draft_top_ids=np.empty((0, 0), np.int32),
        draft_top_probs=np.empty((0, 0), np.float32),
    )


def _text_info(source: TextSource, model: str | None) -> TextInfo:
    return TextInfo(
        target=model or "unknown",
        draft=None,
        mode="unknown",
        temperature=None,
        top_k=None,
        top_p=None,
        gamma="0",
        gamma_max=None,
        seed=None,
        stop_ids=(),
        prompt_id=None,
        prompt=None,
        text=source.text,
        finish_reason=None,
        versions={},
        imported=source.log.format,
    )
