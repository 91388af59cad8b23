"""What a budget is worth: speed, hits and bytes against memory, one line a policy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from moespac_nb.simulation.result import Result
from moespac_nb.utils.exceptions import InvalidInputError

from .base import INK, Figure, on_any_page

__all__ = ["budget_figure"]

# Okabe–Ito, a marker and a dash each: no reader has to rely on colour.
_COLOURS = (INK, "#CC79A7", "#E69F00", "#56B4E9", "#009E73", "#D55E00", "#0072B2")
_MARKERS = ("circle", "square", "diamond", "cross", "x", "triangle-up", "star")
_DASHES = ("dot", "dash", "longdash", "solid", "dashdot", "solid", "dot")
_PANELS = {
    "tokens a second": lambda result: result.tps_modelled,
    "experts ready, %": lambda result: 100 * result.hit_rate,
    "MB copied a token": lambda result: result.bytes_per_token / 1e6,
}


def budget_figure(results: Sequence[Result]) -> Figure:
    """Draw speed, hits and bytes over budgets, a line for each policy.

    Parameters
    ----------
    results : sequence of Result
        Replays of one trace on one machine under one accounting.

    Returns
    -------
    Figure
        Open markers are budgets that do not fit the machine.

    Raises
    ------
    MoespacError
        If there are no results, or they differ in machine, model, accounting or tokens.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.simulation.replay import replay
    >>> trace = load_trace("math")[:12]
    >>> figure = budget_figure([replay(trace, "recency", budget) for budget in ("10%", "50%")])
    >>> figure.layout.xaxis.title.text
    'budget, % of all experts'
    """
    if not results:
        raise InvalidInputError("there are no results to show; expected: at least one replay")
    for what in ("machine", "model", "accounting", "tokens"):
        values = {getattr(result, what) for result in results}
        if len(values) > 1:
            raise InvalidInputError(
                f"the results differ in {what}: {', '.join(map(str, values))}; expected: replays of one "
                "trace on one machine under one accounting"
            )
    shares = all(result.budget.endswith("%") for result in results)
    figure = make_subplots(rows=1, cols=len(_PANELS), subplot_titles=list(_PANELS), horizontal_spacing=0.07)
    styles = zip(cycle(_COLOURS), cycle(_MARKERS), cycle(_DASHES), strict=False)
    names = dict.fromkeys(result.policy for result in results)
    for name, (colour, marker, dash) in zip(names, styles, strict=False):
        line = [result for result in results if result.policy == name]
        line.sort(key=lambda result: _room(result, shares))
        for column, (words, value) in enumerate(_PANELS.items(), start=1):
            figure.add_trace(
                go.Scatter(
                    name=name,
                    legendgroup=name,
                    showlegend=column == 1,
                    mode="lines+markers",
                    x=[_room(result, shares) for result in line],
                    y=[value(result) for result in line],
                    customdata=[result.budget for result in line],
                    line={"color": colour, "dash": dash},
                    marker={
                        "symbol": [marker if result.fits else f"{marker}-open" for result in line],
                        "size": 8,
                    },
                    hovertemplate=f"{name}, %{{customdata}}: %{{y:.1f}} {words}<extra></extra>",
                ),
                row=1,
                col=column,
            )
    unit = "budget, % of all experts" if shares else "budget, GB"
    figure.update_xaxes(title_text=unit, rangemode="tozero", showgrid=False, zeroline=False)
    figure.update_yaxes(rangemode="tozero", gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    first = results[0]
    sentence = (
        f"{first.label}: {first.model} on {first.machine}, {first.accounting}; "
        f"{first.tokens:,} tokens a replay"
    )
    on_any_page(
        figure,
        sentence,
        430,
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 50, "r": 20, "t": 80, "b": 40},
    )
    return Figure(figure)


def _room(result: Result, shares: bool) -> float:
    return float(result.budget.rstrip("% ")) if shares else result.budget_bytes / 1e9
