"""Traces made of traces: a part, several in one, one without its prompts; and whether two are the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..utils.exceptions import MoespacError
from .schema import COLUMNS, REDACTED, Channel
from .trace import Trace, _kind_of, _same_array

__all__ = ["concatenate", "redact"]


def concatenate(traces: Sequence[Trace]) -> Trace:
    """Several traces in one, in this order; where one goes on with the text the last one ended in, it is one.

    They must have the same geometry, vocabulary, sensors and optional columns, or MoespacError is raised.
    """
    if not traces:
        raise MoespacError("there is no trace to concatenate; expected: at least one")
    whole, *others = traces
    for number, other in enumerate(others, start=1):
        if (ours := _kind_of(whole)) != (theirs := _kind_of(other)):
            name = next(name for name in ours if ours[name] != theirs[name])
            raise MoespacError(
                f"trace {number} cannot follow: its {name} is {theirs[name]}, before it {ours[name]}; "
                "expected: traces that agree in it"
            )
        whole = _joined(whole, other)
    return whole


def _joined(a: Trace, b: Trace) -> Trace:
    for token in a.pieces.keys() & b.pieces.keys():
        if a.pieces[token] != b.pieces[token]:
            raise MoespacError(
                f"token {token} reads {a.pieces[token]!r} in one trace and {b.pieces[token]!r} in the next; "
                "expected: traces of the same tokenizer"
            )
    theirs, more_texts = b.columns, b.texts
    text_steps = a.text_steps
    if _goes_on(a, b):
        read = int(b.text_prompt[0])
        for name, column in COLUMNS.items():
            if column.axis in ("texts", "prompt"):
                theirs[name] = theirs[name][1 if column.axis == "texts" else read :]
        text_steps = text_steps.copy()
        text_steps[-1] += b.text_steps[0]
        more_texts = more_texts[1:]
    arrays: dict[str, Any] = {
        name: np.concatenate([array, theirs[name]]) for name, array in a.columns.items()
    }
    arrays["text_steps"] = np.concatenate([text_steps, theirs["text_steps"]])
    sensors = {
        name: Channel(sensor.rows, np.concatenate([sensor.values, b.sensors[name].values]))
        for name, sensor in a.sensors.items()
    }
    return replace(a, texts=a.texts + more_texts, pieces={**a.pieces, **b.pieces}, sensors=sensors, **arrays)


def _goes_on(a: Trace, b: Trace) -> bool:
    """Whether b begins in the middle of the text that a ends in, just there."""
    if not len(a) or not len(b) or a.texts[-1] != b.texts[0]:
        return False
    last, first = a.prefill(len(a.texts) - 1), b.prefill(0)
    return (
        b.step_index[0] == a.step_index[-1] + 1
        and b.step_position[0] == a.step_position[-1] + a.committed[-1]
        and all(_same_array(getattr(last, name), getattr(first, name)) for name in ("ids", "gate_weights"))
    )


def redact(trace: Trace) -> Trace:
    """The same without the prompts: neither their text nor their token ids.

    What was routed for them stays, and so does what the target then said and the draft proposed, which may
    repeat them.
    """
    opening = trace.starts["verified"][:-1][trace.step_index == 0]
    window = trace.window.copy()
    window[opening] = REDACTED
    shown = [window, trace.committed_ids, trace.target_ids, trace.target_top_ids, trace.draft_top_ids]
    used = set(np.concatenate([array.ravel() for array in shown]).tolist())
    return replace(
        trace,
        texts=tuple(replace(text, prompt=None, prompt_id=None, redacted=True) for text in trace.texts),
        pieces={token: piece for token, piece in trace.pieces.items() if token in used},
        prompt_ids=np.full_like(trace.prompt_ids, REDACTED),
        window=window,
    )
