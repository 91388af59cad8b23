"""Rows of routing as arrays: one row a text, position and layer, with the experts that were chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..trace.schema import MOST_EXPERTS
from ..utils.exceptions import MoespacError
from .log import Log

__all__ = ["NO_TOKEN", "PASS", "PREFILL", "Row", "dense_rows", "pack", "pack_columns", "row_dtype", "rows_of"]

NO_TOKEN = -1
PREFILL, PASS = 1, 2  # flags: the position belongs to the prompt; it is the first of a forward pass
ROWS = 8192  # packed together
_MOST = {"position": 2**31 - 2, "layer": 2**14 - 1, "token": 2**31 - 2}


class Row(NamedTuple):
    """The experts that were chosen for one position in one layer.

    Parameters
    ----------
    text : int
        Number of the text, of `Log.text`.
    position : int
        In the text.
    layer : int
        Number of the layer, as the log counts.
    experts : sequence of int
        The k experts in the log's order.
    weights : sequence of float
        Their gate weights; None where the log has none.
    token : int
        Id of the token there, or `NO_TOKEN`.
    flags : int
        `PREFILL`, `PASS`, both or 0.
    """

    text: int
    position: int
    layer: int
    experts: Sequence[int] | np.ndarray
    weights: Sequence[float] | np.ndarray | None = None
    token: int = NO_TOKEN
    flags: int = 0


def row_dtype(top_k: int, weighted: bool) -> np.dtype[Any]:
    """Return the dtype of packed rows."""
    plain: list[Any] = [
        ("text", "<i4"), ("position", "<i4"), ("layer", "<i2"), ("token", "<i4"), ("flags", "u1"),
        ("line", "<u4"), ("experts", "<i2", (top_k,)),
    ]  # fmt: skip
    return np.dtype(plain + [("weights", "<f4", (top_k,))] * weighted)


def rows_of(
    log: Log, parse: Callable[[int, Any], Iterable[Row]], records: Iterator[tuple[int, Any]]
) -> Iterator[np.ndarray]:
    """Parse records to rows and pack them.

    Parameters
    ----------
    log : Log
        What the records are of.
    parse : callable
        Makes the rows of a record, given its line too.
    records : iterator
        Pairs of line and record.

    Yields
    ------
    ndarray
        Of `row_dtype`.

    Raises
    ------
    TraceFormatError
        If a field is missing or of a wrong type, or k changes.
    """
    lines: list[int] = []
    rows: list[Row] = []
    for line, record in records:
        try:
            before = len(rows)
            rows.extend(parse(line, record))
        except MoespacError:
            raise
        except KeyError as error:
            raise log.error(line, f"{error.args[0]} is missing", "every row with it") from None
        except (TypeError, AttributeError, ValueError, IndexError) as error:
            raise log.error(line, f"{str(record)[:60]} ({error})", f"a row of {log.format}") from None
        lines.extend([line] * (len(rows) - before))
        if len(rows) >= ROWS:
            yield pack(log, lines, rows)
            lines, rows = [], []
    if rows:
        yield pack(log, lines, rows)


def pack(log: Log, lines: Sequence[int], rows: Sequence[Row]) -> np.ndarray:
    """Pack rows into one array.

    Parameters
    ----------
    log : Log
        What they are of.
    lines : sequence of int
        The line of each.
    rows : sequence of Row
        At least one.

    Returns
    -------
    ndarray
        Of `row_dtype`.

    Raises
    ------
    TraceFormatError
        If k changes, a row lacks its weights, or a value is of a wrong type.
    """
    texts, positions, layers, experts, weights, tokens, flags = zip(*rows, strict=True)
    top_k = log.declared.top_k or _length(log, lines[0], experts[0])
    log.declare(top_k=top_k)
    weighted = weights[0] is not None
    packed = np.empty(len(rows), row_dtype(top_k, weighted))
    packed["text"], packed["flags"], packed["line"] = texts, flags, lines
    for name, values in (("position", positions), ("layer", layers), ("token", tokens)):
        packed[name] = _whole(log, lines, name, values, -1 if name == "token" else 0, _MOST[name])
    packed["experts"] = _whole(log, lines, "experts", experts, 0, MOST_EXPERTS, top_k)
    if weighted:
        packed["weights"] = _real(log, lines, weights, top_k)
    elif set(map(type, weights)) != {type(None)}:
        line = next(line for line, value in zip(lines, weights, strict=True) if value is not None)
        raise log.error(line, f"{log.named('weights')} is there", "in every row or in none")
    return packed


def pack_columns(
    log: Log,
    lines: Sequence[int] | np.ndarray,
    *,
    text: np.ndarray | int,
    position: np.ndarray,
    layer: np.ndarray | int,
    experts: np.ndarray,
    weights: np.ndarray | None = None,
    token: np.ndarray | None = None,
    flags: np.ndarray | int | None = None,
) -> np.ndarray:
    """Pack rows that are columns already.

    Parameters
    ----------
    log : Log
        What they are of.
    lines : sequence of int
        The line of each row.
    text, position, layer, token, flags : ndarray or int
        (rows,) each, as in `Row`.
    experts, weights : ndarray
        (rows, k).

    Returns
    -------
    ndarray
        Of `row_dtype`.

    Raises
    ------
    TraceFormatError
        If a value is out of range, a shape does not fit, or k changes.
    """
    n, top_k = experts.shape
    log.declare(int(lines[0]), top_k=top_k)
    if weights is not None and (weights.shape != experts.shape or not np.isfinite(weights).all()):
        problem = f"{log.named('weights')} is of shape {weights.shape}, or not finite"
        raise log.error(int(lines[0]), problem, f"finite numbers of shape {experts.shape}")
    packed = np.empty(n, row_dtype(top_k, weights is not None))
    packed["text"], packed["flags"], packed["line"] = text, 0 if flags is None else flags, lines
    token = np.full(n, NO_TOKEN) if token is None else token
    for name, values in (("position", position), ("layer", np.broadcast_to(layer, n)), ("token", token)):
        _check_range(log, lines, name, values, NO_TOKEN if name == "token" else 0, _MOST[name])
        packed[name] = values
    _check_range(log, lines, "experts", experts, 0, MOST_EXPERTS)
    packed["experts"] = experts
    if weights is not None:
        packed["weights"] = weights
    return packed


def dense_rows(
    log: Log,
    text: int,
    first: int,
    experts: np.ndarray,
    weights: np.ndarray | None = None,
    tokens: np.ndarray | int = NO_TOKEN,
    flags: np.ndarray | int = 0,
) -> np.ndarray:
    """Pack positions of which all layers are known.

    Parameters
    ----------
    log : Log
        What they are of.
    text : int
        Number of the text.
    first : int
        Position of the first one.
    experts, weights : ndarray
        (positions, layers, k).
    tokens, flags : ndarray or int
        (positions,), or one for all.

    Returns
    -------
    ndarray
        Of `row_dtype`, (positions × layers,).

    Raises
    ------
    TraceFormatError
        If the shapes do not agree, ids are out of range, or k changes.
    """
    n, layers, top_k = experts.shape
    log.declare(layers=layers, top_k=top_k)
    arrays = {"experts": (experts, "iu"), "weights": (weights, "f"), "token": (tokens, "iu")}
    for name, (array, kinds) in arrays.items():
        dtype = np.asarray(0 if array is None else array).dtype
        if array is not None and dtype.kind not in kinds:
            raise log.error(
                None, f"{log.named(name)} is of {dtype}", "floats" if kinds == "f" else "integers"
            )
    if weights is not None and weights.shape != experts.shape:
        raise log.error(None, f"{log.named('weights')} is of shape {weights.shape}", f"{experts.shape}")
    position = np.repeat(first + np.arange(n), layers)
    return pack_columns(
        log,
        position,
        text=text,
        position=position,
        layer=np.tile(np.arange(layers), n),
        experts=experts.reshape(-1, top_k),
        weights=None if weights is None else weights.reshape(-1, top_k),
        token=np.repeat(np.broadcast_to(tokens, n), layers),
        flags=np.repeat(np.broadcast_to(flags, n), layers),
    )


def _length(log: Log, line: int, value: Any) -> int:
    if not isinstance(value, list | tuple | np.ndarray) or not len(value):
        raise log.error(line, f"{log.named('experts')} is {str(value)[:40]}", "a list of expert ids")
    return len(value)


def _rectangle(log: Log, lines: Sequence[int], name: str, values: Sequence[Any], top_k: int) -> np.ndarray:
    """Return lists of k as an array, or raise for the first that has another length."""
    try:
        if set(map(len, values)) == {top_k}:
            return np.array(values)
    except (TypeError, ValueError, OverflowError):
        pass
    for line, value in zip(lines, values, strict=True):
        if not isinstance(value, list | tuple | np.ndarray):
            raise log.error(line, f"{log.named(name)} is {str(value)[:40]}", f"a list of {top_k}")
        if len(value) != top_k:
            problem = f"{log.named(name)} has {len(value)} entries, {str(value)[:60]}"
            raise log.error(line, problem, f"{top_k}, the same k throughout")
    raise log.error(lines[0], f"{log.named(name)} is no list of numbers", f"{top_k} numbers a row")


def _whole(
    log: Log, lines: Sequence[int], name: str, values: Any, least: int, most: int, top_k: int | None = None
) -> np.ndarray:
    if top_k is None:
        try:
            array = np.array(values)
        except (ValueError, OverflowError):  # lists among them, or numbers beyond 64 bits
            array = np.array(None)
    else:
        array = _rectangle(log, lines, name, values, top_k)
    if array.dtype.kind not in "iu" or array.ndim != (1 if top_k is None else 2):
        for line, value in zip(lines, values, strict=True):
            if _kind(value, top_k) not in "iu":
                problem = f"{log.named(name)} is {str(value)[:60]!r}"
                raise log.error(line, problem, "whole numbers" if top_k else "a whole number")
    _check_range(log, lines, name, array, least, most)
    return array


def _kind(value: Any, top_k: int | None) -> str:
    """Return the kind of a value's dtype: O where it is no number, or no list of them."""
    try:
        array = np.array(value)
    except (ValueError, OverflowError):
        return "O"
    return array.dtype.kind if array.ndim == (top_k is not None) else "O"


def _check_range(
    log: Log, lines: Sequence[int] | np.ndarray | None, name: str, array: np.ndarray, least: int, most: int
) -> None:
    if not array.size or (array.min() >= least and array.max() <= most):
        return
    place = np.argwhere((array < least) | (array > most))[0]
    value = array[tuple(place)]
    line = None if lines is None else int(lines[int(place[0])])
    where = "" if lines is not None else f" at {tuple(place.tolist())}"
    raise log.error(line, f"{log.named(name)} holds {value}{where}", f"{least} to {most}")


def _real(log: Log, lines: Sequence[int], values: Sequence[Any], top_k: int) -> np.ndarray:
    array = _rectangle(log, lines, "weights", values, top_k)
    if array.dtype.kind not in "iuf" or not np.isfinite(array).all():
        for line, value in zip(lines, values, strict=True):
            if _kind(value, top_k) not in "iuf" or not np.isfinite(value).all():
                raise log.error(line, f"{log.named('weights')} is {str(value)[:60]}", "finite numbers")
    return array
