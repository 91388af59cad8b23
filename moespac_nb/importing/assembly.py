"""Assembly of traces: rows of any order become positions with all their layers, in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

import numpy as np

from ..trace.schema import MOST_EXPERTS
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.exceptions import TraceFormatError
from .columns import Stretch, trace_of
from .findings import Finding
from .log import Declared, Log, TextSource
from .rows import NO_TOKEN
from .selection import Selection, select
from .spool import Places, Spool, keys_of
from .survey import routing_between

__all__ = ["Assembly"]

_SURVEY_BYTES = 2**25  # of experts at a time
_COLUMN_BYTES = 100  # of a position in the other columns of a trace, and in what checks them


class _Piece(NamedTuple):
    """Places in a row that lie in one text."""

    first: int
    last: int  # not included
    begins: bool  # whether it is the beginning of its text


class Assembly:
    """Rows of one or several logs on their way to traces.

    Rows go to a temporary file first. Then they are surveyed and taken together some positions at a time:
    memory grows with the number of positions (about 12 bytes each), not with layers and experts.

    Parameters
    ----------
    paths : sequence of Path
        The logs, for error messages.
    declared : Declared
        What the logs say about their model.
    texts : list of TextSource
        The texts that they hold.
    token_strings : dict of str to int
        Ids of tokens that are known by their strings only.
    drop : frozenset of str
        What is dropped, names of `findings.DROPS`.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        declared: Declared,
        texts: list[TextSource],
        token_strings: dict[str, int],
        drop: frozenset[str],
    ) -> None:
        self._paths, self._declared, self._texts = paths, declared, texts
        self._strings, self._drop = token_strings, drop
        self._spool, self._places = Spool(), Places()
        self._layers: dict[Path, np.ndarray] = {}  # which layers a log has
        self._largest = self._largest_token = -1

    def __enter__(self) -> Assembly:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Delete the temporary file."""
        self._spool.close()

    def add(self, log: Log, rows: np.ndarray) -> None:
        """Take rows of a log.

        Parameters
        ----------
        log : Log
            The log.
        rows : ndarray
            Of `rows.row_dtype`.

        Raises
        ------
        TraceFormatError
            If an expert's id is out of range or twice in a row, or only some rows have gate weights.
        """
        if not len(rows):
            return
        experts, weighted = rows["experts"], "weights" in (rows.dtype.names or ())
        if not self._spool.fits(rows):
            problem = f"{log.named('weights')} is {'there' if weighted else 'not there'}"
            raise log.error(int(rows["line"][0]), problem, "as before: in every row or in none")
        most = (self._declared.experts or MOST_EXPERTS) - 1
        if (largest := int(experts.max())) > most:
            self._refuse(log, rows, (experts > most).any(axis=1), f"ids from 0 to {most}")
        in_order = np.sort(experts, axis=1)
        twice = (in_order[:, 1:] == in_order[:, :-1]).any(axis=1)
        if twice.any():
            self._refuse(log, rows, twice, "each expert once")
        self._largest = max(self._largest, largest)
        self._largest_token = max(self._largest_token, int(rows["token"].max()))
        self._layers.setdefault(log.path, np.zeros(2**15, bool))[rows["layer"]] = True
        keys = keys_of(rows)
        self._places.add(keys)
        self._spool.add(rows, keys)

    @staticmethod
    def _refuse(log: Log, rows: np.ndarray, which: Any, expected: str) -> None:
        row = rows[int(which.argmax())]
        raise log.error(int(row["line"]), f"{log.named('experts')} is {row['experts'].tolist()}", expected)

    def traces(self, part_bytes: int) -> tuple[int, Iterator[Trace]]:
        """Make traces of everything that was taken and is not dropped.

        Parameters
        ----------
        part_bytes : int
            The most that one trace may take in memory, about; what is more goes on in the next one.

        Returns
        -------
        parts : int
            How many traces there will be.
        traces : iterator of Trace
            Each is made when it is asked for.

        Raises
        ------
        TraceFormatError
            If there is something that cannot be kept and is not dropped, or nothing is left.
        """
        if not len(self._places):
            paths = ", ".join(map(str, self._paths))
            raise TraceFormatError(f"{paths}: holds no routing; expected: at least one row")
        layers = self._same_layers()
        top_k = self._declared.top_k or 0
        chunk = max(1, min(_SURVEY_BYTES, part_bytes) // (2 * len(layers) * top_k + 32))
        chosen = select(self._spool, self._places, layers, self._declared, self._texts, self._drop, chunk)
        shape = MoEShape(len(chosen.layers), self._experts(), top_k)
        position_bytes = len(chosen.layers) * top_k * (6 if self._spool.weighted else 2) + _COLUMN_BYTES
        notes = tuple(str(finding) for finding in (*chosen.findings, *self._guesses()))
        parts = list(_parts(chosen, max(1, part_bytes // position_bytes)))
        return len(parts), (self._trace(chosen, pieces, shape, notes) for pieces in parts)

    def _same_layers(self) -> np.ndarray:
        """Return the numbers of the layers, which all logs must share: they are of one model."""
        (first, layers), *others = self._layers.items()
        for path, other in others:
            if (other != layers).any() and "gaps" not in self._drop:
                odd = int((other != layers).argmax())
                there, absent = (path, first) if other[odd] else (first, path)
                raise TraceFormatError(
                    f"{path}: layer {odd} is in {there} and not in {absent}; expected: logs of one model"
                )
        return np.flatnonzero(np.logical_or.reduce(list(self._layers.values())))

    def _experts(self) -> int:
        """Return the experts a layer: what is declared, or a multiple of 4 that holds the largest id."""
        return self._declared.experts or -(-(self._largest + 1) // 4) * 4

    def _guesses(self) -> Iterator[Finding]:
        if not self._declared.experts:
            yield Finding(
                "experts",
                f"the log does not say how many a layer has: {self._experts()} taken, as the largest id is "
                f"{self._largest}; give experts=… where it is another",
            )

    def _trace(
        self, chosen: Selection, pieces: list[_Piece], shape: MoEShape, notes: tuple[str, ...]
    ) -> Trace:
        experts, weights, tokens = self._routing(chosen, pieces[0].first, pieces[-1].last, shape)
        stretches = []
        for first, last, begins in pieces:
            text, _ = self._places.key(first)
            prompt = int(np.append(chosen.prefill[first:last], False).argmin()) if begins else 0
            stretches.append(Stretch(self._texts[text], last - first, prompt))
        strings = {number: string for string, number in self._strings.items()}
        return trace_of(
            stretches,
            shape,
            max(self._largest_token + 1, len(strings), 1),
            strings,
            notes,
            experts=experts,
            gate_weights=weights,
            tokens=tokens,
            model=self._declared.model,
        )

    def _routing(
        self, chosen: Selection, first: int, last: int, shape: MoEShape
    ) -> tuple[np.ndarray, np.ndarray | None, np.ndarray]:
        """Return experts, gate weights and tokens of the positions to keep between two places."""
        keep = chosen.keep[first:last]
        row_of = np.cumsum(keep) - 1
        n = int(keep.sum())
        experts = np.empty((n, shape.layers, shape.top_k), np.int16)
        weights = np.empty(experts.shape, np.float32) if self._spool.weighted else None
        tokens = np.full(n, NO_TOKEN, np.int32)
        filled = np.zeros(experts.shape[:2], bool)
        layers = chosen.layers
        for rows, place, layer in routing_between(self._spool, self._places, layers, first, last):
            layer = np.minimum(layer, len(layers) - 1)  # a last layer may have been left out
            row = row_of[place]
            new = keep[place] & (layers[layer] == rows["layer"])
            new[new] = ~filled[row[new], layer[new]]
            # Of rows that are there twice the first one counts: numpy keeps what it assigns last.
            new = np.flatnonzero(new)[::-1]
            row, layer = row[new], layer[new]
            experts[row, layer], filled[row, layer] = rows["experts"][new], True
            tokens[row] = rows["token"][new]
            if weights is not None:
                weights[row, layer] = rows["weights"][new]
        return experts, weights, tokens


def _parts(chosen: Selection, most: int) -> Iterator[list[_Piece]]:
    """Share the positions out to traces of at most so many positions each, in pieces of one text."""
    keep, n = chosen.keep, len(chosen.keep)
    starts = np.flatnonzero(keep & chosen.begins)
    edges = np.append(starts, n)
    part: list[_Piece] = []
    room = most
    for start, limit in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        stop = start + int(np.append(keep[start:limit], False).argmin())  # up to what is not kept
        first = start
        while first < stop:
            if not room:
                yield part
                part, room = [], most
            last = min(stop, first + room)
            part.append(_Piece(first, last, first == start))
            room -= last - first
            first = last
    if part:
        yield part
