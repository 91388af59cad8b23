"""The bundled prompts: seven domains like the paper's benchmarks, held out from training.

`data/README.md` has their sources and licences.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from typing import Literal, get_args

from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice
from .files import data_path

__all__ = ["DOMAINS", "Half", "Prompt", "load_prompts"]

DOMAINS = ("mcq", "chat", "math", "code", "instruct", "news", "qa")
Half = Literal["tune", "report"]


@dataclass(frozen=True)
class Prompt:
    """A held-out prompt and its continuation.

    Parameters
    ----------
    id : str
        Name of the prompt, the number in its domain at the end.
    domain : str
        One of `DOMAINS`.
    half : {"tune", "report"}
        "tune" for what is fitted or chosen, "report" for figures that are shown.
    prompt : str
        The prompt.
    reference : str
        How the text goes on at its source.
    source : str
        Where it was taken from.
    templated : bool
        Whether a generator made it whose templates occur in training too: figures on it are too good.
    """

    id: str
    domain: str
    half: Half
    prompt: str
    reference: str
    source: str
    templated: bool

    @property
    def text(self) -> str:
        """The prompt and its continuation."""
        return self.prompt + self.reference


def load_prompts(domain: str, half: Half | None = None) -> tuple[Prompt, ...]:
    """Load the bundled prompts of a domain.

    Parameters
    ----------
    domain : str
        One of `DOMAINS`.
    half : {"tune", "report"}, optional
        None loads both halves.

    Returns
    -------
    tuple of Prompt

    Raises
    ------
    InvalidInputError
        If there is no such domain or half.
    MissingDataError
        If the file is missing.

    Examples
    --------
    >>> load_prompts("math", half="report")[0].domain
    'math'
    """
    check_choice("domain", domain, DOMAINS)
    if half is not None and half not in get_args(Half):
        raise InvalidInputError(f"half is {half!r}; expected: 'tune', 'report', or None for both")
    return tuple(prompt for prompt in _read(domain) if half in (None, prompt.half))


@cache
def _read(domain: str) -> tuple[Prompt, ...]:
    path = data_path(f"prompts/{domain}.jsonl")
    try:
        return tuple(Prompt(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines())
    except (ValueError, TypeError) as error:
        raise InvalidInputError(f"{path} is damaged ({error}); install moespac-nb again") from None
