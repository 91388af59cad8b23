"""Make a trace of other traces: concatenate several, take the prompts out of one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from ..utils.exceptions import InvalidInputError
from .schema import COLUMNS, REDACTED, Channel, same_array
from .trace import Trace

__all__ = ["concatenate", "redact"]


def concatenate(traces: Sequence[Trace]) -> Trace:
    """Concatenate traces in the order given.

    Where a trace goes on with the text in which the one before it ends, the two parts become one text again.

    Parameters
    ----------
    traces : sequence of Trace
        At least one; all of the same geometry, vocabulary, channels and optional columns.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If there is none, or they differ in what they must agree in.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("math", half="report")
    >>> concatenate([trace[:5], trace[5:]]) == trace
    True
    """
    if not traces:
        raise InvalidInputError("there is no trace to concatenate; expected: at least one")
    result, *others = traces
    for number, other in enumerate(others, start=1):
        if (before := result.layout) != (layout := other.layout):
            name = next(name for name in before if before[name] != layout[name])
            raise InvalidInputError(
                f"trace {number} cannot follow: its {name} is {layout[name]}, before it {before[name]}; "
                "expected: traces that agree in it"
            )
        result = _joined(result, other)
    return result


def _joined(a: Trace, b: Trace) -> Trace:
    for token in a.token_strings.keys() & b.token_strings.keys():
        if a.token_strings[token] != b.token_strings[token]:
            raise InvalidInputError(
                f"token {token} reads {a.token_strings[token]!r} in one trace and "
                f"{b.token_strings[token]!r} in the next; "
                "expected: traces of the same tokenizer"
            )
    appended, more_texts = b.columns, b.texts
    text_steps = a.text_steps
    if _goes_on(a, b):
        prompt_tokens = int(b.text_prompt[0])
        for name, column in COLUMNS.items():
            if name in appended and column.axis in ("texts", "prompt"):
                appended[name] = appended[name][1 if column.axis == "texts" else prompt_tokens :]
        text_steps = text_steps.copy()
        text_steps[-1] += b.text_steps[0]
        more_texts = more_texts[1:]
    arrays: dict[str, Any] = {
        name: np.concatenate([array, appended[name]]) for name, array in a.columns.items()
    }
    arrays["text_steps"] = np.concatenate([text_steps, appended["text_steps"]])
    channels = {
        name: Channel(channel.rows, np.concatenate([channel.values, b.channels[name].values]))
        for name, channel in a.channels.items()
    }
    return replace(
        a,
        texts=a.texts + more_texts,
        token_strings={**a.token_strings, **b.token_strings},
        channels=channels,
        notes=a.notes + tuple(note for note in b.notes if note not in a.notes),
        **arrays,
    )


def _goes_on(a: Trace, b: Trace) -> bool:
    """Tell whether b goes on where a ends, within one text."""
    if not len(a) or not len(b) or a.texts[-1] != b.texts[0]:
        return False
    last, first = a.prefill(len(a.texts) - 1), b.prefill(0)
    return (
        b.step_index[0] == a.step_index[-1] + 1
        and b.step_position[0] == a.step_position[-1] + a.committed[-1]
        and same_array(last.ids, first.ids)
        and same_array(last.experts, first.experts)
    )


def redact(trace: Trace) -> Trace:
    """Take the prompts out of a trace: their text and their token ids.

    The experts chosen for the prompts stay. So do the tokens that the target and the draft proposed after
    them, which may repeat a prompt.

    Parameters
    ----------
    trace : Trace
        The trace; it is left as it is.

    Returns
    -------
    Trace
        With token id -1 in place of the prompts' own.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> redacted = redact(load_trace("math", half="report"))
    >>> redacted.texts[0].prompt, set(redacted.prompt_ids.tolist())
    (None, {-1})
    """
    opening = trace.starts["verified"][:-1][trace.step_index == 0]
    window = trace.window.copy()
    window[opening] = REDACTED
    token_ids = [window, trace.committed_ids, trace.target_ids, trace.target_top_ids, trace.draft_top_ids]
    used = set(np.concatenate([array.ravel() for array in token_ids]).tolist())
    return replace(
        trace,
        texts=tuple(replace(text, prompt=None, prompt_id=None, redacted=True) for text in trace.texts),
        token_strings={token: string for token, string in trace.token_strings.items() if token in used},
        prompt_ids=np.full_like(trace.prompt_ids, REDACTED),
        window=window,
    )
