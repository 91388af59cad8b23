"""How a trace's arrays lie in a file, so that they take little room and come back bit for bit.

Whole numbers lie in the narrowest type that holds them. Floats that are all n / 2^bits, as rounding makes
them, lie as their n; the file says how many bits. Whatever else there is lies as it is.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from .schema import COLUMNS, EXPERT_CHANNELS, SENSOR_DTYPES

__all__ = ["MOST_BITS", "SENSOR", "Kind", "kind", "pack", "unpack"]

SENSOR = "sensor."
MOST_BITS = 16
_NARROW = ("uint8", "int8", "uint16", "int16")


class Kind(NamedTuple):
    """What an array may lie in, and what it is in memory; None: what it lies in."""

    stored: tuple[str, ...]
    dtype: np.dtype[Any] | None


def kind(name: str, bits: int | None) -> Kind:
    """Of a column or, by `sensor.` and its name, of a sensor. bits: where it lies as n / 2^bits."""
    dtype = _in_memory(name)
    if dtype is None:
        return Kind(SENSOR_DTYPES, None)
    if dtype.kind == "f":
        return Kind((dtype.name,) if bits is None else _NARROW, dtype)
    return Kind((dtype.name, *(n for n in _NARROW if n != dtype.name and np.can_cast(n, dtype))), dtype)


def _in_memory(name: str) -> np.dtype[Any] | None:
    if name in COLUMNS:
        return np.dtype(COLUMNS[name].dtype)
    return np.dtype("int16") if name.removeprefix(SENSOR) in EXPERT_CHANNELS else None


def pack(name: str, array: np.ndarray) -> tuple[np.ndarray, int | None]:
    """The array as it is to lie, and its bits."""
    dtype, bits = _in_memory(name), None
    if dtype is None or not array.size:
        return array, None
    if dtype.kind == "f":
        if (bits := _bits(array)) is None:
            return array, None
        array = np.ldexp(array.astype(np.float64), bits).astype(np.int64)
    narrow = (n for n in _NARROW if np.dtype(n).itemsize < array.itemsize and _holds(n, array))
    return array.astype(next(narrow, array.dtype)), bits


def unpack(array: np.ndarray, dtype: np.dtype[Any] | None, bits: int | None) -> np.ndarray:
    """The array as it was in memory."""
    if dtype is None:
        return array
    floats: np.ndarray = array.astype(dtype, copy=False)
    return floats if bits is None else np.ldexp(floats, -bits)


def _bits(floats: np.ndarray) -> int | None:
    """The fewest for which all are n / 2^bits with an n of at most 16 bits; None where there are none."""
    if not np.isfinite(floats).all() or np.signbit(floats[floats == 0]).any():
        return None  # -0 would come back as 0
    for bits in range(MOST_BITS + 1):
        scaled = np.ldexp(floats.astype(np.float64), bits)
        if (scaled == np.rint(scaled)).all():
            return bits if any(_holds(name, scaled) for name in _NARROW) else None
    return None


def _holds(name: str, numbers: np.ndarray) -> bool:
    limits = np.iinfo(name)
    return bool(limits.min <= numbers.min() and numbers.max() <= limits.max)
