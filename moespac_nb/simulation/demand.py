"""The experts that a trace needs: of each pass and layer, the distinct experts and their positions.

    for text in expert_demand(trace, gamma=4):
        text.prefill, text.prompt
        for window in text.windows:
            experts, positions = window.layers[3]

Worked out once for a trace and a draft length, and kept while the trace is: many replays read it.
"""

from __future__ import annotations

import weakref
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..trace.step import Prefill, Step, expert_counts
from ..trace.trace import Trace
from ..trace.windows import Window as Seen
from ..trace.windows import iter_windows
from ..utils.exceptions import InvalidInputError

__all__ = ["LayerDemand", "TextDemand", "WindowDemand", "expert_demand"]

LayerDemand = list[tuple[list[int], list[int]]]  # of each layer the distinct experts, and positions for each


class WindowDemand(NamedTuple):
    """A verified window, its tokens, and the experts that each layer needs."""

    seen: Seen
    tokens: list[int]  # the window's, the first of which was committed before
    layers: LayerDemand

    @property
    def step(self) -> Step:
        return self.seen.step


class TextDemand(NamedTuple):
    """One text: its prompt and its windows."""

    prefill: Prefill
    prompt: LayerDemand
    windows: list[WindowDemand]


def expert_demand(trace: Trace, gamma: int | None = None) -> list[TextDemand]:
    """Return the experts that each text of a trace needs, layer by layer.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    gamma : int, optional
        The draft length of a dense trace; None takes all that it holds.

    Returns
    -------
    list of TextDemand

    Raises
    ------
    MoespacError
        `gamma` is given for a trace that is not dense.
    """
    if gamma is not None and any(text.gamma_max is None for text in trace.texts):
        raise InvalidInputError(
            f"gamma is {gamma} and the trace is not dense; expected: None, the draft lengths it has"
        )
    key = id(trace)  # a trace compares by its content, which is slow, and so cannot be a key itself
    if key not in _KNOWN:
        weakref.finalize(trace, _KNOWN.pop, key, None)
    known = _KNOWN.setdefault(key, {})
    if gamma not in known:
        known[gamma] = [_text(trace, text, gamma) for text in range(len(trace.texts))]
    return known[gamma]


_KNOWN: dict[int, dict[int | None, list[TextDemand]]] = {}


def _text(trace: Trace, text: int, gamma: int | None) -> TextDemand:
    prefill = trace.prefill(text)
    seen = list(iter_windows(trace, text, gamma))
    counts = [expert_counts(prefill.experts, trace.geometry.experts), *(one.step.counts for one in seen)]
    prompt, *layers = layer_demand(np.stack(counts))
    made = [WindowDemand(one, one.step.window.tolist(), each) for one, each in zip(seen, layers, strict=True)]
    return TextDemand(prefill, prompt, made)


def layer_demand(counts: np.ndarray) -> list[LayerDemand]:
    """Return counts, (passes, layers, experts), as lists of the experts used and their positions."""
    passes, layers, experts = counts.shape
    flat = np.flatnonzero(counts)
    ids, positions = (flat % experts).tolist(), counts.ravel()[flat].tolist()
    cuts = np.searchsorted(flat, np.arange(passes * layers + 1) * experts).tolist()
    events = [(ids[a:b], positions[a:b]) for a, b in pairwise(cuts)]
    return [events[i : i + layers] for i in range(0, len(events), layers)]
