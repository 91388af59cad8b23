"""CSV of BigMoeOnEdge: a row a step, layer and slot; header lines with # name the model.

    # model=….gguf arch=qwen3moe n_layer=48 n_expert=128 n_expert_used=6
    turn,phase,step,layer,slot,expert,weight,residency,expert_bytes
    0,0,0,0,0,49,0.221297,0,3059712

`phase` is 0 for prefill and 1 for decode, `step` counts positions. Each turn is a text. In the last layer of
a prefill only the last position is recorded. Source: github.com/Helldez/BigMoeOnEdge.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, PREFILL, Row, rows_of
from ..sources.text import lines

__all__ = ["FORMAT"]

_NEEDED = ("turn", "phase", "step", "layer", "slot", "expert")
_HEADER = {"n_layer": "layers", "n_expert": "experts", "n_expert_used": "top_k"}


def _detect(head: Head) -> bool:
    lines = [line for line in head.start.splitlines() if not line.startswith(b"#")]
    names = {name.strip() for name in lines[0].decode(errors="replace").split(",")} if lines else set()
    return len(names & set(_NEEDED)) >= 4


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"position": "step", "experts": "expert", "weights": "weight"} | {
        ours: theirs for theirs, ours in _HEADER.items()
    }
    return rows_of(log, lambda _line, row: (row,), _rows(log))


def _rows(log: Log) -> Iterator[tuple[int, Row]]:
    """Join the slots of a position and layer, which follow one another."""
    columns: list[int] | None = None
    place: tuple[int, ...] = ()
    experts, weights = list[int](), list[float]()
    row: tuple[int, Row] | None = None
    for line, raw in lines(log):
        if raw.startswith(b"#"):
            _declare(log, line, raw.decode(errors="replace"))
            continue
        cells = raw.decode(errors="replace").split(",")
        if columns is None:
            if missing := [name for name in _NEEDED if name not in cells]:
                raise log.error(line, f"{missing[0]} is missing", f"the columns {', '.join(_NEEDED)}")
            columns = [cells.index(name) for name in (*_NEEDED, *("weight",) * ("weight" in cells))]
            width, weighted = len(cells), len(columns) > len(_NEEDED)
            continue
        if len(cells) != width:
            raise log.error(line, f"{len(cells)} columns", f"{width}; the file may be truncated")
        try:
            turn, phase, step, layer, _slot, expert = (int(cells[column]) for column in columns[:6])
            weight = float(cells[columns[6]]) if weighted else 0.0
        except ValueError as error:
            raise log.error(line, f"{raw[:60].decode(errors='replace')} ({error})", "numbers") from None
        if place != (turn, phase, step, layer):
            if row is not None:
                yield row
            place, experts, weights = (turn, phase, step, layer), [], []
            text, flags = log.text(turn), 0 if phase else PREFILL
            row = line, Row(text, step, layer, experts, weights if weighted else None, NO_TOKEN, flags)
        experts.append(expert)
        weights.append(weight)
    if row is not None:
        yield row


def _declare(log: Log, line: int, header: str) -> None:
    said = dict(re.findall(r"(\w+)=(\S+)", header))
    if "n_expert" in said or "model" in said:
        model = re.split(r"[/\\]", said["model"])[-1] if "model" in said else None
        numbers = {ours: int(said[name]) for name, ours in _HEADER.items() if said.get(name, "").isdecimal()}
        log.declare(line, model=model, **numbers)


FORMAT = Format("route-csv", "BigMoeOnEdge: CSV, a row a step, layer and slot", _detect, _read)
