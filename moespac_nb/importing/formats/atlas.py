"""JSON lines of moe-routing-atlas: a line a text, with its token strings and an entry for each expert.

    {"model_id": "…", "num_layers": 16, "num_experts": 64, "top_k": 8, "token_strs": ["The", " cat"],
     "activations": [{"layer": 0, "token_idx": 0, "expert_idx": 5, "gate_weight": 0.4}, …]}

`token_ids` may be empty; then token ids are places in the list of distinct strings. Experts are kept in the
order of the entries. Source: github.com/DJLougen/moe-routing-atlas.
"""

from __future__ import annotations

from collections.abc import Iterator
from operator import itemgetter
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, Row, rows_of
from ..sources.text import records

__all__ = ["FORMAT"]

_MEMBERS = ("token_idx", "layer", "expert_idx", "gate_weight")


def _detect(head: Head) -> bool:
    # A line may be longer than the head, then it is no JSON yet.
    return "activations" in head.record or (
        head.start.lstrip()[:1] == b"{" and b'"token_strs"' in head.start and b'"token_idx"' in head.start
    )


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"position": "token_idx", "experts": "expert_idx", "weights": "gate_weight",
                  "model": "model_id", "layers": "num_layers"}  # fmt: skip

    def parse(line: int, record: dict[str, Any]) -> Iterator[Row]:
        activations = record["activations"]
        log.declare(
            line,
            model=record.get("model_id"),
            layers=record.get("num_layers"),
            experts=record.get("num_experts"),
            top_k=record.get("top_k"),
        )
        strings = record.get("token_strs") or []
        ids = record.get("token_ids") or [log.token(string) for string in strings]
        text = log.text(line, text=record.get("text") or "".join(strings) or None)
        token, layer, expert, weight = (
            np.array(list(map(itemgetter(name), activations))) for name in _MEMBERS
        )
        if not len(token) or any(array.dtype.kind not in "iu" for array in (token, layer, expert)):
            raise log.error(line, f"activations has {len(token)} entries", f"whole {', '.join(_MEMBERS[:3])}")
        order = np.lexsort((layer, token))  # stable: the experts of a place stay in their order
        begins = np.flatnonzero(np.diff(token[order], prepend=-1) | np.diff(layer[order], prepend=-1))
        for place in np.split(order, begins[1:]):
            position = int(token[place[0]])
            known = ids[position] if position < len(ids) else NO_TOKEN
            yield Row(text, position, int(layer[place[0]]), expert[place], weight[place], known)

    return rows_of(log, parse, records(log))


FORMAT = Format("atlas", "moe-routing-atlas: JSON lines, one a text with its activations", _detect, _read)
