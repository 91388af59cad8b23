"""JSON documents of GPT-OSS-MoE-ExpertFingerprinting: one decode each, with the strings of its tokens.

    {"original_prompt": "…", "full_text": ["<|start|>", …],
     "router_data": [{"token_530": {"layer_0": {"selected_experts": [31, 21], "selected_probs": [0.48, 0.19]},
                                    "layer_1": …}}, …]}

The number of a token is its place in `full_text`; the prompt's own routing is not recorded. Token ids are
places in the list of distinct strings. Source: github.com/AmanPriyanshu/GPT-OSS-MoE-ExpertFingerprinting.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, Row, rows_of
from ..sources.text import members

__all__ = ["FORMAT"]


def _detect(head: Head) -> bool:
    return head.start.lstrip()[:1] == b"{" and any(
        member in head.start for member in (b'"router_data"', b'"generated_only"')
    )


def _number(name: str, prefix: str) -> int:
    head, _, number = name.rpartition("_")
    if head != prefix or not (number.isascii() and number.isdecimal()):
        raise ValueError(f"{name!r} is no {prefix}_<number>")
    return int(number)


def _read(log: Log) -> Iterator[np.ndarray]:
    log.unit = "router_data"
    log.fields = {"position": "token_<number>", "layer": "layer_<number>",
                  "experts": "selected_experts", "weights": "selected_probs"}  # fmt: skip
    strings = [string for string in members(log, "full_text") if isinstance(string, str)]
    ids = [log.token(string) for string in strings]
    text = log.text(text="".join(strings) or None)

    def parse(_line: int, entry: dict[str, Any]) -> Iterator[Row]:
        for token, layers in entry.items():
            position = _number(token, "token")
            token_id = ids[position] if position < len(ids) else NO_TOKEN
            for layer, chosen in layers.items():
                yield Row(
                    text,
                    position,
                    _number(layer, "layer"),
                    chosen["selected_experts"],
                    chosen.get("selected_probs"),
                    token_id,
                )

    return rows_of(log, parse, enumerate(members(log, "router_data")))


FORMAT = Format("router-data", "expert fingerprinting: a JSON document a decode", _detect, _read)
