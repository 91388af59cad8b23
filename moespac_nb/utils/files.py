"""Writing a file so that it is the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import codecs
import csv
import os
import secrets
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from .exceptions import MoespacError

__all__ = ["atomic_write", "check_writable", "frame", "write_csv"]


@contextmanager
def atomic_write(path: Path, what: str) -> Iterator[IO[bytes]]:
    """A new file that takes its place at `path` once the block is through and it is whole on the disk.

    Raises MoespacError that names the path and `what` cannot be written, where the system refuses.
    """
    temporary = _beside(path)
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise MoespacError(f"{path}: {what} cannot be written: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def check_writable(path: Path, what: str) -> None:
    """Raises the same error now, for work whose file comes at its end; leaves nothing behind."""
    temporary = _beside(path)
    try:
        temporary.touch(exist_ok=False)
    except OSError as error:
        raise MoespacError(f"{path}: {what} cannot be written: {error}") from error
    temporary.unlink()


def _beside(path: Path) -> Path:
    """A name that nobody else uses, in the same folder."""
    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def frame(data: Any) -> Any:
    """A pandas DataFrame of columns by name, or of rows."""
    try:
        import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise MoespacError("a DataFrame needs pandas, which is not installed: pip install pandas") from None
    return pd.DataFrame(data)


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """A header line, then a line each."""
    with atomic_write(Path(path), "the table") as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file))
        writer.writerow(columns)
        writer.writerows(rows)
