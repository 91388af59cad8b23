"""Held-out text as the target routes it when it only reads: nothing is decoded, so nothing loops."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from tqdm import tqdm

from moespac_nb.datasets.prompts import Prompt
from moespac_nb.models.routing import observe
from moespac_nb.trace.step import expert_counts
from tools.pair.card.streams import stream_of


@dataclass(frozen=True, eq=False)
class Reading:
    """One text and where its tokens went."""

    stream: str
    half: str
    experts: np.ndarray  # (tokens, layers, k)
    prompt_tokens: int  # what is read before the text goes on

    def counts(self, experts_per_layer: int) -> np.ndarray:
        """How many tokens went to each expert, (layers, experts)."""
        return expert_counts(self.experts, experts_per_layer)


class Window(NamedTuple):
    """What predicting looks at of a step: here a stretch of given text, all of it accepted."""

    position: int
    experts: np.ndarray  # (positions, layers, k)
    accepted: int
    counts: np.ndarray  # (layers, experts)


def readings(target: Any, asked: Iterable[Prompt], most_tokens: int) -> list[Reading]:
    """One pass over each prompt and the text it goes on with where it was taken from."""
    found = []
    for prompt in tqdm(list(asked), desc="held-out text", unit="text"):
        ids = target.tokenizer(prompt.text)["input_ids"][:most_tokens]
        read = len(target.tokenizer(prompt.prompt)["input_ids"])
        found.append(Reading(stream_of(prompt), prompt.half, observe(target, ids)[0], read))
    return found


def windows(experts: np.ndarray, experts_per_layer: int, positions: int) -> Sequence[Window]:
    """Given text cut into windows, as a decode whose draft is always right would verify it."""
    starts = range(0, len(experts) - positions + 1, positions)
    cut = [(start, experts[start : start + positions]) for start in starts]
    return [Window(s, part, positions - 1, expert_counts(part, experts_per_layer)) for s, part in cut]
