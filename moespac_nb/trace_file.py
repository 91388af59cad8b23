"""A trace as one file: an npz without pickle, whose entry `header.json` holds all that is no array.

Nothing in a file is trusted: before an array is unpacked, its size is known from the zip directory and from
its own header, both within a limit; what then comes out is checked like every trace.
"""

from __future__ import annotations

import io
import json
import math
import zipfile
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from .errors import MoespacError
from .step import Geometry
from .trace import COLUMNS, Sensor, Text, Trace
from .trace_check import SENSOR_DTYPES
from .whole_file import whole_file

__all__ = ["LIMIT_BYTES", "SCHEMA", "read", "write"]

FORMAT, SCHEMA = "moespac trace", 1
LIMIT_BYTES = 2**30  # of all arrays together, unpacked
LIMIT_HEADER_BYTES = 2**26
_HEADER, _SUFFIX, _SENSOR = "header.json", ".npy", "sensor."
_LATER = {"min_p", "stop_strings", "processors"}  # of a text, since there are traces without
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the same trace is the same file, byte for byte


def write(trace: Trace, path: Path) -> None:
    """Save a trace; the file is replaced only once the new one is whole on the disk."""
    arrays = {_HEADER: np.frombuffer(_header_of(trace).encode(), np.uint8), **trace.columns}
    arrays |= {_SENSOR + name: sensor.values for name, sensor in trace.sensors.items()}
    if sum(array.nbytes for array in arrays.values()) > LIMIT_BYTES:
        raise MoespacError(f"{path}: the trace is larger than {LIMIT_BYTES} bytes; save it in parts")
    with whole_file(path, "the trace") as file:
        _pack(file, arrays)


def _pack(file: IO[bytes], arrays: Mapping[str, np.ndarray]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in arrays.items():
            packed = io.BytesIO()
            little_endian = array.dtype.newbyteorder("<")
            npy.write_array(packed, np.ascontiguousarray(array, little_endian), (1, 0), allow_pickle=False)
            entry = zipfile.ZipInfo(name + _SUFFIX, _EPOCH)
            archive.writestr(entry, packed.getvalue(), zipfile.ZIP_DEFLATED, compresslevel=9)


def _header_of(trace: Trace) -> str:
    header = {
        "format": FORMAT,
        "schema": SCHEMA,
        "geometry": asdict(trace.geometry),
        "vocabulary": trace.vocabulary,
        "texts": [_members_of(text) for text in trace.texts],
        "pieces": {str(token): piece for token, piece in trace.pieces.items()},
        "sensors": {name: sensor.rows for name, sensor in trace.sensors.items()},
    }
    return json.dumps(header)


def _members_of(text: Text) -> dict[str, Any]:
    """Those of `_LATER` only where they say something: files without them are as old."""
    return {
        name: value for name, value in asdict(text).items() if name not in _LATER or value not in (None, ())
    }


def read(path: Path, limit_bytes: int = LIMIT_BYTES) -> Trace:
    """Load a trace. limit_bytes: the most that all its arrays may take."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = _entries(archive, limit_bytes)
            header = _read_header(archive, entries)
            return _trace(header, archive, entries)
    except MoespacError as error:
        raise MoespacError(f"{path}: {error}") from error.__cause__
    except FileNotFoundError:
        raise MoespacError(f"{path}: there is no such file") from None
    except zipfile.BadZipFile as error:
        raise MoespacError(f"{path}: not a whole trace file ({error}); record it again") from error
    except OSError as error:
        raise MoespacError(f"{path}: cannot be read: {error}") from error
    except Exception as error:  # zipfile says in many ways that a directory is nonsense
        raise MoespacError(f"{path}: damaged ({_first_line(error)}); record it again") from error


def _entries(archive: zipfile.ZipFile, limit_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """The arrays by name, as the zip directory lists them; nothing is unpacked yet."""
    entries: dict[str, zipfile.ZipInfo] = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(_SUFFIX)
        if name == entry.filename or not (
            name in {_HEADER, *COLUMNS} or (name.startswith(_SENSOR) and "/" not in name)
        ):
            raise MoespacError(f"{entry.filename!r} has no place in a trace; accepted: what `save` writes")
        if name in entries:
            raise MoespacError(f"{name} is there twice; accepted: once")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise MoespacError(f"{name} is packed by method {entry.compress_type}; accepted: deflate")
        entries[name] = entry
    unpacked = sum(entry.file_size for entry in entries.values())
    if unpacked > limit_bytes:
        raise MoespacError(f"its arrays unpack to {unpacked} bytes; accepted: at most {limit_bytes}")
    if _HEADER not in entries:
        raise MoespacError(f"{_HEADER} is missing: not a trace; accepted: a file that `Trace.save` wrote")
    if entries[_HEADER].file_size > LIMIT_HEADER_BYTES:
        size = entries[_HEADER].file_size
        raise MoespacError(f"{_HEADER} has {size} bytes; accepted: at most {LIMIT_HEADER_BYTES}")
    return entries


def _read_array(
    archive: zipfile.ZipFile, name: str, entry: zipfile.ZipInfo, dtypes: tuple[str, ...]
) -> np.ndarray:
    """One array, of one of the types."""
    try:
        with archive.open(entry) as file:
            return _unpacked(file, name, entry.file_size, dtypes)
    except MoespacError:
        raise
    except Exception as error:  # zipfile, zlib and npy each say it in their way
        raise MoespacError(f"{name} is damaged ({_first_line(error)}); record it again") from error


def _unpacked(file: IO[bytes], name: str, file_size: int, dtypes: tuple[str, ...]) -> np.ndarray:
    """An npy file's array. Its header must agree with the zip directory before more is unpacked."""
    if (version := npy.read_magic(file)) != (1, 0):
        raise MoespacError(f"{name} is npy of version {version}; accepted: 1.0")
    shape, column_major, dtype = npy.read_array_header_1_0(file)
    if dtype.name not in dtypes:  # objects, which would be pickled, are in none of them
        raise MoespacError(f"{name} is an array of {dtype}; accepted: {' or '.join(dtypes)}")
    if column_major and len(shape) > 1:
        raise MoespacError(f"{name} lies in columns; accepted: rows, as `save` wrote it")
    if min(shape, default=0) < 0:
        raise MoespacError(f"{name} is of shape {shape}; accepted: 0 and more")
    size, listed = math.prod(shape) * dtype.itemsize, file_size - file.tell()
    if size != listed:
        raise MoespacError(
            f"{name} is of shape {shape}, {size} bytes, and the zip directory lists {listed}; "
            "accepted: the same"
        )
    data = file.read(size)  # no more than this is ever unpacked
    if len(data) != size:
        raise MoespacError(f"{name} ends after {len(data)} of {size} bytes; record it again")
    return np.frombuffer(data, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _read_header(archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]) -> dict[str, Any]:
    raw = _read_array(archive, _HEADER, entries[_HEADER], ("uint8",))
    try:
        header = json.loads(raw.tobytes().decode())
    except (ValueError, RecursionError) as error:
        raise MoespacError(f"{_HEADER} is no JSON ({error}); record it again") from error
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise MoespacError(f"{_HEADER}: format is not {FORMAT!r}; accepted: a file that `Trace.save` wrote")
    schema = header.get("schema")
    if isinstance(schema, int) and schema > SCHEMA:
        raise MoespacError(f"{_HEADER}: schema is {schema}, this version reads {SCHEMA}; update moespac-nb")
    if schema != SCHEMA or isinstance(schema, bool):
        raise MoespacError(f"{_HEADER}: schema is {schema!r}; accepted: {SCHEMA}")
    return header


def _trace(
    header: Mapping[str, Any], archive: zipfile.ZipFile, entries: Mapping[str, zipfile.ZipInfo]
) -> Trace:
    geometry = Geometry(**_members(header, "geometry", {field.name for field in fields(Geometry)}))
    texts = _member(header, "texts", list)
    names = {field.name for field in fields(Text)}
    sensors = _member(header, "sensors", dict)
    listed = {_HEADER, *COLUMNS, *(_SENSOR + name for name in sensors)}
    if strangers := sorted(set(entries) - listed):
        raise MoespacError(f"{strangers[0]} is not in {_HEADER}; accepted: the sensors it lists")
    needed = {name for name in listed if name not in COLUMNS or not COLUMNS[name].optional}
    if missing := sorted(needed - set(entries)):
        raise MoespacError(f"{missing[0]} is missing; accepted: all of the columns")
    return Trace(
        geometry=geometry,
        vocabulary=_member(header, "vocabulary", int),
        texts=tuple(_text(_members(texts, number, names, _LATER)) for number in range(len(texts))),
        pieces={_token(token): piece for token, piece in _member(header, "pieces", dict).items()},
        sensors={
            name: Sensor(rows, _read_array(archive, _SENSOR + name, entries[_SENSOR + name], SENSOR_DTYPES))
            for name, rows in sensors.items()
        },
        **{
            name: _read_array(archive, name, entries[name], (column.dtype,))
            for name, column in COLUMNS.items()
            if name in entries
        },
    )


def _member(holder: Any, name: Any, kind: type) -> Any:
    with suppress(LookupError):
        if isinstance(value := holder[name], kind):
            return value
    raise MoespacError(f"{_HEADER}: {name} is missing or no {kind.__name__}; record it again")


def _members(holder: Any, name: Any, names: set[str], optional: Collection[str] = ()) -> dict[str, Any]:
    """An object of the header that has these members, no more and no less but for optional ones."""
    value: dict[str, Any] = _member(holder, name, dict)
    if odd := sorted(value.keys() ^ names - (names & set(optional) - value.keys())):
        where = name if isinstance(name, str) else f"texts[{name}]"
        raise MoespacError(f"{_HEADER}: {where}.{odd[0]} is missing or unknown; accepted: {sorted(names)}")
    return value


def _text(members: dict[str, Any]) -> Text:
    lists = ("stop_ids", *({"stop_strings", "processors"} & members.keys()))
    return Text(**members | {name: tuple(_member(members, name, list)) for name in lists})


def _token(written: str) -> int:
    if not (written.isascii() and written.isdecimal() and len(written) < 11):
        raise MoespacError(f"{_HEADER}: pieces has {written[:20]!r}; accepted: token ids")
    return int(written)
