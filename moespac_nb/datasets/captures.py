"""Public captures of real routing: which there are, and their download, which never happens by itself.

`data/captures.toml` is the registry.
"""

from __future__ import annotations

import os
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..utils.exceptions import MissingDataError, MoespacError
from ..utils.validation import check_choice
from .files import data_path, digest

__all__ = ["PublicCapture", "fetch_capture", "list_captures"]

REGISTRY = "captures.toml"
_CHUNK_BYTES = 2**16
_TIMEOUT_S = 30
_PART = ".part"


@dataclass(frozen=True)
class PublicCapture:
    """A public file with the routing of a real model.

    Parameters
    ----------
    name : str
        Its name for `fetch_capture`.
    what : str
        What it holds.
    address : str
        Where it can be downloaded.
    commit : str
        The commit that the address names, so that the file stays what it is.
    bytes : int
        Its size.
    sha256 : str
        Its checksum, in hexadecimal.
    licence : str
        Under which licence its authors publish it.
    format : str
        The format that the importer reads it as.
    """

    name: str
    what: str
    address: str
    commit: str
    bytes: int
    sha256: str
    licence: str
    format: str

    @property
    def file_name(self) -> str:
        """Name of the file that a download writes."""
        return self.name + Path(self.address).suffix


@cache
def list_captures() -> tuple[PublicCapture, ...]:
    """List the public captures that can be downloaded.

    Returns
    -------
    tuple of PublicCapture

    Raises
    ------
    MoespacError
        If the registry is damaged.

    Examples
    --------
    >>> list_captures()[0].name
    'olmoe-domain-switch'
    """
    path = data_path(REGISTRY)
    try:
        entries = tomllib.loads(path.read_text(encoding="utf-8"))
        return tuple(PublicCapture(name, **entry) for name, entry in entries.items())
    except (ValueError, TypeError) as error:
        raise MoespacError(f"{path} is damaged ({error}); install moespac-nb again") from None


def fetch_capture(
    name: str, folder: str | Path = ".", progress: Callable[[int, int], None] | None = None
) -> Path:
    """Download a public capture.

    A download that broke off goes on where it stopped: what is there stays beside the file, as `….part`. The
    file appears when it is complete and its checksum right. One that is already there is kept.

    Parameters
    ----------
    name : str
        One of the names of `list_captures`.
    folder : str or Path
        Where to write the file.
    progress : callable, optional
        Called with the bytes that are there and the bytes of the whole file.

    Returns
    -------
    Path
        The file, which `load_trace` reads.

    Raises
    ------
    InvalidInputError
        If there is no such capture.
    MissingDataError
        If it cannot be downloaded now; what is there is kept.
    MoespacError
        If the file has another size or checksum than the registry says, or cannot be written.
    """
    captures = {capture.name: capture for capture in list_captures()}
    capture = captures[check_choice("name", name, captures)]
    path = Path(folder) / capture.file_name
    part = path.with_name(path.name + _PART)
    try:
        if path.exists():
            return _checked(capture, path)
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            _download(capture, part, progress or (lambda *_: None))
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            raise MissingDataError(
                f"{name} cannot be downloaded from {capture.address}: {error}; try again, {_there(part)} of "
                f"{capture.bytes:,} bytes are kept"
            ) from None
        _checked(capture, part)
        part.replace(path)
    except OSError as error:
        if isinstance(error, MoespacError):
            raise
        raise MoespacError(f"{path} cannot be written: {error}") from error
    return path


def _there(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _download(capture: PublicCapture, part: Path, progress: Callable[[int, int], None]) -> None:
    """Bring `part` to its full length, from where it ends."""
    there = _there(part)
    if there >= capture.bytes:
        return
    request = urllib.request.Request(capture.address, headers={"Range": f"bytes={there}-"} if there else {})
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as answer:
        goes_on = there > 0 and answer.status == 206
        there = there if goes_on else 0  # a server may send the whole file all the same
        with part.open("ab" if goes_on else "wb") as file:
            while there <= capture.bytes and (chunk := answer.read(_CHUNK_BYTES)):
                file.write(chunk)
                there += len(chunk)
                progress(there, capture.bytes)
            file.flush()
            os.fsync(file.fileno())
    if there < capture.bytes:
        raise ConnectionError(f"it broke off after {there:,} bytes")


def _checked(capture: PublicCapture, path: Path) -> Path:
    """Return the file if it is the one of the registry; a download that is not is removed."""
    size, checksum = path.stat().st_size, digest(path)
    if (size, checksum) == (capture.bytes, capture.sha256):
        return path
    remedy = f"delete {path.name} and try again"
    if path.suffix == _PART:
        path.unlink()
        remedy = "try again; if it stays so, the file was changed at its source"
    raise MoespacError(
        f"{capture.address} gave {size:,} bytes with checksum {checksum[:12]}…; expected: {capture.bytes:,} "
        f"bytes with {capture.sha256[:12]}…; {remedy}"
    )
