"""What ran when: the lanes of a run over time, one bar an operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from moespac_nb import MoespacError
from moespac_nb.engine.devices import Operation

from .base import INK, Figure, on_any_page

__all__ = ["busy", "timeline_figure"]

LANES = ("host", "draft", "gpu", "cpu", "link")  # from above


class _Kind(NamedTuple):
    name: str
    colour: str  # Okabe–Ito
    pattern: str = ""


_KINDS = {
    "plan": _Kind("the policy thinks", INK),
    "draft": _Kind("drafting", "#E69F00"),
    "dense": _Kind("attention, router, head", "#56B4E9"),
    "gpu": _Kind("experts from slots", "#0072B2"),
    "cpu": _Kind("experts on the CPU lane", "#D55E00"),
    "copy": _Kind("an expert is copied", "#009E73"),
    "failed": _Kind("failed", "#CC79A7", "x"),
}


def timeline_figure(
    operations: Iterable[Operation],
    start_s: float = 0.0,
    end_s: float | None = None,
    label: str = "modelled",
) -> Figure:
    """Draw the operations of a run, a row for each lane; drag along the lanes to see another span.

    Parameters
    ----------
    operations : iterable of Operation
        What ran, on all lanes.
    start_s, end_s : float
        The span that is shown at first, in seconds; None ends it with the last operation.
    label : str
        Whether the times were measured or modelled, and on which machine.

    Returns
    -------
    Figure

    Raises
    ------
    MoespacError
        If there are no operations, or the span is empty.

    Examples
    --------
    >>> from moespac_nb.engine.devices import Operation
    >>> figure = timeline_figure([Operation("gpu", "L0 gpu", 0.0, 0.001)])
    >>> figure.layout.title.text
    'modelled. 0.0 to 1.0 ms, busy: gpu 100%'
    """
    ran = sorted(operations, key=lambda one: one.start)
    if not ran:
        raise MoespacError("there are no operations to show; expected: a timeline that holds at least one")
    last_s = max(one.end for one in ran)
    end_s = last_s if end_s is None else end_s
    if not 0 <= start_s < end_s:
        raise MoespacError(
            f"the span is {start_s} to {end_s} s; expected: from 0 s on, the end after the start"
        )
    figure = go.Figure()
    for kind, (name, colour, pattern) in _KINDS.items():
        if of_kind := [one for one in ran if _kind(one) == kind]:
            figure.add_trace(
                go.Bar(
                    name=name,
                    orientation="h",
                    y=[one.lane for one in of_kind],
                    base=[round(1e3 * one.start, 4) for one in of_kind],
                    x=[round(1e3 * (one.end - one.start), 4) for one in of_kind],
                    text=[one.label for one in of_kind],
                    textposition="inside",
                    insidetextanchor="middle",
                    textangle=0,
                    customdata=[_words(one) for one in of_kind],
                    hovertemplate="%{customdata}<extra></extra>",
                    marker={"color": colour, "pattern": {"shape": pattern}, "line": {"width": 0}},
                )
            )
    shares = busy(ran, start_s, min(end_s, last_s))
    said = ", ".join(f"{lane} {share:.0%}" for lane, share in shares.items())
    on_any_page(
        figure,
        f"{label}. {1e3 * start_s:.1f} to {1e3 * end_s:.1f} ms, busy: {said}",
        360,
        barmode="overlay",
        bargap=0.2,
        dragmode="pan",
        uniformtext={"minsize": 9, "mode": "hide"},  # a label that does not fit its bar is left out
        legend={"orientation": "h", "y": -0.25},
        margin={"l": 60, "r": 20, "t": 50, "b": 40},
    )
    shown_ms = [1e3 * start_s, 1e3 * end_s]
    figure.update_xaxes(title_text="milliseconds", range=shown_ms, showgrid=False, zeroline=False)
    lanes = [lane for lane in LANES if any(one.lane == lane for one in ran)]
    figure.update_yaxes(
        categoryorder="array", categoryarray=lanes[::-1], fixedrange=True, showgrid=False, title_text="lane"
    )
    return Figure(figure)


def busy(operations: Sequence[Operation], start_s: float, end_s: float) -> dict[str, float]:
    """Return the share of a span in which each lane works; lanes without operations are left out.

    Parameters
    ----------
    operations : sequence of Operation
        What ran, on all lanes.
    start_s, end_s : float
        The span, in seconds.

    Returns
    -------
    dict of str to float
        By lane a share from 0 to 1.

    Examples
    --------
    >>> from moespac_nb.engine.devices import Operation
    >>> busy([Operation("gpu", "L0 gpu", 0.0, 1.0), Operation("link", "copy", 0.0, 4.0)], 0.0, 4.0)
    {'gpu': 0.25, 'link': 1.0}
    """
    shares = dict.fromkeys((lane for lane in LANES if any(one.lane == lane for one in operations)), 0.0)
    for one in operations:
        shares[one.lane] += max(0.0, min(one.end, end_s) - max(one.start, start_s)) / (end_s - start_s)
    return shares


def _kind(one: Operation) -> str:
    if one.failed:
        return "failed"
    if one.lane == "gpu":
        return "dense" if one.label == "head" or one.label.endswith("dense") else "gpu"
    return {"host": "plan", "link": "copy"}.get(one.lane, one.lane)


def _words(one: Operation) -> str:
    size = f", {one.size_bytes / 1e6:.2f} MB" if one.size_bytes else ""
    failed = ", failed" if one.failed else ""
    return (
        f"{one.label or one.lane}: {1e3 * one.start:.3f} to {1e3 * one.end:.3f} ms, "
        f"{1e3 * (one.end - one.start):.3f} ms{size}{failed}"
    )
