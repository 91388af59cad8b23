"""What ran when: the lanes of a run over time, one bar an operation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import plotly.graph_objects as go

from moespac_nb.engine.chrome_trace import ROWS as LANES
from moespac_nb.engine.devices import Operation
from moespac_nb.utils.exceptions import InvalidInputError

from .base import INK, Figure, on_any_page

__all__ = ["busy", "timeline_figure"]


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
    operations: Iterable[Operation], start_s: float = 0.0, end_s: float | None = None, label: str = "modelled"
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
    ran = sorted(operations, key=lambda op: op.start)
    if not ran:
        raise InvalidInputError(
            "there are no operations to show; expected: a timeline that holds at least one"
        )
    last_s = max(op.end for op in ran)
    end_s = last_s if end_s is None else end_s
    if not 0 <= start_s < end_s:
        raise InvalidInputError(
            f"the span is {start_s} to {end_s} s; expected: from 0 s on, the end after the start"
        )
    figure = go.Figure()
    for kind, (name, colour, pattern) in _KINDS.items():
        if of_kind := [op for op in ran if _kind(op) == kind]:
            figure.add_trace(
                go.Bar(
                    name=name,
                    orientation="h",
                    y=[op.lane for op in of_kind],
                    base=[round(1e3 * op.start, 4) for op in of_kind],
                    x=[round(1e3 * (op.end - op.start), 4) for op in of_kind],
                    text=[op.label for op in of_kind],
                    textposition="inside",
                    insidetextanchor="middle",
                    textangle=0,
                    customdata=[_words(op) for op in of_kind],
                    hovertemplate="%{customdata}<extra></extra>",
                    marker={"color": colour, "pattern": {"shape": pattern}, "line": {"width": 0}},
                )
            )
    shares = busy(ran, start_s, min(end_s, last_s))
    words = ", ".join(f"{lane} {share:.0%}" for lane, share in shares.items())
    on_any_page(
        figure,
        f"{label}. {1e3 * start_s:.1f} to {1e3 * end_s:.1f} ms, busy: {words}",
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
    lanes = [lane for lane in LANES if any(op.lane == lane for op in ran)]
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
    shares = dict.fromkeys((lane for lane in LANES if any(op.lane == lane for op in operations)), 0.0)
    for op in operations:
        shares[op.lane] += max(0.0, min(op.end, end_s) - max(op.start, start_s)) / (end_s - start_s)
    return shares


def _kind(op: Operation) -> str:
    if op.failed:
        return "failed"
    if op.lane == "gpu":
        return "dense" if op.label == "head" or op.label.endswith("dense") else "gpu"
    return {"host": "plan", "link": "copy"}.get(op.lane, op.lane)


def _words(op: Operation) -> str:
    size = f", {op.size_bytes / 1e6:.2f} MB" if op.size_bytes and op.lane == "link" else ""
    failed = ", failed" if op.failed else ""
    return (
        f"{op.label or op.lane}: {1e3 * op.start:.3f} to {1e3 * op.end:.3f} ms, "
        f"{1e3 * (op.end - op.start):.3f} ms{size}{failed}"
    )
