"""The experts that a trace needs: of each pass and layer, the distinct experts and their positions.

Worked out once for a trace and a draft length, and kept with the trace, as its counts are: many replays
read it.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..trace.step import Prefill, Step, expert_counts
from ..trace.trace import Trace
from ..trace.windows import Window, iter_windows
from ..utils.exceptions import InvalidInputError

__all__ = ["PassDemand", "TextDemand", "WindowDemand", "expert_demand"]

PassDemand = list[tuple[list[int], list[int]]]  # of each layer the distinct experts, and positions of each


class WindowDemand(NamedTuple):
    """A verified window, and the experts that each layer needs to verify it."""

    window: Window
    layers: PassDemand

    @property
    def step(self) -> Step:
        """The window's step."""
        return self.window.step


class TextDemand(NamedTuple):
    """One text: its prompt and its windows."""

    prefill: Prefill
    prompt: PassDemand
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
    InvalidInputError
        `gamma` is given for a trace that is not dense.

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> text = expert_demand(load_trace("chat", half="report"))[0]
    >>> experts, positions = text.windows[0].layers[3]
    >>> len(experts), sum(positions)  # of 64 experts; 9 positions × 4 experts
    (24, 36)
    """
    if gamma is not None and any(text.gamma_max is None for text in trace.texts):
        raise InvalidInputError(
            f"gamma is {gamma} and the trace is not dense; expected: None, the draft lengths it has"
        )
    demands: dict[int | None, list[TextDemand]] = vars(trace).setdefault("_expert_demand", {})
    if gamma not in demands:
        demands[gamma] = [_text_demand(trace, text, gamma) for text in range(len(trace.texts))]
    return demands[gamma]


def _text_demand(trace: Trace, text: int, gamma: int | None) -> TextDemand:
    prefill, windows = trace.prefill(text), list(iter_windows(trace, text, gamma))
    counts = [window.step.counts for window in windows]
    prompt, *layers = _listed([expert_counts(prefill.experts, trace.geometry.experts), *counts])
    return TextDemand(prefill, prompt, list(map(WindowDemand, windows, layers)))


def _listed(counts: list[np.ndarray]) -> list[PassDemand]:
    """Of each pass, its counts (layers, experts) as lists of the experts used and their positions."""
    layers, experts = counts[0].shape
    flat = np.concatenate(counts).ravel()
    used = np.flatnonzero(flat)
    ids, positions = (used % experts).tolist(), flat[used].tolist()
    ends = np.searchsorted(used, np.arange(len(counts) * layers + 1) * experts).tolist()
    demands = [(ids[first:last], positions[first:last]) for first, last in pairwise(ends)]
    return [demands[first : first + layers] for first in range(0, len(demands), layers)]
