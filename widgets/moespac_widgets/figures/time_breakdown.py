"""Where a token's time goes: a bar for each replay, split by what was worked at or waited for."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from moespac_nb.simulation.result import Result
from moespac_nb.utils.exceptions import InvalidInputError

from ..base.assets import KINDS
from ..views.replays import names
from .base import INK, Figure, on_any_page

__all__ = ["parts_figure"]

# As in the budget lab: its hues, and a pattern each, so that no reader has to rely on colour.
_PARTS = {
    "draft_s": ("drafting", KINDS["chosen"], "|"),
    "planning_s": ("the policy thinks", INK, "x"),
    "dense_s": ("target without experts", INK, "-"),
    "experts_s": ("experts from slots", KINDS["own"], ""),
    "cpu_wait_s": ("waiting for the CPU lane", KINDS["rejected"], "/"),
    "link_wait_s": ("waiting for copies alone", KINDS["accepted"], "\\"),
}


def parts_figure(results: Sequence[Result]) -> Figure:
    """Draw where a token's time goes, a bar for each replay.

    Parameters
    ----------
    results : sequence of Result
        Replays that can be told apart: by policy, budget, draft length, machine, model or accounting.

    Returns
    -------
    Figure
        Milliseconds a token; the parts of a bar add up to all of its time.

    Raises
    ------
    MoespacError
        If there are no results, or two of them have the same name.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.simulation.replay import replay
    >>> trace = load_trace("math")[:12]
    >>> figure = parts_figure([replay(trace, policy, "25%") for policy in ("recency", "on-demand")])
    >>> figure.data[0].y
    ('recency', 'on-demand')
    """
    if not results:
        raise InvalidInputError("there are no results to show; expected: at least one replay")
    rows = names(results)
    if len(set(rows)) < len(rows):
        raise InvalidInputError(
            f"the results are {', '.join(rows)}, some of them the same; expected: replays that differ in "
            "policy, budget, draft length, machine, model or accounting"
        )
    figure = go.Figure()
    for part, (words, colour, pattern) in _PARTS.items():
        ms = [1e3 * getattr(result.parts, part) / result.tokens for result in results]
        figure.add_bar(
            name=words,
            orientation="h",
            y=rows,
            x=ms,
            marker={"color": colour, "pattern": {"shape": pattern, "fgcolor": "white", "size": 6}},
            hovertemplate=f"%{{y}}: %{{x:.2f}} ms a token {words}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed")
    figure.update_xaxes(title_text="ms a token", gridcolor="rgba(128,128,128,0.25)", zeroline=False)
    longest = max(results, key=lambda result: result.parts.total_s / result.tokens)
    sentence = (
        f"{longest.label}: {rows[list(results).index(longest)]} takes longest, "
        f"{1e3 * longest.parts.total_s / longest.tokens:.1f} ms a token"
    )
    on_any_page(
        figure,
        sentence,
        150 + 36 * len(rows),
        barmode="stack",
        legend={"orientation": "h", "y": -0.35, "traceorder": "normal"},
        margin={"l": 20, "r": 20, "t": 50, "b": 40},
    )
    return Figure(figure)
