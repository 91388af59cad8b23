"""Compact storage of a trace's arrays, bit for bit.

Integers are stored in the narrowest type that holds them. Floats that are all n / 2^bits, as rounding makes
them, are stored as their n, and the file's header has the bits. Other arrays are stored as they are.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from .schema import CHANNEL_DTYPES, COLUMNS, EXPERT_CHANNELS

__all__ = ["CHANNEL", "MOST_BITS", "Kind", "kind", "pack", "unpack"]

CHANNEL = "channels."
MOST_BITS = 16
_NARROW = ("uint8", "int8", "uint16", "int16")


class Kind(NamedTuple):
    """Dtypes in which an array may be stored, and its dtype in memory; None is the stored one."""

    stored: tuple[str, ...]
    dtype: np.dtype[Any] | None


def kind(name: str, bits: int | None) -> Kind:
    """Return how an array may be stored.

    Parameters
    ----------
    name : str
        Of a column, or `sensor.` and the name of a channel.
    bits : int or None
        Of floats that are stored as n in n / 2^bits.

    Returns
    -------
    Kind
    """
    dtype = _in_memory(name)
    if dtype is None:
        return Kind(CHANNEL_DTYPES, None)
    if dtype.kind == "f":
        return Kind((dtype.name,) if bits is None else _NARROW, dtype)
    return Kind((dtype.name, *(n for n in _NARROW if n != dtype.name and np.can_cast(n, dtype))), dtype)


def _in_memory(name: str) -> np.dtype[Any] | None:
    if name in COLUMNS:
        return np.dtype(COLUMNS[name].dtype)
    return np.dtype("int16") if name.removeprefix(CHANNEL) in EXPERT_CHANNELS else None


def pack(name: str, array: np.ndarray) -> tuple[np.ndarray, int | None]:
    """Return an array as it is stored, and its bits.

    Parameters
    ----------
    name : str
        Of a column, or `sensor.` and the name of a channel.
    array : ndarray
        As it is in memory.

    Returns
    -------
    array : ndarray
        In the narrowest dtype that holds it.
    bits : int or None
        Of floats that became n in n / 2^bits.

    Examples
    --------
    >>> pack("draft_ms", np.array([0.25, 1.5]))
    (array([1, 6], dtype=uint8), 2)
    """
    dtype, bits = _in_memory(name), None
    if dtype is None or not array.size:
        return array, None
    if dtype.kind == "f":
        if (bits := _bits(array)) is None:
            return array, None
        dtype = next(np.dtype(n) for n in _NARROW if _holds(n, array, bits))
        whole = np.empty(array.size, dtype)
        for rows in _blocks(array):
            whole[rows] = np.ldexp(array.reshape(-1)[rows].astype(np.float64), bits)
        return whole.reshape(array.shape), bits
    narrow = (n for n in _NARROW if np.dtype(n).itemsize < array.itemsize and _holds(n, array))
    return array.astype(next(narrow, array.dtype)), bits


def unpack(array: np.ndarray, dtype: np.dtype[Any] | None, bits: int | None) -> np.ndarray:
    """Return a stored array as it was in memory.

    Parameters
    ----------
    array : ndarray
        As `pack` returned it.
    dtype : dtype or None
        In memory; None is the stored one.
    bits : int or None
        As `pack` returned them.

    Returns
    -------
    ndarray
    """
    if dtype is None:
        return array
    floats: np.ndarray = array.astype(dtype, copy=False)
    return floats if bits is None else np.ldexp(floats, -bits)


def _bits(floats: np.ndarray) -> int | None:
    """Return the fewest bits for which all are n / 2^bits with an n of at most 16 bits, or None."""
    bits = 0
    for rows in _blocks(floats):
        block = floats.reshape(-1)[rows].astype(np.float64)
        if not np.isfinite(block).all() or np.signbit(block[block == 0]).any():
            return None  # -0 would come back as 0
        while ((scaled := np.ldexp(block, bits)) != np.rint(scaled)).any():
            if (bits := bits + 1) > MOST_BITS:
                return None
    return bits if any(_holds(name, floats, bits) for name in _NARROW) else None


def _blocks(array: np.ndarray) -> Iterator[slice]:
    """Iterate over parts of a flat array, so that a large one is never copied whole to a wider dtype."""
    return (slice(start, start + 2**18) for start in range(0, array.size, 2**18))


def _holds(name: str, numbers: np.ndarray, bits: int = 0) -> bool:
    limits, (least, most) = np.iinfo(name), (float(numbers.min()), float(numbers.max()))
    return bool(limits.min <= np.ldexp(least, bits) and np.ldexp(most, bits) <= limits.max)
