"""Where a text ends: after one of some tokens, or after the token that completes one of some strings.

Both end a text where the model's own `generate` does, with `eos_token_id` and `stop_strings`: the search for
strings is transformers' own, token by token, even if several tokens are emitted at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from ..models.loading import vocabulary_of
from ..utils.exceptions import InvalidInputError
from .prompt_ids import check_ids, whole_ids

__all__ = ["Stops", "stops_of"]


@dataclass(frozen=True)
class Stops:
    """What ends a text.

    Attributes
    ----------
    ids : frozenset of int
        Token ids.
    strings : tuple of str
        Texts, each completed by some token.
    """

    ids: frozenset[int]
    strings: tuple[str, ...] = ()
    _completed: Any = field(default=None, repr=False, compare=False)  # transformers' criterion; None without

    def ends(self, ids: Sequence[int]) -> bool:
        """Tell whether a text ends with its last id.

        Parameters
        ----------
        ids : sequence of int
            Prompt and text.

        Returns
        -------
        bool
        """
        if ids[-1] in self.ids:
            return True
        if self._completed is None:
            return False
        tail = ids[-self._completed.maximum_token_len :]  # all it looks at
        return bool(self._completed(torch.tensor([tail]), None)[0])

    def end(self, ids: Sequence[int], emitted: Sequence[int]) -> int:
        """Count the emitted tokens that the text keeps: up to the first that ends it, or all.

        Parameters
        ----------
        ids : sequence of int
            Prompt and text before them.
        emitted : sequence of int
            Tokens that a step emits, at least one.

        Returns
        -------
        int
        """
        whole = [*ids, *emitted]
        return next((n for n in range(1, len(emitted)) if self.ends(whole[: len(ids) + n])), len(emitted))


def stops_of(
    model: Any, tokenizer: Any, stop_ids: Iterable[int] | int | None, stop_strings: Sequence[str] | str | None
) -> Stops:
    """Return the stops of a decode.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    tokenizer : transformers tokenizer or None
    stop_ids : int, iterable of int or None
        None takes what the model's generation config, else its tokenizer says.
    stop_strings : str, sequence of str or None
        None takes what the model's generation config says.

    Returns
    -------
    Stops

    Raises
    ------
    InvalidInputError
        For ids outside the vocabulary, empty strings, or strings without a tokenizer.
    """
    config = getattr(model, "generation_config", None)
    if stop_strings is None:
        stop_strings = getattr(config, "stop_strings", None) or ()
    strings = (stop_strings,) if isinstance(stop_strings, str) else stop_strings
    if not isinstance(strings, list | tuple) or not all(isinstance(text, str) and text for text in strings):
        raise InvalidInputError(
            f"stop_strings is {stop_strings!r}; expected: a text, or several, none of them empty"
        )
    ids = _own_ids(config, tokenizer) if stop_ids is None else _checked_ids(model, stop_ids)
    return Stops(ids, tuple(strings), _criterion(tokenizer, strings) if strings else None)


def _criterion(tokenizer: Any, strings: Sequence[str]) -> Any:
    from transformers import StopStringCriteria

    if tokenizer is None:
        raise InvalidInputError(
            "stop_strings was given, but there is no tokenizer; pass tokenizer=…, or stop_ids"
        )
    try:
        return StopStringCriteria(tokenizer, list(strings))
    except ValueError as error:
        raise InvalidInputError(
            f"stop_strings is {list(strings)!r}; expected: texts that the tokenizer's tokens can make up"
        ) from error


def _checked_ids(model: Any, stop_ids: Any) -> frozenset[int]:
    expected = "one token id or several, () for none, or None for the model's own"
    if isinstance(stop_ids, int | np.integer) and not isinstance(stop_ids, bool):
        stop_ids = [stop_ids]
    if isinstance(stop_ids, Iterable) and not isinstance(stop_ids, Sequence | np.ndarray | torch.Tensor):
        stop_ids = list(stop_ids)
    if isinstance(stop_ids, str) or (isinstance(stop_ids, list | tuple) and str in map(type, stop_ids)):
        expected += "; a text that ends it is a stop_strings"
    ids = whole_ids("stop_ids", stop_ids, expected)
    check_ids("stop_ids holds", ids, vocabulary_of(model))
    return frozenset(ids)


def _own_ids(generation_config: Any, tokenizer: Any) -> frozenset[int]:
    """Return what the model's own `generate` stops at."""
    eos = getattr(generation_config, "eos_token_id", None)
    if eos is None:
        eos = getattr(tokenizer, "eos_token_id", None)
    return frozenset([eos] if isinstance(eos, int) else eos or ())
