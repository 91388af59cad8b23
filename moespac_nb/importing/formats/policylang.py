"""Recordings of moe-policylang, JSON lines or parquet: a row a prompt, token and layer.

    {"model_name": "…", "num_layers": 16, "num_experts": 64, "top_k": 8, …}
    {"p": 0, "t": 0, "l": 0, "e": [1, 5], "s": [0.4, 0.2], "ti": 17, "ph": "prefill"}

In parquet, and in some JSON lines, the columns have their long names: `prompt_id`, `token_idx`, `layer_idx`,
`selected_experts`, `router_scores`, `token_id`, `phase`. Source: PyPI, moe-policylang.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, PREFILL, Row, pack_columns, rows_of
from ..sources.parquet import list_column, row_groups, whole_column
from ..sources.text import records

__all__ = ["FORMAT"]

_LONG = ("prompt_id", "token_idx", "layer_idx", "selected_experts", "router_scores", "token_id", "phase")
_SHORT = ("p", "t", "l", "e", "s", "ti", "ph")


def _detect(head: Head) -> bool:
    return (
        {"token_idx", "layer_idx"} <= head.columns
        or {"token_idx", "layer_idx"} <= head.record.keys()
        or {"t", "l", "e"} <= head.record.keys()
        or ({"num_layers", "num_experts", "top_k"} <= head.record.keys() and "activations" not in head.record)
    )


def _read(log: Log) -> Iterator[np.ndarray]:
    names = dict(zip(("text", "position", "layer", "experts", "weights", "token"), _LONG, strict=False))
    log.fields = names | {"model": "model_name", "layers": "num_layers"}
    return _of_parquet(log) if log.is_parquet else _of_lines(log)


def _of_lines(log: Log) -> Iterator[np.ndarray]:
    entries: list[int] = []  # as many as the header says

    def parse(line: int, record: dict[str, Any]) -> Iterator[Row]:
        if "num_layers" in record:
            log.declare(
                line,
                model=record.get("model_name") or None,
                layers=record["num_layers"],
                experts=record.get("num_experts"),
                top_k=record.get("top_k"),
            )
            entries[:] = [record["num_entries"]] if "num_entries" in record else []
            return
        prompt, position, layer, experts, scores, token, phase = (
            _SHORT if "t" in record or "e" in record else _LONG
        )
        yield Row(
            log.text(record.get(prompt, 0)),
            record[position],
            record[layer],
            record[experts],
            record.get(scores),
            NO_TOKEN if record.get(token) is None else record[token],
            PREFILL if record.get(phase) == "prefill" else 0,
        )

    count = 0
    for rows in rows_of(log, parse, records(log)):
        count += len(rows)
        yield rows
    if entries and entries[0] != count:
        problem = f"num_entries is {entries[0]} and {count} entries follow"
        raise log.error(1, problem, "as many; the file may be truncated")


def _of_parquet(log: Log) -> Iterator[np.ndarray]:
    for row, batch in row_groups(log, _LONG, needed=_LONG[1:4]):
        whole = {name: whole_column(log, row, batch, name) for name in (*_LONG[1:3], "token_id")}
        position, layer = whole["token_idx"], whole["layer_idx"]
        experts = list_column(log, row, batch, "selected_experts", "iu")
        if position is None or layer is None or experts is None:
            raise log.error(row, f"{', '.join(_LONG[1:4])}: one of them is empty", "all of them in each row")
        phase = batch["phase"].to_pylist() if "phase" in batch else []
        yield pack_columns(
            log,
            range(row, row + len(experts)),
            text=_numbers(log, row, batch["prompt_id"]) if "prompt_id" in batch else log.text(0),
            position=position,
            layer=layer,
            experts=experts,
            weights=list_column(log, row, batch, "router_scores", "f"),
            token=whole["token_id"],
            flags=np.array([PREFILL * (name == "prefill") for name in phase], np.uint8) if phase else None,
        )


def _numbers(log: Log, row: int, prompts: Any) -> np.ndarray:
    """Return the number of each row's text; prompts are told apart by numbers or by names."""
    if prompts.null_count:
        raise log.error(row, f"prompt_id has {prompts.null_count} empty cells", "a prompt in each row")
    distinct, which = np.unique(prompts.to_numpy(zero_copy_only=False), return_inverse=True)
    return np.array([log.text(prompt) for prompt in distinct.tolist()])[which]


FORMAT = Format("policylang", "moe-policylang: JSON lines or parquet, one a token and layer", _detect, _read)
