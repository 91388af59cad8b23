"""One training or held-out document, and the split that keeps the two apart."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Document:
    """`prompt` is what a reader would type, `reference` what the text goes on with.

    `templated` marks documents from a generator: training and held-out documents share its
    templates (never its values), so figures measured on them flatter the model.
    """

    prompt: str
    reference: str
    source: str
    templated: bool

    @property
    def text(self) -> str:
        return self.prompt + self.reference


def held_out(key: str, percent: float = 4.0) -> bool:
    """Whether the thing called `key` (a word, a file, a chapter) is kept from training.

    A hash decides, so a word that is held out is held out in every domain.
    """
    digest = hashlib.sha256(key.encode()).digest()
    return int.from_bytes(digest[:4], "big") % 10_000 < percent * 100
