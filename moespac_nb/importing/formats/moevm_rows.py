"""JSON lines of moevm-lab: a line a token and layer, with token ids and gate scores.

    {"token":0,"layer":0,"experts":[44,57],"scores":[0.11,0.10],"token_id":6189,"phase":"prefill"}

`token` counts through prefill and decode; `token_id` is the token that was fed. `token_id`, `scores` and
`phase` may be missing throughout. Source: github.com/DamianoCeka/moevm-lab.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, PREFILL, Row, rows_of
from ..sources.text import records

__all__ = ["FORMAT"]


def _detect(head: Head) -> bool:
    return {"token", "layer", "experts"} <= head.record.keys()


def _read(log: Log) -> Iterator[np.ndarray]:
    log.fields = {"position": "token", "weights": "scores", "token": "token_id"}
    text = log.text()

    def parse(_line: int, record: dict[str, Any]) -> Iterator[Row]:
        yield Row(
            text,
            record["token"],
            record["layer"],
            record["experts"],
            record.get("scores"),
            record.get("token_id", NO_TOKEN),
            PREFILL if record.get("phase") == "prefill" else 0,
        )

    return rows_of(log, parse, records(log))


FORMAT = Format("moevm-rows", "moevm-lab: JSON lines, one a token and layer", _detect, _read)
