"""Iterate over a trace's verification windows together with their recorded sensor channels. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from .step import Step
from .trace import Trace

__all__ = ["DRAFT_GATES", "NEXT_GATE", "RoutedTokens", "Window", "iter_windows", "verified_tokens"]

DRAFT_GATES, NEXT_GATE = "draft-gates", "next-gate"  # the channels by name, of drafted and of verified rows


class RoutedTokens(NamedTuple):
    """Positions that the target has verified, from which sensors learn.

    Parameters
    ----------
    tokens : ndarray
        (n,), token ids.
    experts : ndarray
        (n, layers, k), the experts chosen for each.
    """

    tokens: np.ndarray
    experts: np.ndarray


class Window(NamedTuple):
    """A window of a trace and its rows of the sensor channels.

    Parameters
    ----------
    step : Step
        The window, verified.
    draft_gates : ndarray
        (γ, layers, m) experts, best first; None where the trace has no such channel.
    next_gates : ndarray
        (γ+1, layers, m) experts, best first, -1 for none; None where the trace has no such channel.
    """

    step: Step
    draft_gates: np.ndarray | None
    next_gates: np.ndarray | None


def verified_tokens(trace: Trace, texts: Iterable[int] | None = None) -> RoutedTokens:
    """Return every verified position of a trace.

    Parameters
    ----------
    trace : Trace
        The trace.
    texts : iterable of int, optional
        Numbers of the texts to take; None takes all.

    Returns
    -------
    RoutedTokens

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> verified_tokens(load_trace("chat", half="report"), texts=[0]).experts.shape
    (124, 8, 4)
    """
    starts = trace.starts["verified"][trace.starts["steps"]]
    numbers = range(len(trace.texts)) if texts is None else list(texts)
    rows = np.concatenate([np.arange(starts[t], starts[t + 1]) for t in numbers] or [np.zeros(0, np.int64)])
    return RoutedTokens(trace.window[rows], trace.experts[rows])


def iter_windows(trace: Trace, text: int = 0, gamma: int | None = None) -> Iterator[Window]:
    """Iterate over the windows of one text with their sensor channels.

    Parameters
    ----------
    trace : Trace
        The trace.
    text : int
        Number of the text, from 0.
    gamma : int, optional
        Draft length in a dense trace; None takes the longest. An ordinary recording has its own.

    Yields
    ------
    Window

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> dense = load_trace("chat", dense=True, half="report")
    >>> first = next(iter_windows(dense, text=0, gamma=4))
    >>> first.step.gamma, first.draft_gates.shape[:2], first.next_gates.shape[:2]
    (4, (4, 8), (5, 8))
    """
    i, end = (int(step) for step in trace.starts["steps"][text : text + 2])
    dense = trace.texts[text].gamma_max is not None
    while i < end:
        step = trace.step(i, gamma if dense else None)
        yield Window(
            step,
            _channel(trace, DRAFT_GATES, "drafted", i, step.gamma),
            _channel(trace, NEXT_GATE, "verified", i, step.gamma + 1),
        )
        i += len(step.emitted) if dense else 1


def _channel(trace: Trace, name: str, axis: str, step: int, rows: int) -> np.ndarray | None:
    if name not in trace.channels:
        return None
    start = trace.starts[axis][step]
    return trace.channels[name].values[start : start + rows]
