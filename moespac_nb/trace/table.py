"""A trace as a table for pandas or as CSV: one row for each expert that was chosen for a position."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import frame, write_csv
from .schema import TraceColumns

__all__ = ["COLUMNS", "table", "to_csv", "to_frame"]

COLUMNS = (
    "text",  # which text of the trace, from 0
    "step",  # number of the round in its text
    "offset",  # in the window; 0 is the token committed before the draft
    "position",  # in the sequence
    "token",  # id of the token there, -1 where it was not recorded
    "accepted",  # whether it stayed in the text; the first of a window always did
    "layer",
    "rank",  # among those chosen, from 0, as the router ordered them
    "expert",
    "gate_weight",  # NaN where it was not recorded
)


def table(trace: TraceColumns) -> dict[str, np.ndarray]:
    """Return the columns of the table by name.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    dict of str to ndarray
        The keys are `COLUMNS`; each array is (verified positions × layers × top_k,).
    """
    step = np.repeat(np.arange(len(trace)), trace.gamma + 1)
    offset = np.arange(len(step)) - trace.starts["verified"][step]
    by_position = {
        "text": trace.text_of_step[step],
        "step": trace.step_index[step],
        "offset": offset,
        "position": trace.step_position[step] + offset,
        "token": trace.window,
        "accepted": offset <= trace.accepted[step],
    }
    _positions, layers, top_k = trace.experts.shape
    columns = {name: np.repeat(values, layers * top_k) for name, values in by_position.items()}
    chosen: dict[str, np.ndarray] = {
        "layer": np.indices(trace.experts.shape)[1],
        "rank": np.indices(trace.experts.shape)[2],
        "expert": trace.experts,
        "gate_weight": np.full(trace.experts.shape, np.nan)
        if trace.gate_weights is None
        else trace.gate_weights,
    }
    return columns | {name: values.ravel() for name, values in chosen.items()}


def to_frame(trace: TraceColumns) -> Any:
    """Return the table as a pandas DataFrame.

    Parameters
    ----------
    trace : Trace
        The trace.

    Returns
    -------
    pandas.DataFrame
        With the columns `COLUMNS`.

    Raises
    ------
    MoespacError
        If pandas is not installed.
    """
    return frame(table(trace))


def to_csv(trace: TraceColumns, path: str | Path) -> None:
    """Write the table as CSV, the names of the columns first.

    Parameters
    ----------
    trace : Trace
        The trace.
    path : str or Path
        The file to write.

    Raises
    ------
    MoespacError
        If the file cannot be written.
    """
    columns = table(trace)
    rows = zip(*columns.values(), strict=True)
    write_csv(path, columns, ([value.item() for value in row] for row in rows))
