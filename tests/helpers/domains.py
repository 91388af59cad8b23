"""The bundled dense traces of every domain, sampled: read once, however many tests look at them."""

from __future__ import annotations

from functools import cache
from typing import Literal

from moespac_nb import DOMAINS, Trace, load_trace


@cache
def dense_traces(half: Literal["report", "tune"] = "report") -> dict[str, Trace]:
    return {domain: load_trace(domain, mode="sample", dense=True, half=half) for domain in DOMAINS}
