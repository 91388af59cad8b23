"""Writing a file so that it is the old one or the whole new one, whatever happens in between."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from .errors import MoespacError

__all__ = ["whole_file"]


@contextmanager
def whole_file(path: Path, what: str) -> Iterator[IO[bytes]]:
    """A new file that takes its place at `path` once the block is through and it is whole on the disk.

    Raises MoespacError that names the path and `what` cannot be written, where the system refuses.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
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
