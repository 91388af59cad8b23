"""Atomic file writes (temporary file, fsync, rename), and tables as files."""

from __future__ import annotations

import codecs
import csv
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .exceptions import InvalidInputError, MoespacError

__all__ = ["atomic_write", "check_writable", "frame", "write_csv"]


@contextmanager
def atomic_write(path: Path, what: str) -> Iterator[IO[bytes]]:
    """Open a temporary file that replaces `path` at the end of the block.

    The file at `path` is the old one until the new one is complete on the disk. Where the block raises, the
    old one stays.

    Parameters
    ----------
    path : Path
        The file to write.
    what : str
        What it holds, for the error message: "the trace" for example.

    Yields
    ------
    binary file
        Open for writing.

    Raises
    ------
    MoespacError
        If the operating system refuses.
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except MoespacError:
        raise
    except OSError as error:
        raise InvalidInputError(f"{path}: {what} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path, what: str) -> None:
    """Raise the error of `atomic_write` early, for work that writes its file at the end.

    Parameters
    ----------
    path : Path
        The file to be written; it is left as it is.
    what : str
        What it will hold, for the error message.

    Raises
    ------
    MoespacError
        If the operating system refuses.
    """
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise InvalidInputError(f"{path}: {what} cannot be written: {error}") from error
    temporary.unlink()


def _beside(path: Path) -> Path:
    """Return a name in the same folder that no other process uses."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def frame(data: Any) -> Any:
    """Return a pandas DataFrame.

    Parameters
    ----------
    data : mapping or sequence
        Columns by name, or rows.

    Returns
    -------
    pandas.DataFrame

    Raises
    ------
    MoespacError
        If pandas is not installed.
    """
    try:
        import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise InvalidInputError(
            "a DataFrame needs pandas, which is not installed: pip install pandas"
        ) from None
    return pd.DataFrame(data)


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV in UTF-8, the names of its columns first.

    Parameters
    ----------
    path : str or Path
        The file to write.
    columns : iterable of str
        Names of the columns.
    rows : iterable of sequences
        One value for each column.

    Raises
    ------
    MoespacError
        If the file cannot be written.
    """
    with atomic_write(Path(path), "the table") as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file))
        writer.writerow(columns)
        writer.writerows(rows)
