"""The bundled prompts: seven domains that mirror the paper's benchmarks in kind, held out from training.

Knows texts only. How they were made and under which licence stands in `data/README.md`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from ..utils.exceptions import MoespacError, did_you_mean
from .files import data_path

DOMAINS = ("mcq", "chat", "math", "code", "instruct", "news", "qa")
Half = Literal["tune", "report"]


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt and the text it goes on with where it was taken from."""

    id: str
    domain: str
    half: Half  # "tune" for whatever is fitted or chosen, "report" for figures that are shown
    prompt: str
    reference: str
    source: str
    templated: bool  # from a generator whose templates training shares: figures on it flatter

    @property
    def text(self) -> str:
        return self.prompt + self.reference


def load_prompts(domain: str, half: Half | None = None) -> tuple[Prompt, ...]:
    """The prompts of a domain, all of them or one half.

    >>> prompts("math", half="report")[0].domain
    'math'
    """
    if domain not in DOMAINS:
        raise MoespacError(
            f"domain is {domain!r}; expected: {', '.join(DOMAINS)}{did_you_mean(domain, DOMAINS)}"
        )
    if half is not None and half not in get_args(Half):
        raise MoespacError(f"half is {half!r}; expected: 'tune', 'report', or None for both")
    return tuple(prompt for prompt in _read(domain) if half in (None, prompt.half))


@cache
def _read(domain: str) -> tuple[Prompt, ...]:
    path = data_path(f"prompts/{domain}.jsonl")
    try:
        return tuple(Prompt(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    except (ValueError, TypeError) as error:
        raise MoespacError(f"{path} is damaged ({error}); install moespac-nb again") from None
