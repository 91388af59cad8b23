"""Picture files, written by hand: the one format that needs no library beyond Python's own."""

from __future__ import annotations

import struct
import zlib

import numpy as np

__all__ = ["png"]

_PALETTE, _COLOURS = 3, 6  # the format's kinds of pixels: a place in a palette; red, green, blue and opacity


def png(pixels: np.ndarray, palette: np.ndarray | None = None) -> bytes:
    """pixels: (height, width, 4) uint8; or with a palette, (n, 3) uint8, (height, width) places in it."""
    high, wide = pixels.shape[:2]
    kind = _COLOURS if palette is None else _PALETTE
    rows = np.concatenate([np.zeros((high, 1), np.uint8), pixels.reshape(high, -1)], axis=1)  # 0: no filter
    return b"".join(
        [
            b"\x89PNG\r\n\x1a\n",
            _chunk(b"IHDR", struct.pack(">IIBBBBB", wide, high, 8, kind, 0, 0, 0)),
            b"" if palette is None else _chunk(b"PLTE", palette.tobytes()),
            _chunk(b"IDAT", zlib.compress(rows.tobytes(), 9)),
            _chunk(b"IEND", b""),
        ]
    )


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
