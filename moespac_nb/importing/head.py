"""The beginning of a file, by which its format is recognised."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..utils.exceptions import MissingDataError, TraceFormatError
from .log import Log
from .sources.parquet import columns_of
from .sources.text import open_log

__all__ = ["HEAD_BYTES", "Format", "Head", "head_of"]

HEAD_BYTES = 2**18
PARQUET = b"PAR1"


@dataclass(frozen=True)
class Head:
    """What can be told of a file without reading it whole.

    Parameters
    ----------
    path : Path
        The file, or folder.
    start : bytes
        Its first `HEAD_BYTES`, unpacked where it is gzip; empty for a folder.
    record : mapping
        The JSON object in its first line; empty where there is none.
    entries : frozenset of str
        Names of the files in a zip archive, and of those in a folder.
    columns : frozenset of str
        Names of the columns of a parquet file.
    """

    path: Path
    start: bytes = b""
    record: Mapping[str, Any] = field(default_factory=dict)
    entries: frozenset[str] = frozenset()
    columns: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Format:
    """A format that routing is recorded in.

    Parameters
    ----------
    name : str
        As `import_trace` takes it.
    description : str
        What writes it and what it holds, in one line.
    detect : callable
        Whether a file begins so: of a `Head`.
    read : callable
        The rows of a `Log` as arrays, see `rows`.
    """

    name: str
    description: str
    detect: Callable[[Head], bool]
    read: Callable[[Log], Iterator[np.ndarray]]


def head_of(path: Path) -> Head:
    """Read the beginning of a file.

    Parameters
    ----------
    path : Path
        The file, or folder.

    Returns
    -------
    Head

    Raises
    ------
    MissingDataError
        If there is no such file.
    TraceFormatError
        If it cannot be read, or is a damaged archive.
    InvalidInputError
        If it is parquet, and pyarrow is not installed.
    """
    if path.is_dir():
        return Head(path, entries=frozenset(entry.name for entry in path.iterdir()))
    if not path.exists():
        raise MissingDataError(f"{path}: there is no such file")
    try:
        with open_log(path) as file:
            start = file.read(HEAD_BYTES)
    except (OSError, EOFError, ValueError) as error:
        if isinstance(error, TraceFormatError):
            raise
        raise TraceFormatError(f"{path}: cannot be read ({error}); expected: a whole file") from error
    if start.startswith(b"PK"):
        try:
            with zipfile.ZipFile(path) as archive:
                return Head(path, start, entries=frozenset(archive.namelist()))
        except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise TraceFormatError(f"{path}: not a whole archive ({error}); expected: an npz file") from error
    columns = columns_of(path) if start.startswith(PARQUET) else frozenset[str]()
    return Head(path, start, _first_record(start), columns=columns)


def _first_record(start: bytes) -> Mapping[str, Any]:
    """Return the object in the first line; empty where there is none."""
    try:
        record = json.loads(start.lstrip().partition(b"\n")[0])
    except (ValueError, RecursionError):
        return {}
    return record if isinstance(record, dict) else {}
