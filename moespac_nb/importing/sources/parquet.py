"""Parquet files, some rows at a time, with pyarrow: it is needed here only."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ...utils.exceptions import InvalidInputError, TraceFormatError
from ..log import Log

__all__ = ["columns_of", "list_column", "row_groups", "whole_column"]

ROWS = 2**15  # at a time


def _open(path: Path) -> Any:
    try:
        import pyarrow.parquet as pq
    except ImportError:
        raise InvalidInputError(
            f"{path}: reading parquet needs pyarrow, which is not installed: pip install 'moespac-nb[import]'"
        ) from None
    try:
        return pq.ParquetFile(path)
    except (OSError, ValueError) as error:  # pyarrow's own errors are ValueErrors
        raise TraceFormatError(f"{path}: no whole parquet file ({error}); expected: one") from error


def columns_of(path: Path) -> frozenset[str]:
    """Return the names of a parquet file's columns.

    Raises
    ------
    TraceFormatError
        If it is damaged.
    InvalidInputError
        If pyarrow is not installed.
    """
    with _open(path) as file:
        return frozenset(file.schema_arrow.names)


def row_groups(
    log: Log, columns: Collection[str], needed: Collection[str], path: Path | None = None
) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the rows of a parquet file.

    Parameters
    ----------
    log : Log
        What is read.
    columns : collection of str
        Those to read, where they are there.
    needed : collection of str
        Those that must be there.
    path : Path, optional
        A file of the log, where it is a folder.

    Yields
    ------
    row : int
        Number of the first row, from 0.
    batch : dict of str to pyarrow.Array
        Columns by name.

    Raises
    ------
    TraceFormatError
        If a column is missing, or the file is damaged.
    """
    log.unit = "row"
    row = 0
    with _open(path or log.path) as file:
        there = set(file.schema_arrow.names)
        if missing := [name for name in needed if name not in there]:
            raise log.error(None, f"{missing[0]} is missing", f"the columns {', '.join(needed)}")
        read = [name for name in columns if name in there]
        try:
            for batch in file.iter_batches(batch_size=ROWS, columns=read):
                yield row, dict(zip(batch.schema.names, batch.columns, strict=True))
                row += batch.num_rows
        except (OSError, ValueError) as error:
            raise log.error(row, f"cannot be read ({error})", "a whole parquet file") from error


def whole_column(log: Log, row: int, batch: dict[str, Any], name: str) -> np.ndarray | None:
    """Return a column of integers, (rows,); None where it is not there or empty throughout."""
    column = batch.get(name)
    if column is None or column.null_count == len(column):
        return None
    array = column.to_numpy(zero_copy_only=False)
    if array.dtype.kind not in "iu":
        raise log.error(row, f"{name} is of {column.type}, {column.null_count} empty", "whole numbers")
    return np.asarray(array)


def list_column(log: Log, row: int, batch: dict[str, Any], name: str, kinds: str) -> np.ndarray | None:
    """Return a column of lists, (rows, k); None where it is not there or empty throughout."""
    column = batch.get(name)
    if column is None or column.null_count == len(column):
        return None
    if not hasattr(column, "flatten") or column.null_count:
        raise log.error(row, f"{name} is of {column.type}, {column.null_count} empty", "lists of one length")
    values = column.flatten()
    flat = values.to_numpy(zero_copy_only=False)
    lengths = column.value_lengths().to_numpy(zero_copy_only=False)
    k = log.declared.top_k or int(lengths[0])
    if (lengths != k).any():
        at = int((lengths != k).argmax())
        raise log.error(row + at, f"{name} has {lengths[at]} entries", f"{k}, the same k throughout")
    if flat.dtype.kind not in kinds or values.null_count:
        raise log.error(row, f"{name} holds {values.type}, {values.null_count} empty", "numbers")
    return np.asarray(flat.reshape(-1, k))
