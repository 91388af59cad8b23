"""Expert demand round by round: a window's counts beside what a single token tells."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.colors import sample_colorscale
from plotly.subplots import make_subplots

from moespac_nb import MoespacError, Step

from .base import Figure, on_any_page, rounds_slider


def demand_figure(steps: Sequence[Step], tokenizer: Any = None) -> Figure:
    """Two maps, layers x experts, with a slider over the rounds.

    Left: how many of the window's positions the routers sent to each expert. Right: the experts of the
    window's first token alone, which is all that decoding without speculation would have shown.
    """
    if not steps:
        raise MoespacError("there are no steps to show; expected: at least one step of a decode")
    top = max(step.gamma for step in steps) + 1
    figure = make_subplots(
        rows=1, cols=2, shared_yaxes=True, horizontal_spacing=0.04,
        subplot_titles=("the window: positions an expert", "its first token alone: used or not"),
    )  # fmt: skip
    for column, trace in enumerate(_maps(steps[0], top), start=1):
        figure.add_trace(trace, row=1, col=column)
    figure.frames = [
        go.Frame(
            name=str(step.index),
            data=_maps(step, top),
            layout={"title": {"text": _sentence(step, tokenizer)}},
        )
        for step in steps
    ]
    margin = {"l": 60, "r": 20, "t": 90, "b": 90}
    on_any_page(figure, _sentence(steps[0], tokenizer), 420, sliders=[rounds_slider(steps)], margin=margin)
    figure.update_xaxes(title_text="expert", showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, zeroline=False, autorange="reversed", dtick=1)
    figure.update_yaxes(title_text="layer", col=1)
    return Figure(figure)


def _maps(step: Step, top: int) -> list[go.Heatmap]:
    first = np.zeros_like(step.counts)
    np.put_along_axis(first, step.experts[0].astype(np.int64), 1, axis=1)
    shown = {"zmin": -0.5, "zmax": top + 0.5, "colorscale": _levels(top), "xgap": 1, "ygap": 1}
    hover = "layer %{y}, expert %{x}: %{z} of the window's positions<extra></extra>"
    return [
        go.Heatmap(z=step.counts, **shown, hovertemplate=hover, colorbar={"title": "positions", "dtick": 1}),
        go.Heatmap(
            z=first * top, **shown, showscale=False, customdata=first,
            hovertemplate="layer %{y}, expert %{x}: used %{customdata}<extra></extra>",
        ),
    ]  # fmt: skip


def _levels(top: int) -> list[tuple[float, str]]:
    """One flat colour a count from 0 to `top`: nothing is nearly the page, and one is seen beside it."""
    amounts = [0.3 + 0.7 * count / top for count in range(1, top + 1)]
    colours = ["rgba(128,128,128,0.15)", *sample_colorscale("Cividis", amounts)]
    return [(edge / (top + 1), colour) for i, colour in enumerate(colours) for edge in (i, i + 1)]


def _sentence(step: Step, tokenizer: Any) -> str:
    distinct = (step.counts > 0).sum(axis=1).mean()
    read = f" of {step.gamma + 1} tokens"
    if tokenizer is not None:
        first = tokenizer.decode([int(step.window[0])])
        read += f" from {first!r}"
    return (
        f"Round {step.index}: a window{read}, {step.accepted} of {step.gamma} accepted, "
        f"{distinct:.1f} experts a layer"
    )
