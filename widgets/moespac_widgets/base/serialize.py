"""Arrays on their way to the browser: in the smallest type that holds them, as bytes with type and shape."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from moespac_nb.utils.exceptions import InvalidInputError

__all__ = ["pack", "split"]

Packed = dict[str, Any]  # dtype, shape, bytes
_WHOLE = [np.dtype(name) for name in ("uint8", "int8", "uint16", "int16", "int32")]


def pack(array: np.ndarray) -> Packed:
    """Return an array as bytes with type and shape: whole numbers in the smallest type, others as float32.

    Parameters
    ----------
    array : ndarray
        Numbers of any type.

    Raises
    ------
    MoespacError
        If whole numbers need more than 32 bits.

    Examples
    --------
    >>> packed = pack(np.array([[1, 2, 300]]))
    >>> packed["dtype"], packed["shape"]
    ('uint16', [1, 3])
    """
    array = np.asarray(array)
    smallest = _smallest(array)
    return {
        "dtype": smallest.name,
        "shape": list(array.shape),
        "bytes": memoryview(np.ascontiguousarray(array, smallest).tobytes()),
    }


def _smallest(array: np.ndarray) -> np.dtype[Any]:
    if array.dtype.kind == "f" and not (array.size and np.array_equal(array, np.rint(array))):
        return np.dtype("float32")
    least, most = (int(array.min()), int(array.max())) if array.size else (0, 0)
    for dtype in _WHOLE:
        if np.iinfo(dtype).min <= least and most <= np.iinfo(dtype).max:
            return dtype
    raise InvalidInputError(f"the values {least} to {most} are too large to show; expected: within 32 bits")


def split(value: Any, buffers: list[memoryview]) -> Any:
    """Return a value whose bytes are moved to buffers, as a message can carry it.

    Parameters
    ----------
    value : Any
        Mappings and lists of packed arrays and JSON values.
    buffers : list of memoryview
        Is extended by the bytes.
    """
    if isinstance(value, Mapping):
        if "bytes" in value:
            buffers.append(value["bytes"])
            return {"dtype": value["dtype"], "shape": value["shape"], "buffer": len(buffers) - 1}
        return {key: split(part, buffers) for key, part in value.items()}
    if isinstance(value, list):
        return [split(part, buffers) for part in value]
    return value
