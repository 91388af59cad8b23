"""Survey of the rows of a log: which positions are whole, alike, part of a prompt or of a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .spool import Places, Spool, keys_of

__all__ = ["LACKS", "LACKS_LAST", "SAME", "Duplicate", "Survey", "routing_between", "survey"]

SAME, LACKS, LACKS_LAST = 4, 8, 16  # bits of a position's state, beside those of `rows`


@dataclass
class Duplicate:
    """Rows that repeat a text, position and layer; where the first one is."""

    count: int = 0
    place: int = 0
    layer: int = 0
    line: int = 0


@dataclass(frozen=True, eq=False)
class Survey:
    """What is known of each position, in the order of their places: one byte each, as a log may be long.

    Parameters
    ----------
    state : ndarray
        (positions,) uint8: `PREFILL` and `PASS` of the rows; `SAME`, it chose what the position before it
        chose, in all layers; `LACKS`, it lacks a layer; `LACKS_LAST`, the last one and no other.
    duplicate : Duplicate
        Rows that were there before.
    """

    state: np.ndarray
    duplicate: Duplicate

    def where(self, bit: int) -> np.ndarray:
        """Return which positions have a bit, (positions,) bool."""
        return (self.state & bit) > 0


def survey(spool: Spool, places: Places, layers: np.ndarray, chunk: int) -> Survey:
    """Survey the rows of a spool, some positions at a time.

    Parameters
    ----------
    spool : Spool
        At least one row.
    places : Places
        Where the positions stand.
    layers : ndarray
        Numbers of the layers, ascending.
    chunk : int
        Positions at a time.

    Returns
    -------
    Survey
    """
    n, duplicate = len(places), Duplicate()
    state = np.zeros(n, np.uint8)
    before = None  # the sets of the last position of the chunk before
    for first in range(0, n, chunk):
        last = min(first + chunk, n)
        filled = np.zeros((last - first, len(layers)), bool)
        experts = None
        for rows, place, layer in routing_between(spool, places, layers, first, last):
            if experts is None:
                experts = np.zeros((*filled.shape, rows["experts"].shape[1]), np.int16)
            state[first + place] |= rows["flags"]
            kept = _mark(filled, rows, place, layer, duplicate, first)
            experts[place[kept], layer[kept]] = rows["experts"][kept]
        assert experts is not None  # each place has a row
        lacking = len(layers) - filled.sum(axis=1)
        whole, lacks_last = lacking == 0, (lacking == 1) & ~filled[:, -1] & (len(layers) > 1)
        experts.sort(axis=2)
        same = np.zeros(last - first, bool)
        same[1:] = (experts[1:] == experts[:-1]).all(axis=(1, 2)) & whole[1:] & whole[:-1]
        same[0] = before is not None and bool(whole[0]) and np.array_equal(before, experts[0])
        before = experts[-1].copy() if whole[-1] else None
        state[first:last] |= (same * SAME + ~whole * LACKS + lacks_last * LACKS_LAST).astype(np.uint8)
    state[places.starts[:-1]] &= ~np.uint8(SAME)
    return Survey(state, duplicate)


def routing_between(
    spool: Spool, places: Places, layers: np.ndarray, first: int, last: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Iterate over the rows of some positions, in the order of the log.

    Parameters
    ----------
    spool, places, layers
        As in `survey`.
    first, last : int
        Places of the positions, `last` not included.

    Yields
    ------
    rows, place, layer : ndarray
        Rows; the place of each, counted from `first`; and the index of its layer in `layers`.
    """
    least, largest = (text << 32 | position for text, position in map(places.key, (first, last - 1)))
    for rows in spool.between(least, largest):
        keys = keys_of(rows)
        inside = (keys >= least) & (keys <= largest)
        if not inside.all():
            rows, keys = rows[inside], keys[inside]
        if len(rows):
            yield rows, places.of(keys) - first, np.searchsorted(layers, rows["layer"])


def _mark(
    filled: np.ndarray,
    rows: np.ndarray,
    place: np.ndarray,
    layer: np.ndarray,
    duplicate: Duplicate,
    first: int,
) -> np.ndarray | slice:
    """Mark the cells that rows fill, and return which rows are the first of their cell."""
    cell = place * filled.shape[1] + layer
    _, firsts = np.unique(cell, return_index=True)
    flat = filled.reshape(-1)
    if len(firsts) == len(cell) and not flat[cell].any():
        flat[cell] = True
        return slice(None)
    new = np.zeros(len(cell), bool)
    new[firsts] = True
    new &= ~flat[cell]
    if not duplicate.count:
        row = int((~new).argmax())
        duplicate.place, duplicate.layer = first + int(place[row]), int(rows["layer"][row])
        duplicate.line = int(rows["line"][row])
    duplicate.count += int((~new).sum())
    flat[cell[new]] = True
    return new
