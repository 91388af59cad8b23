"""Lines and members of a log's file, which may be gzip: JSON lines, JSON documents and other text."""

from __future__ import annotations

import gzip
import io
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from ...utils.exceptions import InvalidInputError, MissingDataError, TraceFormatError
from ..log import Log

try:
    from orjson import loads
except ImportError:  # slower by a quarter, see `python -m tools.bench.importing`
    from json import loads  # type: ignore[assignment,unused-ignore]

__all__ = ["LINE_BYTES", "WHOLE_JSON_BYTES", "lines", "members", "open_log", "records"]

LINE_BYTES = 2**26  # the longest line that is read
WHOLE_JSON_BYTES = 2**25  # a longer JSON document is read member by member, with ijson
_GZIP = b"\x1f\x8b"


def lines(log: Log) -> Iterator[tuple[int, bytes]]:
    """Iterate over the lines and their numbers, from 1.

    Yields
    ------
    number : int
    line : bytes
        Without spaces at its ends; empty ones are left out.

    Raises
    ------
    TraceFormatError
        If the file cannot be read, or a line is longer than `LINE_BYTES`.
    """
    number = 0
    try:
        with open_log(log.path) as file:
            while line := file.readline(LINE_BYTES):
                number += 1
                if len(line) == LINE_BYTES:
                    raise log.error(number, f"longer than {LINE_BYTES} bytes", "a shorter line")
                if line := line.strip():
                    yield number, line
    except (OSError, EOFError, zlib.error) as error:
        raise log.error(number + 1, f"cannot be read ({error})", "a whole file") from error


def records(log: Log) -> Iterator[tuple[int, dict[str, Any]]]:
    """Iterate over the objects of JSON lines, with the numbers of the lines.

    Yields
    ------
    number : int
    record : dict

    Raises
    ------
    TraceFormatError
        If a line is no JSON object, as the last one of a truncated file.
    """
    for number, line in lines(log):
        try:
            record = loads(line)
        except (ValueError, RecursionError) as error:
            raise log.error(
                number, f"no JSON ({error})", "an object a line; the file may be truncated"
            ) from None
        if not isinstance(record, dict):
            raise log.error(number, f"{str(record)[:40]} is no object", "an object a line")
        yield number, record


def members(log: Log, name: str) -> Iterator[Any]:
    """Iterate over the entries of a list in a JSON document: `name` is a member of it.

    Parameters
    ----------
    name : str
        Of a member of the document that is a list; where there is none, nothing is yielded.

    Yields
    ------
    object

    Raises
    ------
    TraceFormatError
        If the document is no JSON, or the member no list.
    InvalidInputError
        If the file is larger than `WHOLE_JSON_BYTES` and ijson is not installed.
    """
    try:
        with open_log(log.path) as file:
            start = file.read(WHOLE_JSON_BYTES + 1)
        if len(start) > WHOLE_JSON_BYTES:
            del start
            yield from _streamed(log, name)
            return
        document = json.loads(start)
    except json.JSONDecodeError as error:
        problem = f"line {error.lineno}: no JSON ({error.msg})"
        raise log.error(None, problem, "a JSON document; it may be truncated") from None
    except (UnicodeDecodeError, RecursionError, OSError, EOFError, zlib.error) as error:
        raise log.error(None, f"cannot be read ({error})", "a whole JSON document") from error
    entries = document.get(name, []) if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise log.error(None, f"{name} is {type(entries).__name__}", "a list")
    yield from entries


def _streamed(log: Log, name: str) -> Iterator[Any]:
    """Iterate over the entries of a list in a document that is too large to be held."""
    try:
        import ijson
    except ImportError:
        raise InvalidInputError(
            f"{log.path}: a JSON document of more than {WHOLE_JSON_BYTES} bytes needs ijson, which is not "
            "installed: pip install 'moespac-nb[import]'"
        ) from None
    try:
        with open_log(log.path) as file:
            yield from ijson.items(file, f"{name}.item", use_float=True)
    except ijson.JSONError as error:
        problem = f"no JSON ({str(error).splitlines()[0]})"
        raise log.error(None, problem, "a JSON document; it may be truncated") from None


def open_log(path: Path) -> IO[bytes]:
    """Open a file for reading; one that is gzip is unpacked on the way.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    binary file

    Raises
    ------
    MissingDataError
        If there is no such file.
    TraceFormatError
        If its name ends in .gz and it is no gzip, or it cannot be read.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise MissingDataError(f"{path}: there is no such file") from None
    except OSError as error:
        raise TraceFormatError(f"{path}: cannot be read ({error}); expected: a file") from error
    is_gzip = file.peek(2)[:2] == _GZIP
    if path.suffix == ".gz" and not is_gzip:
        start = file.peek(20)[:20]
        file.close()
        raise TraceFormatError(f"{path}: begins with {start!r}; expected: gzip, as its name says")
    return io.BufferedReader(gzip.GzipFile(fileobj=file)) if is_gzip else file  # type: ignore[arg-type,unused-ignore]
