"""Validation of traces: types, shapes, ranges, and that the columns agree with one another.

Every message begins with the field that is wrong.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np

from ..utils.exceptions import TraceFormatError
from ..utils.validation import is_whole
from .schema import (
    CHANNEL_DTYPES,
    COLUMNS,
    EXPERT_CHANNELS,
    MOST_EXPERTS,
    MOST_VOCABULARY,
    REDACTED,
    Channel,
    Column,
    TextInfo,
    TraceColumns,
)
from .step import MoEShape

__all__ = ["check"]

_NAME = re.compile(r"[a-z][a-z0-9_-]{0,63}")
_FINITE = float(np.finfo(np.float32).min), float(np.finfo(np.float32).max)
_ROUNDING = 1e-3  # a softmax may exceed 1 by as much as its precision
_SIGNED = {"accepted", "committed", "gamma", "text_steps", "text_prompt", "step_index", "step_position"}


def check(trace: TraceColumns) -> None:
    """Check that the columns of a trace are complete and agree with one another.

    Parameters
    ----------
    trace : TraceColumns
        What to check.

    Raises
    ------
    TraceFormatError
        For the first thing that is wrong; the message begins with the field.
    """
    _check_header(trace)
    for name, array in trace.columns.items():
        _check_kind(name, array, COLUMNS[name])
    _check_shapes(trace)
    _check_ranges(trace)
    _check_course(trace)
    for number, text in enumerate(trace.texts):
        if text.gamma_max is not None:
            _check_dense(trace, number, text.gamma_max)


def _wrong(name: str, actual: object, expected: object) -> TraceFormatError:
    return TraceFormatError(f"{name} is {actual}; expected: {expected}")


def _check_header(trace: TraceColumns) -> None:
    shape = trace.geometry
    for name in ("layers", "experts", "top_k"):
        _whole(f"geometry.{name}", getattr(shape, name), 0, MOST_EXPERTS)
    if not (MoEShape(0, 0, 0) == shape or (shape.layers and 1 <= shape.top_k <= shape.experts)):
        raise _wrong("geometry", shape, "a top_k of 1 to experts, or zeros for a dense model")
    _whole("vocabulary", trace.vocabulary, 1, MOST_VOCABULARY)
    for token, string in trace.token_strings.items():
        _whole("token_strings", token, 0, trace.vocabulary - 1)
        if not isinstance(string, str):
            raise _wrong(f"token_strings.{token}", repr(string), "text")
    for name, channel in trace.channels.items():
        if not (isinstance(name, str) and _NAME.fullmatch(name)):
            raise _wrong("channels", repr(name), "a name of small letters, digits, _ and -")
        if channel.rows not in ("verified", "drafted"):
            raise _wrong(f"channels.{name}.rows", repr(channel.rows), "'verified' or 'drafted'")
    if not (isinstance(trace.notes, tuple) and all(isinstance(note, str) for note in trace.notes)):
        raise _wrong("notes", repr(trace.notes)[:80], "texts")
    for number, text in enumerate(trace.texts):
        _check_text(f"texts[{number}]", text)
        for token in text.stop_ids:
            _whole(f"texts[{number}].stop_ids", token, 0, trace.vocabulary - 1)


def _check_text(where: str, text: TextInfo) -> None:
    number = (int, float)
    kinds: dict[str, tuple[type, ...]] = {
        "target": (str,), "draft": (str, type(None)), "mode": (str,), "temperature": (*number, type(None)),
        "top_k": (int, type(None)), "top_p": (*number, type(None)), "gamma": (str,),
        "gamma_max": (int, type(None)), "seed": (int, type(None)), "stop_ids": (tuple,),
        "prompt_id": (str, type(None)), "prompt": (str, type(None)), "imported": (str, type(None)),
        "text": (str, type(None)), "finish_reason": (str, type(None)), "versions": (Mapping,),
        "redacted": (bool,), "min_p": (*number, type(None)), "stop_strings": (tuple,), "processors": (tuple,),
    }  # fmt: skip
    for field in fields(TextInfo):
        value = getattr(text, field.name)
        expected = kinds[field.name]
        if not isinstance(value, expected) or (isinstance(value, bool) and bool not in expected):
            names = " or ".join("null" if kind is type(None) else kind.__name__ for kind in expected)
            raise _wrong(f"{where}.{field.name}", repr(value), names)
    modes = ("greedy", "sample") if text.imported is None else ("greedy", "sample", "unknown")
    if text.mode not in modes:
        raise _wrong(f"{where}.mode", repr(text.mode), " or ".join(map(repr, modes)))
    for name, most in (("temperature", sys.float_info.max), ("top_p", 1.0)):
        value = getattr(text, name)
        if value is not None and not 0 < value <= most:
            raise _wrong(f"{where}.{name}", value, f"null, or above 0 to {most}")
    if text.min_p is not None and not 0 <= text.min_p <= 1:
        raise _wrong(f"{where}.min_p", text.min_p, "null, or 0 to 1.0")
    for name in ("stop_strings", "processors"):
        if not all(isinstance(value, str) for value in getattr(text, name)):
            raise _wrong(f"{where}.{name}", repr(getattr(text, name)), "texts")
    if text.gamma_max is not None:
        _whole(f"{where}.gamma_max", text.gamma_max, 1, MOST_EXPERTS)
    if text.redacted and text.prompt is not None:
        raise _wrong(f"{where}.prompt", "there though redacted", "null")
    if not all(isinstance(part, str) for pair in text.versions.items() for part in pair):
        raise _wrong(f"{where}.versions", repr(text.versions), "names and versions as text")


def _whole(name: str, value: Any, least: int, most: int) -> None:
    if not is_whole(value, least, most):
        raise _wrong(name, repr(value), f"a whole number from {least} to {most}")


def _check_kind(name: str, array: Any, column: Column) -> None:
    """Check the type and the number of dimensions, and that counts are not negative."""
    if not isinstance(array, np.ndarray) or array.dtype != column.dtype:
        kind = array.dtype if isinstance(array, np.ndarray) else type(array).__name__
        raise _wrong(name, f"an array of {kind}", f"one of {column.dtype}")
    if array.ndim != 1 + len(column.shape):
        raise _wrong(name, f"of shape {array.shape}", f"{1 + len(column.shape)} dimensions")
    if name in _SIGNED and array.size and array.min() < 0:
        raise _wrong(name, f"{array.min()} at row {array.argmin()}", "0 and more")


def _check_shapes(trace: TraceColumns) -> None:
    rows = {
        "texts": len(trace.texts),
        "prompt": int(trace.text_prompt.sum(dtype=np.int64)),
        "steps": int(trace.text_steps.sum(dtype=np.int64)),
        "committed": int(trace.committed.sum(dtype=np.int64)),
        "verified": int(trace.gamma.sum(dtype=np.int64)) + len(trace.gamma),
        "drafted": int(trace.gamma.sum(dtype=np.int64)),
    }
    sizes = {
        "layers": trace.geometry.layers,
        "top_k": trace.geometry.top_k,
        "alternatives": trace.target_top_ids.shape[1],
        "scored": 0 if trace.scores is None else trace.scores.shape[2],
    }
    if sizes["alternatives"] > trace.vocabulary:
        raise _wrong("target_top_ids", f"of {sizes['alternatives']} a row", "at most the vocabulary")
    if sizes["scored"] > trace.geometry.experts:
        raise _wrong("scores", f"of {sizes['scored']} a row", f"at most {trace.geometry.experts} experts")
    if (trace.scores is None) != (trace.score_experts is None):
        raise _wrong("scores", "there without score_experts, or the other way round", "both or neither")
    if (trace.gate_weights is None) != (trace.prompt_gate_weights is None):
        raise _wrong("gate_weights", "there without prompt_gate_weights, or the other way", "both or neither")
    if trace.gate_weights is None and not all(text.imported for text in trace.texts):
        raise _wrong("gate_weights", "missing", "an array; only imported texts may lack it")
    for name, array in trace.columns.items():
        column = COLUMNS[name]
        expected = (rows[column.axis], *(sizes[size] for size in column.shape))
        if array.shape != expected:
            raise _wrong(name, f"of shape {array.shape}", f"{expected}, a row for each of {column.axis}")
    for name, channel in trace.channels.items():
        values = channel.values
        if not isinstance(values, np.ndarray) or values.dtype.name not in CHANNEL_DTYPES:
            raise _wrong(
                f"channels.{name}", f"of {getattr(values, 'dtype', None)}", ", ".join(CHANNEL_DTYPES)
            )
        if values.ndim == 0 or len(values) != rows[channel.rows]:
            expected_rows = f"{rows[channel.rows]} rows, one for each of {channel.rows}"
            raise _wrong(f"channels.{name}", f"of shape {values.shape}", expected_rows)
        if name in EXPERT_CHANNELS:
            _check_channel(trace, name, channel)


def _check_channel(trace: TraceColumns, name: str, channel: Channel) -> None:
    if channel.rows != EXPERT_CHANNELS[name]:
        raise _wrong(f"channels.{name}.rows", repr(channel.rows), repr(EXPERT_CHANNELS[name]))
    values, layers = channel.values, trace.geometry.layers
    if values.dtype != "int16" or values.ndim != 3 or values.shape[1] != layers:
        actual = f"of {values.dtype} and shape {values.shape}"
        raise _wrong(f"channels.{name}", actual, f"int16 (rows, {layers} layers, experts named)")
    _between(f"channels.{name}", values, -1, trace.geometry.experts - 1)


def _check_ranges(trace: TraceColumns) -> None:
    experts, tokens = trace.geometry.experts - 1, trace.vocabulary - 1
    redacted = np.array([text.redacted for text in trace.texts], bool)
    hidden = np.repeat(redacted, trace.text_prompt)
    opening = np.zeros(len(trace.window), bool)  # the window's first token that is the prompt's last
    opening[trace.starts["verified"][:-1]] = redacted[trace.text_of_step] & (trace.step_index == 0)
    imported = np.array([text.imported is not None for text in trace.texts], bool)
    for texts, least in ((~imported, 0), (imported, REDACTED)):  # an imported log may lack token ids
        steps = texts[trace.text_of_step]
        verified = np.repeat(steps, trace.gamma + 1)
        _between("prompt_ids", trace.prompt_ids[np.repeat(texts, trace.text_prompt) & ~hidden], least, tokens)
        _between("window", trace.window[verified & ~opening], least, tokens)
        _between("target_ids", trace.target_ids[verified], least, tokens)
        _between("committed_ids", trace.committed_ids[np.repeat(steps, trace.committed)], least, tokens)
    for name, ids in (("prompt_ids", trace.prompt_ids[hidden]), ("window", trace.window[opening])):
        _between(name, ids, REDACTED, REDACTED)
    for name in ("target_top_ids", "draft_top_ids"):
        _between(name, getattr(trace, name), 0, tokens)
    for name in ("prompt_experts", "experts", "score_experts"):
        _between(name, getattr(trace, name), 0, experts)
    for name in ("target_top_probs", "draft_probs", "target_probs", "draft_top_probs"):
        _between(name, getattr(trace, name), 0, 1 + _ROUNDING)
    for name in ("prefill_ms", "draft_ms", "verify_ms"):
        times = getattr(trace, name)
        _between(name, times[~np.isnan(times)], 0, sys.float_info.max)
    for name in ("prompt_gate_weights", "gate_weights", "scores"):
        _between(name, getattr(trace, name), *_FINITE)
    greedy = np.array([text.mode == "greedy" for text in trace.texts], bool)
    drawn = ~np.repeat(greedy[trace.text_of_step], trace.gamma)
    _between("uniforms", trace.uniforms[drawn], 0, float(np.nextafter(1, 0)))
    if not np.isnan(trace.uniforms[~drawn]).all():
        raise _wrong("uniforms", "a number in a greedy text", "NaN there")


def _between(name: str, values: np.ndarray | None, least: float, most: float) -> None:
    if values is None or not values.size or (values.min() >= least and values.max() <= most):
        return  # NaN compares as False
    inside = (values >= least) & (values <= most)  # NaN is not
    if not inside.all():
        raise _wrong(name, values[~inside].flat[0], f"{least} to {most}")


def _check_course(trace: TraceColumns) -> None:
    """Check that the steps of a text follow one another and commit what they accepted."""
    steps, starts = trace.starts["steps"], trace.starts
    if len(trace.texts) and trace.text_steps.min() < 1:
        raise _wrong("text_steps", "0", "at least one step a text")
    first = np.zeros(len(trace), bool)
    first[steps[:-1]] = True
    follows = np.flatnonzero(~first)
    last = np.ones(len(trace), bool)
    last[follows - 1] = False
    dense = np.array([text.gamma_max is not None for text in trace.texts], bool)[trace.text_of_step]

    _everywhere("accepted", trace.accepted <= trace.gamma, "at most gamma")
    complete = np.where(dense, 1, trace.accepted + 1)
    ended = last & (trace.committed >= 1) & (trace.committed <= complete)  # a stop token may cut the last one
    _everywhere("committed", (trace.committed == complete) | ended, "accepted + 1, in a dense trace 1")
    behind = follows - 1
    _everywhere("step_index", np.diff(trace.step_index)[behind] == 1, "one more each step", follows)
    moved = np.diff(trace.step_position)[behind] == trace.committed[behind]
    hole = "what was committed further each step: there is a hole before it"
    _everywhere("step_position", moved, hole, follows)
    begins = np.repeat(trace.text_prompt, trace.text_steps)
    at_prompt = np.where(trace.step_index == 0, trace.step_position == begins, trace.step_position > begins)
    _everywhere("step_position", at_prompt, "the prompt's length at step 0, more after it")
    opens = trace.window[starts["verified"][:-1]]
    closes = trace.committed_ids[starts["committed"][1:] - 1]
    _everywhere("window", opens[follows] == closes[behind], "the last committed token first", follows)
    _check_accepted(trace)


def _check_accepted(trace: TraceColumns) -> None:
    """Check that each accepted token is the text's next one and passes the acceptance rule."""
    step = np.repeat(np.arange(len(trace)), trace.gamma)
    offset = np.arange(len(step)) - trace.starts["drafted"][step]
    accepted = offset < trace.accepted[step]
    drafted = np.ones(len(trace.window), bool)
    drafted[trace.starts["verified"][:-1]] = False
    token = trace.window[drafted]
    place = trace.starts["committed"][step] + offset
    end = trace.starts["committed"][trace.starts["steps"][trace.text_of_step[step] + 1]]
    recorded = accepted & (place < end)
    agrees = np.ones(len(step), bool)
    agrees[recorded] = token[recorded] == trace.committed_ids[place[recorded]]
    _everywhere("committed_ids", agrees, "the accepted tokens", step)
    own = trace.target_ids[trace.starts["verified"][step] + offset]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        passes = np.where(
            np.isnan(trace.uniforms), token == own, trace.uniforms < trace.target_probs / trace.draft_probs
        )
    _everywhere("accepted", passes | ~accepted, "no more than the rule accepts", step)


def _check_dense(trace: TraceColumns, text: int, most: int) -> None:
    """Check that every row has γ_max drafted tokens, or those up to a stop token or the end of the text."""
    rows = np.arange(*trace.starts["steps"][text : text + 2])
    drafted = trace.gamma[rows]
    last = trace.window[trace.starts["verified"][rows + 1] - 1]
    stopped = (drafted > 0) & np.isin(last, trace.texts[text].stop_ids)
    complete = (drafted >= np.minimum(most, np.arange(len(rows))[::-1])) | stopped
    _everywhere(
        "gamma", complete & (drafted <= most), f"{most} a row, as the dense trace says: there is a hole", rows
    )


def _everywhere(name: str, holds: np.ndarray, expected: str, step: np.ndarray | None = None) -> None:
    if not holds.all():
        row = int(np.flatnonzero(~holds)[0])
        at = row if step is None else step[row]
        raise TraceFormatError(f"{name} disagrees at step {at}; expected: {expected}")
