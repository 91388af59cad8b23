"""A trace as a table, one row for each expert that a position was sent to: for pandas, or as CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..utils.files import frame, write_csv
from .trace import Trace

__all__ = ["COLUMNS", "table", "to_csv", "to_frame"]

COLUMNS = (
    "text",  # which text of the trace, from 0
    "step",  # number of the round in its text
    "offset",  # in the window; 0 is the token committed before the draft
    "position",  # in the sequence
    "token",  # id that was read there
    "accepted",  # whether it stayed in the text; the window's first always did
    "layer",
    "rank",  # in the order the router named them
    "expert",
    "gate_weight",
)


def table(trace: Trace) -> dict[str, np.ndarray]:
    """The table's columns by name, each (verified positions × layers × top_k,)."""
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
        "gate_weight": trace.gate_weights,
    }
    return columns | {name: values.ravel() for name, values in chosen.items()}


def to_frame(trace: Trace) -> Any:
    """The table as a pandas DataFrame."""
    return frame(table(trace))


def to_csv(trace: Trace, path: Path) -> None:
    """The table as CSV, a header line first."""
    columns = table(trace)
    rows = zip(*columns.values(), strict=True)
    write_csv(path, columns, ([value.item() for value in row] for row in rows))
