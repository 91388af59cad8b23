"""JSON lines of warp: a line a decoded token, with the expert ids of all layers and nothing else.

    {"tok": 1, "layers": [[6, 8, 15], [7, 16, 18]]}

Source: github.com/sqliteai/warp.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import Row, pack_columns, rows_of
from ..sources.text import records

__all__ = ["FORMAT"]

_LINES = 256  # at a time


def _detect(head: Head) -> bool:
    return {"tok", "layers"} <= head.record.keys()


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"position": "tok", "layer": "layers", "experts": "layers"}
    text, rest = log.text(), records(log)

    def parse(line: int, record: dict[str, Any]) -> Iterator[Row]:
        log.declare(line, layers=len(record["layers"]))
        for layer, experts in enumerate(record["layers"]):
            yield Row(text, record["tok"], layer, experts)

    while block := list(islice(rest, _LINES)):
        arrays = _arrays([record for _, record in block])
        if arrays is None:  # something is wrong in a line: name it
            yield from rows_of(log, parse, iter(block))
            continue
        position, experts = arrays
        layers = experts.shape[1]
        log.declare(block[0][0], layers=layers)
        yield pack_columns(
            log,
            np.repeat([line for line, _ in block], layers),
            text=text,
            position=np.repeat(position, layers),
            layer=np.tile(np.arange(layers), len(block)),
            experts=experts.reshape(-1, experts.shape[2]),
        )


def _arrays(block: list[dict[str, Any]]) -> tuple[np.ndarray, np.ndarray] | None:
    """Return positions and experts (lines, layers, k), or None where they are no whole arrays of integers."""
    try:
        position = np.array([record["tok"] for record in block])
        experts = np.array([record["layers"] for record in block])
    except (KeyError, ValueError, OverflowError):
        return None
    whole = position.dtype.kind == experts.dtype.kind == "i"
    return (position, experts) if whole and (position.ndim, experts.ndim) == (1, 3) else None


FORMAT = Format("warp-tokens", "warp: JSON lines, one a token with the ids of all layers", _detect, _read)
