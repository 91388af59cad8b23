"""What is odd about a log: found, named, and dropped on request."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice

__all__ = ["DROPS", "WARM_UP", "Finding", "checked_drops", "identical_stretches", "passes_of"]

# By name: what is dropped on request.
DROPS = {
    "warm-up": "stretches of positions with identical sets of experts, as a server's warm-up writes them",
    "duplicates": "rows of a text, position and layer that were there before; the first one stays",
    "batched": "forward passes over several sequences, which are no single sequence",
    "gaps": "positions that lack a layer",
    "one-layer": "a log of one layer only, as a whole",
    "last-layer": "a last layer that few positions have, or the few positions that lack it",
}
WARM_UP = 64  # positions in a row with the same sets in all layers: real text does not do that
_BATCHED_PASSES = 4  # in a row with several positions each: prefills are followed by single positions
_CHUNK = 512  # positions of a pass from which it is a chunk of a long prompt


@dataclass(frozen=True)
class Finding:
    """Something odd about a log.

    Parameters
    ----------
    name : str
        One of `DROPS`; "experts" where the number of experts is a guess.
    text : str
        What it is and what was done, in one sentence.
    """

    name: str
    text: str

    def __str__(self) -> str:
        """Return it with its name."""
        return f"{self.name}: {self.text}"


def checked_drops(drop: str | Iterable[str]) -> frozenset[str]:
    """Return what is to be dropped: names of `DROPS`, or "all".

    Raises
    ------
    InvalidInputError
        If a name is unknown.

    Examples
    --------
    >>> sorted(checked_drops("warm-up"))
    ['warm-up']
    """
    names = [drop] if isinstance(drop, str) else drop
    if not isinstance(names, Iterable):
        raise InvalidInputError(f"drop is {drop!r}; expected: 'all', or names of {', '.join(DROPS)}")
    checked = [check_choice("drop", name, [*DROPS, "all"]) for name in names]
    return frozenset(DROPS) if "all" in checked else frozenset(checked)


def identical_stretches(same: np.ndarray) -> np.ndarray:
    """Return which positions lie in a stretch of `WARM_UP` or more that chose the same experts.

    Parameters
    ----------
    same : ndarray
        (positions,) bool: whether a position chose what the one before it chose, in all layers.

    Returns
    -------
    ndarray
        (positions,) bool.

    Examples
    --------
    >>> same = np.array([False] + 63 * [True] + [False, True])
    >>> int(identical_stretches(same).sum())
    64
    """
    first, last = _stretches(same)  # of positions that are like the one before
    long = last - first + 1 >= WARM_UP
    return _marked(first[long] - 1, last[long], len(same))


def passes_of(begins: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Tell prompts and batches from the widths of forward passes.

    A server reads a prompt in one wide pass, a long one in several, and decodes one position a pass. Several
    passes in a row of 2 to 511 positions are a batch of sequences, which cannot be told apart.

    Parameters
    ----------
    begins : ndarray
        (positions,) bool: whether a position is the first of a pass; the first one always is.

    Returns
    -------
    prefill, batched : ndarray
        (positions,) bool each.

    Examples
    --------
    >>> begins = np.array([True, False, False, True, True])  # a prompt of three, then two tokens
    >>> prefill, batched = passes_of(begins)
    >>> prefill.tolist(), bool(batched.any())
    ([True, True, True, False, False], False)
    """
    inside, stop = _stretches(~begins)  # of positions that begin no pass: they make the pass before them wide
    start = inside - 1
    narrow = stop - start < _CHUNK
    linked = narrow[1:] & narrow[:-1] & (start[1:] == stop[:-1])
    chain = np.cumsum(np.concatenate([[True], ~linked])[: len(start)]) - 1
    batch = np.bincount(chain)[chain] >= _BATCHED_PASSES if len(chain) else narrow
    prefill, batched = (_marked(start[which], stop[which], len(begins)) for which in (~batch, batch))
    return prefill, batched


def _stretches(flags: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where stretches of True begin, and where they end (not included)."""
    edges = np.flatnonzero(flags[1:] != flags[:-1]) + 1
    edges = np.concatenate([[0] * bool(flags[0]), edges, [len(flags)] * bool(flags[-1])]).astype(np.int64)
    return edges[::2], edges[1::2]


def _marked(first: np.ndarray, last: np.ndarray, n: int) -> np.ndarray:
    """Return n flags that are True in stretches, which may touch but not overlap."""
    change = np.zeros(n + 1, np.int8)
    change[first] += 1
    change[last] -= 1  # where one ends and the next begins they cancel
    return np.cumsum(change[:n], dtype=np.int8).view(bool)
