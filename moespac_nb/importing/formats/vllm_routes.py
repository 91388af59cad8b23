"""Route records of vLLM loggers: JSON lines, a `meta` record and a `route` record a token and layer.

    {"type": "meta", "model_id": "Qwen/Qwen1.5-MoE-A2.7B-Chat", "layers_logged": [0], "top_k": 4, …}
    {"type": "route", "req_id": "r1", "token_idx": 0, "layer": 0, "topk_ids": [3, 60], "topk_weights": […]}

Some loggers count `token_idx` on, others begin at 0 in each forward pass: where it falls back to 0 a pass
begins, and positions are numbered on. Passes over several positions are prompts, several of them in a row a
batch. `req_id` tells texts apart. A log begins with thousands of identical rows, of the server's warm-up.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, PASS, Row, rows_of
from ..sources.text import records

__all__ = ["FORMAT"]


def _detect(head: Head) -> bool:
    record = head.record
    return record.get("type") in ("meta", "route") or {"topk_ids", "token_idx"} <= record.keys()


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"position": "token_idx", "experts": "topk_ids", "weights": "topk_weights"}
    # By text and layer: where the present pass began, and the last index in it.
    reached: dict[tuple[int, int], list[int]] = {}

    def parse(line: int, record: dict[str, Any]) -> Iterator[Row]:
        if record.get("type") == "meta":
            log.declare(
                line,
                model=record.get("model_id", record.get("model")),
                top_k=record.get("top_k"),
                experts=record.get("num_experts"),
            )
            return
        index, layer, text = record["token_idx"], record["layer"], log.text(record.get("req_id"))
        state = reached.setdefault((text, layer), [0, -1])
        if index == 0 and state[1] >= 0:
            state[0] += state[1] + 1
        state[1] = index
        yield Row(
            text,
            state[0] + index,
            layer,
            record["topk_ids"],
            record.get("topk_weights"),
            record.get("token_id", NO_TOKEN),
            PASS if index == 0 else 0,
        )

    return rows_of(log, parse, records(log))


FORMAT = Format("vllm-routes", "vLLM route loggers: JSON lines of meta and route records", _detect, _read)
