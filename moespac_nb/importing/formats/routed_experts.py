"""npz arrays [position, layer, k]: of vLLM's `routed_experts`, or of many decodes one after another.

- `routed_experts` (positions, layers, k), as vLLM returns with `--enable-return-routed-experts`; beside it
  `prompt_routed_experts` of the prompt, and `prompt_token_ids` and `token_ids`, where they were saved.
- `experts` (positions, layers, k), `weights` of the same shape, and `start`: where each decode begins, and
  where the last one ends.

Source: docs.vllm.ai, "Routed Experts Replay".
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..head import Format, Head
from ..log import Log
from ..rows import NO_TOKEN, PREFILL, dense_rows
from ..sources.npz import Archive, StoredArray

__all__ = ["FORMAT"]

_POSITIONS = 2**9  # at a time


def _detect(head: Head) -> bool:
    names = {"routed_experts.npy", "experts.npy"}
    return bool(names & head.entries) and "header.json.npy" not in head.entries


def _read(log: Log) -> Iterator[np.ndarray]:
    log.unit = "position"
    with Archive(log) as archive:
        if "routed_experts" in archive:
            yield from _of_vllm(log, archive)
        elif "experts" in archive:
            yield from _of_decodes(log, archive)
        else:
            raise log.error(None, "routed_experts or experts is missing", "one of them")


def _of_vllm(log: Log, archive: Archive) -> Iterator[np.ndarray]:
    log.fields = {"experts": "routed_experts", "token": "token_ids"}
    parts = (("prompt_routed_experts", "prompt_token_ids", PREFILL), ("routed_experts", "token_ids", 0))
    text, first = log.text(), 0
    for name, ids, flags in parts:
        if name not in archive:
            continue
        experts = archive.open(name, 3, "iu")
        tokens = archive.open(ids, 1, "iu") if ids in archive else None
        if tokens is not None and len(tokens) < len(experts):
            raise log.error(None, f"{ids} has {len(tokens)} entries", f"{len(experts)}, one a position")
        yield from _blocks(log, text, first, len(experts), experts, None, tokens, flags)
        first += len(experts)


def _of_decodes(log: Log, archive: Archive) -> Iterator[np.ndarray]:
    experts = archive.open("experts", 3, "iu")
    weights = archive.open("weights", 3, "f") if "weights" in archive else None
    if weights is not None and weights.shape != experts.shape:
        raise log.error(None, f"weights is of shape {weights.shape}", f"{experts.shape}")
    start = np.array([0, len(experts)])
    if "start" in archive:
        stored = archive.open("start", 1, "iu")
        start = stored.read(len(stored))
    if start[0] != 0 or start[-1] != len(experts) or (np.diff(start) < 1).any():
        raise log.error(None, f"start is {start[:4]}…", f"offsets that ascend from 0 to {len(experts)}")
    for number, positions in enumerate(np.diff(start).tolist()):
        yield from _blocks(log, log.text(number), 0, positions, experts, weights, None, 0)


def _blocks(
    log: Log,
    text: int,
    first: int,
    positions: int,
    experts: StoredArray,
    weights: StoredArray | None,
    tokens: StoredArray | None,
    flags: int,
) -> Iterator[np.ndarray]:
    for begin in range(0, positions, _POSITIONS):
        rows = min(_POSITIONS, positions - begin)
        yield dense_rows(
            log,
            text,
            first + begin,
            experts.read(rows),
            None if weights is None else weights.read(rows),
            NO_TOKEN if tokens is None else tokens.read(rows),
            flags,
        )


FORMAT = Format("routed-experts", "npz arrays [position, layer, k], as vLLM returns", _detect, _read)
