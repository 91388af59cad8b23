"""A small table as HTML: figures right, words left, in the notebook's own colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from numbers import Integral, Real

from IPython.display import HTML


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], caption: str = "") -> HTML:
    """Return a small table as HTML: figures to the right, words to the left.

    Parameters
    ----------
    columns : sequence of str
        The headings.
    rows : iterable of sequences
        The cells; floats get three decimals, None an empty cell.
    caption : str
        A line above the table.

    Returns
    -------
    IPython.display.HTML

    Examples
    --------
    >>> "0.333" in table(["policy", "hit rate"], [("recency", 1 / 3)]).data
    True
    """
    head = "".join(f'<th scope="col" style="text-align:left">{escape(c)}</th>' for c in columns)
    body = "".join("<tr>" + "".join(map(_cell, row)) + "</tr>" for row in rows)
    caption = f'<caption style="text-align:left">{escape(caption)}</caption>' if caption else ""
    return HTML(f"<table>{caption}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")


def _cell(value: object) -> str:
    is_figure = isinstance(value, Real) and not isinstance(value, bool)
    is_fraction = is_figure and not isinstance(value, Integral)
    text = "" if value is None else f"{value:.3f}" if is_fraction else str(value)
    return f'<td style="text-align:{"right" if is_figure else "left"}">{escape(text)}</td>'
