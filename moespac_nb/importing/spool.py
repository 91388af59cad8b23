"""Rows on the disk while a log is read, and where each position will stand in the trace."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..utils.exceptions import MoespacError

__all__ = ["TEXT_BITS", "Places", "Spool", "keys_of"]

TEXT_BITS = 32
_READ_BYTES = 2**23  # at a time


def keys_of(rows: np.ndarray) -> np.ndarray:
    """Return a number for each row's text and position, in their order: (rows,) int64."""
    keys: np.ndarray = rows["text"].astype(np.int64) << TEXT_BITS
    keys += rows["position"]
    return keys


class Places:
    """The positions of a log, as ranges without a gap: memory grows with the gaps, not with the rows.

    Examples
    --------
    >>> places = Places()
    >>> for keys in ([7, 8], [3, 4, 4], [5, 6]):
    ...     places.add(np.array(keys))
    >>> places.ranges.tolist(), places.of(np.array([3, 8])).tolist(), len(places)
    ([[3, 9]], [0, 5], 6)
    """

    def __init__(self) -> None:
        self._ranges = np.empty((0, 2), np.int64)
        self._pending: list[np.ndarray] = []
        self._pending_rows = 0

    def add(self, keys: np.ndarray) -> None:
        """Note keys, in any order and any number of times."""
        keys = np.unique(keys)
        gap = np.flatnonzero(np.diff(keys) > 1)
        first, last = np.concatenate([[0], gap + 1]), np.concatenate([gap, [len(keys) - 1]])
        self._pending.append(np.stack([keys[first], keys[last] + 1], axis=1))
        self._pending_rows += len(first)
        if self._pending_rows > len(self._ranges) + 2**14:
            self._merge()

    def _merge(self) -> None:
        ranges = np.concatenate([self._ranges, *self._pending])
        ranges = ranges[np.argsort(ranges[:, 0], kind="stable")]
        reached = np.maximum.accumulate(ranges[:, 1])
        begins = np.concatenate([[True], ranges[1:, 0] > reached[:-1]])[: len(ranges)]
        ends = np.concatenate([begins[1:], [True]])[: len(ranges)]
        self._ranges = np.stack([ranges[begins, 0], reached[ends]], axis=1)
        self._pending, self._pending_rows = [], 0

    @property
    def ranges(self) -> np.ndarray:
        """First key of each range and the one behind its last, (ranges, 2) int64."""
        if self._pending:
            self._merge()
        return self._ranges

    @property
    def starts(self) -> np.ndarray:
        """Place of each range's first position, and the number of all: (ranges + 1,) int64."""
        return np.concatenate([[0], np.cumsum(np.diff(self.ranges, axis=1))])

    def of(self, keys: np.ndarray) -> np.ndarray:
        """Return the place of each key among all positions."""
        at = np.searchsorted(self.ranges[:, 0], keys, side="right") - 1
        places: np.ndarray = self.starts[at] + keys - self.ranges[at, 0]
        return places

    def key(self, place: int) -> tuple[int, int]:
        """Return the text and the position that stand at a place."""
        at = int(np.searchsorted(self.starts, place, side="right")) - 1
        key = int(self.ranges[at, 0]) + place - int(self.starts[at])
        return key >> TEXT_BITS, key & (2**TEXT_BITS - 1)

    def __len__(self) -> int:
        """Return the number of positions."""
        return int(self.starts[-1])


class Spool:
    """Rows in a temporary file, in the order of the log."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="moespac-")  # noqa: SIM115  # closed by close
        self._dtype: np.dtype[Any] | None = None
        self._blocks: list[tuple[int, int, int]] = []  # rows, smallest and largest key

    def close(self) -> None:
        """Delete the temporary file."""
        self._file.close()

    @property
    def weighted(self) -> bool:
        """Whether the rows have gate weights."""
        return self._dtype is not None and "weights" in (self._dtype.names or ())

    def __len__(self) -> int:
        """Return the number of rows."""
        return sum(rows for rows, _, _ in self._blocks)

    def fits(self, rows: np.ndarray) -> bool:
        """Tell whether rows are like those before: the same k, all with gate weights or none."""
        return self._dtype is None or rows.dtype == self._dtype

    def add(self, rows: np.ndarray, keys: np.ndarray) -> None:
        """Append rows that fit."""
        self._dtype = rows.dtype
        self._blocks.append((len(rows), int(keys.min()), int(keys.max())))
        try:
            self._file.write(rows.tobytes())
            self._file.flush()
        except OSError as error:
            raise MoespacError(
                f"{tempfile.gettempdir()}: rows cannot be kept there ({error}); expected: room for about as "
                "much as the log takes; the variable TMPDIR names another folder"
            ) from error

    def between(self, first: int, last: int) -> Iterator[np.ndarray]:
        """Iterate over blocks of rows; those without a key from `first` to `last` are left out."""
        assert self._dtype is not None
        most = max(1, _READ_BYTES // self._dtype.itemsize)
        offset = 0
        for rows, least, largest in self._blocks:
            if least <= last and largest >= first:
                for begin in range(0, rows, most):
                    count = min(most, rows - begin)
                    self._file.seek((offset + begin) * self._dtype.itemsize)
                    data = self._file.read(count * self._dtype.itemsize)
                    yield np.frombuffer(data, self._dtype)
            offset += rows
