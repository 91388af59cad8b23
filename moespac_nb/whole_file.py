"""Writing a file so that it is the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import MoespacError

__all__ = ["check_writable", "whole_file"]


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[IO[bytes]]:
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
