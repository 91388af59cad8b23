"""Trace files: npz without pickle; the entry `header.json` holds everything that is no array.

Files are not trusted. The zip directory and an array's own header must agree on its size, and its size in
memory must be within the limit, before it is unpacked. The result is validated like every trace. Files of
schema 1, whose arrays are stored as they are in memory, and of schema 2, in which some members of the header
have other names, are read too.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.lib import format as npy

from ..utils.exceptions import InvalidInputError, MissingDataError, TraceFormatError
from ..utils.files import atomic_write
from ..utils.validation import is_whole
from .packing import CHANNEL, MOST_BITS, Kind, kind, pack, unpack
from .schema import COLUMNS, Channel, TextInfo, TraceColumns
from .step import MoEShape

__all__ = ["LIMIT_BYTES", "SCHEMA", "read", "write"]

FORMAT, SCHEMA = "moespac trace", 3
_READ = (1, 2, SCHEMA)
LIMIT_BYTES = 2**30  # of all arrays together, in memory
LIMIT_HEADER_BYTES = 2**26
_HEADER, _SUFFIX = "header.json", ".npy"
_LATER = {"min_p", "stop_strings", "processors", "imported"}  # of a text, since there are traces without
_RENAMED = {"pieces": "token_strings", "sensors": "channels", "fan": "gamma_max"}  # since schema 3
_OLDER_CHANNEL = "sensor."  # what CHANNEL was
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same trace is the same file, byte for byte
_T = TypeVar("_T")


def write(trace: TraceColumns, path: Path) -> None:
    """Write a trace to a file, which is replaced only when the new one is complete on the disk.

    Parameters
    ----------
    trace : TraceColumns
        The trace.
    path : Path
        The file.

    Raises
    ------
    InvalidInputError
        If the trace is larger than `LIMIT_BYTES`.
    MoespacError
        If the file cannot be written.
    """
    arrays = trace.columns | {CHANNEL + name: channel.values for name, channel in trace.channels.items()}
    packed = {name: pack(name, array) for name, array in arrays.items()}
    header = _header_of(trace, {name: bits for name, (_, bits) in packed.items() if bits is not None})
    if len(header) + sum(array.nbytes for array in arrays.values()) > LIMIT_BYTES:
        raise InvalidInputError(f"{path}: the trace is larger than {LIMIT_BYTES} bytes; save it in parts")
    with atomic_write(path, "the trace") as file:
        _pack(file, {_HEADER: header, **{name: array for name, (array, _) in packed.items()}})


def _pack(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            packed = io.BytesIO()
            little_endian = array.dtype.newbyteorder("<")
            npy.write_array(packed, np.ascontiguousarray(array, little_endian), (1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(name + _SUFFIX, _EPOCH)
            archive.writestr(entry, packed.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def _header_of(trace: TraceColumns, bits: Mapping[str, int]) -> np.ndarray:
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "geometry": asdict(trace.geometry),
        "vocabulary": trace.vocabulary,
        "texts": [_members_of(text) for text in trace.texts],
        "token_strings": {str(token): string for token, string in trace.token_strings.items()},
        "channels": {name: channel.rows for name, channel in trace.channels.items()},
        "bits": dict(bits),
        **({"notes": list(trace.notes)} if trace.notes else {}),
    }
    return np.frombuffer(json.dumps(header).encode(), np.uint8)


def _members_of(text: TextInfo) -> dict[str, Any]:
    """Leave out members of `_LATER` that are empty: files without them stay as they were."""
    return {
        name: value for name, value in asdict(text).items() if name not in _LATER or value not in (None, ())
    }


def read(path: Path, build: Callable[..., _T], limit_bytes: int = LIMIT_BYTES) -> _T:
    """Read a trace from a file.

    Parameters
    ----------
    path : Path
        The file.
    build : callable
        Makes the trace from its fields, given by keyword: the class `Trace`.
    limit_bytes : int
        The most that all arrays together may take in memory.

    Returns
    -------
    Trace
        What `build` returns.

    Raises
    ------
    MissingDataError
        If there is no such file.
    TraceFormatError
        If the file is damaged, too large, no trace, or a trace that contradicts itself.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            arrays = _Arrays(archive, _entries(archive, limit_bytes), limit_bytes)
            return build(**_fields(_read_header(arrays), arrays))
    except TraceFormatError as error:
        raise TraceFormatError(f"{path}: {error}") from error.__cause__
    except FileNotFoundError:
        raise MissingDataError(f"{path}: there is no such file") from None
    except zipfile.BadZipFile as error:
        raise TraceFormatError(f"{path}: not a whole trace file ({error}); record it again") from error
    except OSError as error:
        raise TraceFormatError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # zipfile has many exceptions for a damaged directory
        raise TraceFormatError(f"{path}: damaged ({_first_line(error)}); record it again") from error


def _entries(archive: zipfile.ZipFile, limit_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """List the arrays by name from the zip directory; nothing is unpacked yet."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(_SUFFIX)
        name = name.replace(_OLDER_CHANNEL, CHANNEL, 1) if name.startswith(_OLDER_CHANNEL) else name
        if not entry.filename.endswith(_SUFFIX) or not (
            name in {_HEADER, *COLUMNS} or (name.startswith(CHANNEL) and "/" not in name)
        ):
            raise TraceFormatError(f"unexpected entry {entry.filename!r}; expected: what `Trace.save` writes")
        if name in entries:
            raise TraceFormatError(f"duplicate entry {name!r}; expected: each once")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise TraceFormatError(f"{name} is packed by method {entry.compress_type}; expected: deflate")
        entries[name] = entry
    unpacked = sum(entry.file_size for entry in entries.values())
    if unpacked > limit_bytes:
        raise TraceFormatError(f"its arrays unpack to {unpacked} bytes; expected: at most {limit_bytes}")
    if _HEADER not in entries:
        raise TraceFormatError(f"{_HEADER} is missing: not a trace; expected: a file that `Trace.save` wrote")
    if entries[_HEADER].file_size > LIMIT_HEADER_BYTES:
        size = entries[_HEADER].file_size
        raise TraceFormatError(f"{_HEADER} has {size} bytes; expected: at most {LIMIT_HEADER_BYTES}")
    return entries


class _Arrays:
    """The arrays of an archive, read one by one within a limit for all of them together."""

    def __init__(
        self, archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo], limit_bytes: int
    ) -> None:
        self._archive, self.entries = archive, entries
        self._limit_bytes, self._bytes = limit_bytes, 0

    def read(self, name: str, kind: Kind, bits: int | None = None) -> np.ndarray:
        entry = self.entries[name]
        try:
            with self._archive.open(entry) as file:
                return unpack(self._stored(file, name, entry.file_size, kind), kind.dtype, bits)
        except TraceFormatError:
            raise
        except Exception as error:  # zipfile, zlib and npy have exceptions of their own
            raise TraceFormatError(f"{name} is damaged ({_first_line(error)}); record it again") from error

    def _stored(self, file: IO[bytes], name: str, file_size: int, kind: Kind) -> np.ndarray:
        """Read an npy file whose header agrees with the zip directory; else nothing more is unpacked."""
        if (version := npy.read_magic(file)) != (1, 0):
            raise TraceFormatError(f"{name} is npy of version {version}; expected: 1.0")
        shape, column_major, dtype = npy.read_array_header_1_0(file)
        if dtype.name not in kind.stored:  # objects, which would be pickled, are in none of them
            raise TraceFormatError(f"{name} is an array of {dtype}; expected: {' or '.join(kind.stored)}")
        if column_major and len(shape) > 1:
            raise TraceFormatError(f"{name} is Fortran-ordered; expected: C order, as `Trace.save` writes it")
        if min(shape, default=0) < 0:
            raise TraceFormatError(f"{name} is of shape {shape}; expected: 0 and more")
        size, listed = math.prod(shape) * dtype.itemsize, file_size - file.tell()
        if size != listed:
            raise TraceFormatError(
                f"{name} is of shape {shape}, {size} bytes, and the zip directory lists {listed}; "
                "expected: the same"
            )
        self._bytes += math.prod(shape) * (kind.dtype or dtype).itemsize
        if self._bytes > self._limit_bytes:
            raise TraceFormatError(
                f"its arrays, up to {name}, take {self._bytes} bytes; expected: at most {self._limit_bytes}"
            )
        data = file.read(size)  # no more than this is ever unpacked
        if len(data) != size:
            raise TraceFormatError(f"{name} ends after {len(data)} of {size} bytes; record it again")
        return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_header(arrays: _Arrays) -> dict[str, Any]:
    raw = arrays.read(_HEADER, Kind(("uint8",), None))
    try:
        header = json.loads(raw.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise TraceFormatError(f"{_HEADER} is no JSON ({error}); record it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise TraceFormatError(
            f"{_HEADER}: format is not {FORMAT!r}; expected: a file that `Trace.save` wrote"
        )
    schema = header.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise TraceFormatError(
            f"{_HEADER}: schema is {schema}, this version reads {SCHEMA}; update moespac-nb"
        )
    if schema not in _READ or isinstance(schema, bool):
        raise TraceFormatError(f"{_HEADER}: schema is {schema!r}; expected: {' or '.join(map(str, _READ))}")
    return header if schema == SCHEMA else _renamed(header)


def _renamed(header: dict[str, Any]) -> dict[str, Any]:
    """Give members of an older header the names that they have now."""
    texts = [
        {_RENAMED.get(name, name): value for name, value in text.items()} if isinstance(text, dict) else text
        for text in _member(header, "texts", list)
    ]
    return {_RENAMED.get(name, name): value for name, value in header.items()} | {"texts": texts}


def _fields(header: Mapping[str, Any], arrays: _Arrays) -> dict[str, Any]:
    geometry = MoEShape(**_members(header, "geometry", {field.name for field in fields(MoEShape)}))
    texts = _member(header, "texts", list)
    names = {field.name for field in fields(TextInfo)}
    channels = _member(header, "channels", dict)
    listed = {_HEADER, *COLUMNS, *(CHANNEL + name for name in channels)}
    if strangers := sorted(set(arrays.entries) - listed):
        raise TraceFormatError(f"{strangers[0]} is not in {_HEADER}; expected: the channels it lists")
    needed = {name for name in listed if name not in COLUMNS or not COLUMNS[name].optional}
    if missing := sorted(needed - set(arrays.entries)):
        raise TraceFormatError(f"{missing[0]} is missing; expected: all of the columns")
    bits = {} if header["schema"] == 1 else _bits(_member(header, "bits", dict))

    def array(name: str) -> np.ndarray:
        return arrays.read(name, kind(name, bits.get(name)), bits.get(name))

    return {
        "geometry": geometry,
        "vocabulary": _member(header, "vocabulary", int),
        "texts": tuple(_text(_members(texts, number, names, _LATER)) for number in range(len(texts))),
        "token_strings": {
            _token(token): string for token, string in _member(header, "token_strings", dict).items()
        },
        "channels": {name: Channel(rows, array(CHANNEL + name)) for name, rows in channels.items()},
        "notes": tuple(_member(header, "notes", list) if "notes" in header else ()),
        **{name: array(name) for name in COLUMNS if name in arrays.entries},
    }


def _bits(listed: dict[str, Any]) -> dict[str, int]:
    for name, bits in listed.items():
        if name not in COLUMNS or not COLUMNS[name].dtype.startswith("float"):
            raise TraceFormatError(f"{_HEADER}: bits has {name[:40]!r}; expected: columns of floats")
        if not is_whole(bits, 0, MOST_BITS):
            raise TraceFormatError(f"{_HEADER}: bits.{name} is {bits!r}; expected: 0 to {MOST_BITS}")
    return listed


def _member(holder: Any, name: Any, kind: type) -> Any:
    with suppress(LookupError):
        if isinstance(value := holder[name], kind):
            return value
    raise TraceFormatError(f"{_HEADER}: {name} is missing or no {kind.__name__}; record it again")


def _members(holder: Any, name: Any, names: set[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """Return an object of the header that has exactly these members, but for optional ones."""
    value: dict[str, Any] = _member(holder, name, dict)
    if odd := sorted(value.keys() ^ names - (names & set(optional) - value.keys())):
        where = name if isinstance(name, str) else f"texts[{name}]"
        raise TraceFormatError(
            f"{_HEADER}: {where}.{odd[0]} is missing or unknown; expected: {sorted(names)}"
        )
    return value


def _text(members: dict[str, Any]) -> TextInfo:
    lists = ("stop_ids", *({"stop_strings", "processors"} & members.keys()))
    return TextInfo(**members | {name: tuple(_member(members, name, list)) for name in lists})


def _token(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) < 11):
        raise TraceFormatError(f"{_HEADER}: token_strings has {written[:20]!r}; expected: token ids")
    return int(written)
