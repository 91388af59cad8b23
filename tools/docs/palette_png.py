"""A picture of at most 256 colours as a PNG: a third of a screenshot's bytes, no difference to be seen."""

from __future__ import annotations

import numpy as np

from moespac_widgets.base.fallback import png as png_file

MOST = 256
ROUNDS = 6  # of k-means; more move no colour by a visible amount


def palette(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """pixels: (height, width, 3) uint8. Colours (n, 3) and which of them each pixel gets (height, width).

    All colours where they are few; else the commonest, moved to the middle of those that are nearest to them.
    """
    packed = pixels.astype(np.uint32) @ np.array([1 << 16, 1 << 8, 1], np.uint32)
    found, which, times = np.unique(packed, return_inverse=True, return_counts=True)
    colours = np.stack([found >> 16, (found >> 8) & 255, found & 255], axis=1).astype(np.float32)
    nearest = np.arange(len(colours))
    chosen = colours
    if len(colours) > MOST:
        chosen = colours[np.argsort(-times, kind="stable")[:MOST]]
        for _ in range(ROUNDS):
            nearest = _nearest(colours, chosen)
            weight = np.bincount(nearest, times, MOST)
            sums = [np.bincount(nearest, times * channel, MOST) for channel in colours.T]
            held = weight > 0
            chosen[held] = (np.stack(sums, axis=1)[held] / weight[held, None]).astype(np.float32)
        chosen = np.rint(chosen)
        nearest = _nearest(colours, chosen)
    return chosen.astype(np.uint8), nearest[which].reshape(pixels.shape[:2]).astype(np.uint8)


def _nearest(colours: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    return np.argmin((chosen**2).sum(axis=1) - 2 * colours @ chosen.T, axis=1)


def png(pixels: np.ndarray) -> bytes:
    """The file, of (height, width, 3) uint8."""
    colours, which = palette(pixels)
    return png_file(which, colours)
