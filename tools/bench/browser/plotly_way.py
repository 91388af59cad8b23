"""The way most notebooks do it: a FigureWidget for each chart, a slider, and a callback in the kernel.

The charts are of the kinds and sizes that a widget has, of the trace's counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import ipywidgets
import numpy as np
import plotly.graph_objects as go

from moespac_nb import Trace


def figures(trace: Trace, charts: Sequence[str], gamma: int | None = None) -> Any:
    """A slider over the steps, and under it the charts, which follow it."""
    steps = list(trace.rounds(gamma)) if gamma is not None else list(trace)
    counts = np.stack([step.counts for step in steps])
    made = [_KINDS[kind](counts) for kind in charts]
    slider = ipywidgets.IntSlider(max=len(counts) - 1)

    def follow(change: Any) -> None:
        for _, redraw in made:
            redraw(change["new"])

    slider.observe(follow, "value")
    return ipywidgets.VBox([slider, *(figure for figure, _ in made)])


Chart = tuple[Any, Callable[[int], None]]


def _of(trace: Any, name: str, values: Callable[[int], np.ndarray]) -> Chart:
    """The figure of one plotly trace, whose property `name` has these values at a step."""
    figure = go.FigureWidget(trace)
    setattr(figure.data[0], name, values(0))

    def redraw(step: int) -> None:
        setattr(figure.data[0], name, values(step))

    return figure, redraw


def _map(counts: np.ndarray) -> Chart:
    return _of(go.Heatmap(zmin=0, zmax=int(counts.max())), "z", lambda step: counts[step])


def _line(counts: np.ndarray) -> Chart:
    """One expert over all steps; another expert with each step."""
    series = counts.reshape(len(counts), -1)
    return _of(go.Scatter(line={"shape": "hv"}), "y", lambda step: series[:, step])


def _bars(counts: np.ndarray) -> Chart:
    return _of(go.Bar(), "y", lambda step: (counts[step] > 0).sum(axis=1))


def _dots(counts: np.ndarray) -> Chart:
    """Every expert of every layer as a mark."""
    layer, expert = np.indices(counts[0].shape)
    marks = go.Scatter(x=expert.ravel(), y=layer.ravel(), mode="markers", marker={"symbol": "square"})
    figure = go.FigureWidget(marks)

    def redraw(step: int) -> None:
        figure.data[0].marker.color = counts[step].ravel()

    redraw(0)
    return figure, redraw


_KINDS: dict[str, Callable[[np.ndarray], Chart]] = {
    "map": _map, "line": _line, "bars": _bars, "dots": _dots,
}  # fmt: skip
