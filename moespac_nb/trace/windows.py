"""What a trace lets a sensor see: its windows one after another, each with what the channels hold for it.

    for seen in windows(trace, text=0, gamma=4):
        seen.step, seen.draft_gates, seen.next_gates

Numpy only. A channel is a recording of what a sensor would have asked a model, see `recording.py`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .step import Step
from .trace import Trace

__all__ = ["DRAFT_GATES", "NEXT_GATE", "RoutedTokens", "Window", "iter_windows", "verified_tokens"]

DRAFT_GATES, NEXT_GATE = "draft-gates", "next-gate"  # the channels by name, of drafted and of verified rows


class RoutedTokens(NamedTuple):
    """Positions that the target has read: what to learn from."""

    tokens: np.ndarray  # (n,)
    experts: np.ndarray  # (n, layers, k)


class Window(NamedTuple):
    """A window of a trace, with what its channels hold for it; None where the trace lacks one."""

    step: Step
    draft_gates: np.ndarray | None  # (γ, layers, m) experts, best first
    next_gates: np.ndarray | None  # (γ+1, layers, m) experts, best first, -1 for none


def verified_tokens(trace: Trace, texts: Iterable[int] | None = None) -> RoutedTokens:
    """Every position that a trace, or some of its texts, shows the target reading in a window."""
    rows = trace.starts["verified"][trace.starts["steps"]]
    which = range(len(trace.texts)) if texts is None else list(texts)
    at = np.concatenate([np.arange(rows[t], rows[t + 1]) for t in which] or [np.zeros(0, np.int64)])
    return RoutedTokens(trace.window[at], trace.experts[at])


def iter_windows(trace: Trace, text: int = 0, gamma: int | None = None) -> Iterator[Window]:
    """The windows of one text with their channels; of a fan, those of decoding with this draft length.

    gamma: None takes what is recorded, and of a fan all it drafted. An ordinary recording has its own.
    """
    i, end = (int(step) for step in trace.starts["steps"][text : text + 2])
    fan = trace.texts[text].fan is not None
    while i < end:
        step = trace.step(i, gamma if fan else None)
        yield Window(
            step,
            _channel(trace, DRAFT_GATES, "drafted", i, step.gamma),
            _channel(trace, NEXT_GATE, "verified", i, step.gamma + 1),
        )
        i += len(step.emitted) if fan else 1


def _channel(trace: Trace, name: str, axis: str, step: int, rows: int) -> np.ndarray | None:
    if name not in trace.sensors:
        return None
    start = trace.starts[axis][step]
    return trace.sensors[name].values[start : start + rows]
