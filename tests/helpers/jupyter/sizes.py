"""Traces of any size, and what of them a widget sends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from moespac_nb import Trace
from moespac_nb.trace.step import MoEShape
from tests.helpers.traces.strategies import one_text


def with_geometry(layers: int, experts: int, steps: int, top_k: int = 2) -> Trace:
    """A trace whose routing is of this size; its tokens are those of any other."""
    small = one_text(1, steps=steps)
    rng = np.random.default_rng(0)
    arrays: dict[str, Any] = {}
    for name, rows in (("", len(small.window)), ("prompt_", len(small.prompt_ids))):
        scores = rng.random((rows, layers, experts), np.float32)
        arrays[f"{name}experts"] = np.argpartition(scores, top_k, axis=-1)[..., :top_k].astype(np.int16)
        arrays[f"{name}gate_weights"] = np.full((rows, layers, top_k), 1 / top_k, np.float32)
    return replace(small, geometry=MoEShape(layers, experts, top_k), **arrays)


def buffers(value: Any) -> list[memoryview]:
    """All bytes that a widget sends, however deep they lie in its data."""
    if isinstance(value, memoryview):
        return [value]
    nested = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [buffer for part in nested for buffer in buffers(part)]


def unpacked(packed: Mapping[str, Any]) -> np.ndarray:
    """An array that a widget sends, as the browser unpacks it."""
    return np.frombuffer(packed["bytes"], packed["dtype"]).reshape(packed["shape"])
