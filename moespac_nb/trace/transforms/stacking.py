"""Routing of as many layers as a model has, made of a trace with fewer or more. Numpy only."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ...utils.validation import checked_whole
from ..schema import COLUMNS, EXPERT_CHANNELS, Axis
from ..trace import Trace

__all__ = ["source_layers", "stack_layers"]


def source_layers(recorded: int, layers: int) -> np.ndarray:
    """Return which recorded layer stands for each layer of a model.

    Parameters
    ----------
    recorded : int
        Layers of the trace, at least 1.
    layers : int
        Layers with experts of the model, at least 1.

    Returns
    -------
    ndarray
        (layers,): the recorded layers over and over, or as many of them as there are layers, evenly spaced.

    Examples
    --------
    >>> source_layers(3, 7).tolist(), source_layers(7, 3).tolist()
    ([0, 1, 2, 0, 1, 2, 0], [0, 3, 6])
    """
    if layers > recorded:
        return np.arange(layers) % recorded
    return np.linspace(0, recorded - 1, layers).round().astype(int)


def stack_layers(trace: Trace, layers: int) -> Trace:
    """Lay the layers of a trace side by side until there are as many as a model has.

    Each copy of the recorded layers reads another text, so that copies are not alike; where there are fewer
    texts than copies, the same text at another place. Tokens, acceptance and times are the trace's own: step
    i of a text has in each copy the routing of step i of the copy's text, which begins again where it is
    over, of as many positions. Where that text has none, of a prompt or of a draft, the copy is as the trace.
    A trace with more layers than asked for keeps some, evenly spaced.

    Parameters
    ----------
    trace : Trace
        A trace with experts.
    layers : int
        Layers with experts of the model, at least 1.

    Returns
    -------
    Trace
        The trace itself where it has so many layers.

    Raises
    ------
    InvalidInputError
        If `layers` is no whole number from 1.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("chat", half="report")
    >>> stack_layers(trace, 48).geometry
    MoEShape(layers=48, experts=64, top_k=4)
    """
    checked_whole("layers", layers, least=1)
    recorded = trace.geometry.layers
    if layers == recorded or not recorded:
        return trace
    made: dict[int, Trace] = trace.__dict__.setdefault("_stacked", {})  # as long as the trace is
    if layers not in made:
        made[layers] = _stacked(trace, layers)
    return made[layers]


def _stacked(trace: Trace, layers: int) -> Trace:
    recorded = trace.geometry.layers
    copies = -(-layers // recorded)
    rows = [_rows(trace, copy, copies) for copy in range(copies)]
    taken = slice(layers) if copies > 1 else source_layers(recorded, layers)
    columns: dict[str, Any] = {
        name: _side_by_side(array, COLUMNS[name].axis, rows)[:, taken]
        for name, array in trace.columns.items()
        if "layers" in COLUMNS[name].shape
    }
    channels = {
        name: replace(channel, values=_side_by_side(channel.values, channel.rows, rows)[:, taken])
        if name in EXPERT_CHANNELS
        else channel
        for name, channel in trace.channels.items()
    }
    geometry = replace(trace.geometry, layers=layers)
    return replace(trace, geometry=geometry, channels=channels, **columns)


def _side_by_side(values: np.ndarray, axis: Axis, copies: list[dict[Axis, np.ndarray]]) -> np.ndarray:
    """Return the values of all copies, (rows, copies × layers, …)."""
    return np.concatenate([values[rows[axis]] for rows in copies], axis=1)


def _rows(trace: Trace, copy: int, copies: int) -> dict[Axis, np.ndarray]:
    """Return which rows of each axis a copy has in place of the trace's own."""
    texts = len(trace.texts)
    source = (np.arange(texts) + copy) % texts
    # A text that is read again begins elsewhere.
    again, most = copy // texts, -(-copies // texts)
    first_step = trace.starts["steps"]
    steps = trace.text_steps.astype(np.int64)
    text = trace.text_of_step
    step = np.arange(len(trace)) - first_step[text] + again * steps[source[text]] // most
    step = first_step[source[text]] + step % steps[source[text]]
    prompt = trace.starts["prompt"]
    return {
        "prompt": _rows_of(prompt[:-1], np.diff(prompt), source),
        "verified": _rows_of(trace.starts["verified"][:-1], trace.gamma.astype(np.int64) + 1, step),
        "drafted": _rows_of(trace.starts["drafted"][:-1], trace.gamma.astype(np.int64), step),
    }


def _rows_of(starts: np.ndarray, counts: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Return for each row one of the group that stands for its own, which begins again where it is short."""
    group = np.repeat(np.arange(len(counts)), counts)
    offset = np.arange(len(group)) - starts[group]
    rows = counts[source[group]]
    # A group without rows has nothing to stand for another: that keeps its own.
    return np.where(rows > 0, starts[source[group]] + offset % np.maximum(rows, 1), np.arange(len(group)))
