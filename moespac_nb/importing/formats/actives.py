"""Parquet folders with `actives/<iteration>/layer_NN` (indices, scores) and `samples` (token_id).

    DIR/actives/0/layer_00.parquet   a row a position: indices [k], scores [k]
    DIR/actives/0/layer_01.parquet
    DIR/samples/0.parquet            a row a position: token_id; or one DIR/samples.parquet for all

`layer_NN` may be a file, with or without .parquet at its end, or a folder of parts. Each iteration is a
text; positions are rows in their order. Samples may be missing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, pack_columns
from ..sources.parquet import list_column, row_groups, whole_column

__all__ = ["FORMAT"]


def _detect(head: Head) -> bool:
    return head.path.is_dir() and "actives" in head.entries


def _number(path: Path) -> int:
    digits = re.findall(r"\d+", path.name.removesuffix(".parquet"))
    return int(digits[-1]) if digits else -1


def _numbered(folder: Path) -> list[Path]:
    return sorted((path for path in folder.iterdir() if _number(path) >= 0), key=_number)


def _parts(path: Path) -> list[Path]:
    return sorted(path.glob("*.parquet")) if path.is_dir() else [path]


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"experts": "indices", "weights": "scores", "token": "token_id"}
    if not (log.path / "actives").is_dir():
        raise log.error(None, "no folder with actives/", "a folder of actives/<iteration>/layer_NN")
    iterations = _numbered(log.path / "actives")
    tokens, taken = _tokens(log, log.path / "samples.parquet"), 0
    for iteration in iterations:
        own = _tokens(log, log.path / "samples" / iteration.name)
        text, rows = log.text(iteration.name), 0
        for layer in _numbered(iteration):
            rows = 0
            for part in _parts(layer):
                for row, batch in row_groups(log, ("indices", "scores"), ("indices",), part):
                    experts = list_column(log, row, batch, "indices", "iu")
                    if experts is None:
                        raise log.error(row, f"{part.name}: indices is empty", "the experts of each position")
                    position = np.arange(rows, rows + len(experts))
                    rows += len(experts)
                    yield pack_columns(
                        log,
                        range(row, row + len(experts)),
                        text=text,
                        position=position,
                        layer=_number(layer),
                        experts=experts,
                        weights=list_column(log, row, batch, "scores", "f"),
                        token=_at(own, position) if len(own) else _at(tokens, taken + position),
                    )
        taken += rows


def _at(tokens: np.ndarray, position: np.ndarray) -> np.ndarray:
    """Return the tokens at some positions, `NO_TOKEN` behind the last."""
    padded: np.ndarray = np.append(tokens, NO_TOKEN)[np.minimum(position, len(tokens))]
    return padded


def _tokens(log: Log, path: Path) -> np.ndarray:
    """Return the token ids in a file or folder of samples; none where it is not there."""
    there = [each for each in (path, path.with_name(f"{path.name}.parquet")) if each.exists()]
    read = [np.empty(0, np.int64)]
    for part in _parts(there[0]) if there else []:
        for row, batch in row_groups(log, ("token_id",), ("token_id",), part):
            ids = whole_column(log, row, batch, "token_id")
            read.append(np.empty(0, np.int64) if ids is None else ids)
    return np.concatenate(read)


FORMAT = Format("actives", "parquet folder of actives/<iteration>/layer_NN and samples", _detect, _read)
