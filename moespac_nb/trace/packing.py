"""Compact storage of a trace's arrays, bit for bit.

Integers are stored in the narrowest type that holds them. Floats that are all n / 2^bits, as rounding makes
them, are stored as their n, and the file's header has the bits. Other arrays are stored as they are.
"""

from __future__ import annotations

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
        array = np.ldexp(array.astype(np.float64), bits).astype(np.int64)
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
