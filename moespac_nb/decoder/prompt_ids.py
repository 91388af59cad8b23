"""Token ids of a prompt: of text, of the messages of a chat, or of what a tokenizer returns for either.

A decode has one sequence: a leading dimension of 1 is removed, a batch is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..models.loading import context_of, vocabulary_of
from ..utils.exceptions import InvalidInputError

__all__ = ["Prompt", "check_ids", "prompt_ids", "whole_ids"]

Prompt = str | Sequence[Any] | Mapping[str, Any] | np.ndarray | Tensor
EXPECTED = (
    "text, one sequence of token ids, messages such as [{'role': 'user', 'content': 'Hello'}], or what a "
    "tokenizer makes of one text"
)
_IGNORED = {"attention_mask", "token_type_ids", "position_ids", "special_tokens_mask", "length"}


def prompt_ids(model: Any, prompt: Prompt, tokenizer: Any = None) -> list[int]:
    """Return the prompt's token ids.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Gives the vocabulary and the context.
    prompt : str, list of messages, token ids or encoding
        Messages go through the tokenizer's chat template, up to where the answer begins.
    tokenizer : transformers tokenizer, optional
        Needed for text and messages.

    Returns
    -------
    list of int

    Raises
    ------
    InvalidInputError
        Unless there is at least one id, all are of the vocabulary, and the context holds one more token.
    """
    if isinstance(prompt, str):
        ids = _of_text(prompt, tokenizer)
    elif isinstance(prompt, Mapping):
        ids = _of_encoding(prompt)
    elif isinstance(prompt, list | tuple) and prompt and all(isinstance(item, Mapping) for item in prompt):
        ids = _of_messages(prompt, tokenizer)
    else:
        ids = _of_numbers(prompt)
    if not ids:
        raise InvalidInputError("the prompt is empty; expected: at least one token")
    check_ids("the prompt holds token id", ids, vocabulary_of(model))
    if len(ids) >= (context := context_of(model)):
        raise InvalidInputError(
            f"the prompt has {len(ids)} tokens; expected: at most {context - 1}, as the context of "
            f"{context} must hold at least one new token; shorten the prompt"
        )
    return ids


def check_ids(what: str, ids: Sequence[int], vocabulary: int) -> None:
    """Check that all ids are of a vocabulary.

    Parameters
    ----------
    what : str
        Beginning of the error message, which goes on with the id.
    ids : sequence of int
    vocabulary : int
        Number of token ids.

    Raises
    ------
    InvalidInputError
        If one is not.
    """
    if unknown := [token for token in ids if not 0 <= token < vocabulary]:
        raise InvalidInputError(f"{what} {unknown[0]}; expected: token ids from 0 to {vocabulary - 1}")


def whole_ids(what: str, given: Any, expected: str) -> list[int]:
    """Return one flat sequence of ids as plain integers.

    Parameters
    ----------
    what : str
        Name of what was given, for the error message.
    given : sequence, array or Tensor
    expected : str
        What the error message says is expected.

    Returns
    -------
    list of int

    Raises
    ------
    InvalidInputError
        For anything else.
    """
    values = given.tolist() if isinstance(given, np.ndarray | Tensor) else given
    if not isinstance(values, Sequence) or isinstance(values, str | bytes | bytearray):
        raise InvalidInputError(f"{what} is {_shown(given)}; expected: {expected}")
    values = [value.item() if isinstance(value, Tensor) and value.ndim == 0 else value for value in values]
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise InvalidInputError(f"{what} holds {_shown(value)}; expected: {expected}")
    return [int(value) for value in values]


def _of_text(text: str, tokenizer: Any) -> list[int]:
    if tokenizer is None:
        raise InvalidInputError(
            "the prompt is text, but there is no tokenizer; pass tokenizer=…, or token ids"
        )
    if not text.strip():
        raise InvalidInputError(f"the prompt is empty ({text!r}); expected: text that is not blank")
    ids = list(tokenizer(text)["input_ids"])
    begin, begin_id = (getattr(tokenizer, name, None) for name in ("bos_token", "bos_token_id"))
    # A chat template's text begins with this token already, and the tokenizer puts another before it.
    if begin and text.startswith(begin) and ids[:2] == [begin_id, begin_id]:
        del ids[0]
    return ids


def _of_messages(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> list[int]:
    for message in messages:
        if not {"role", "content"} <= message.keys():
            raise InvalidInputError(
                f"the prompt holds {_shown(message)}; expected: messages with role and content"
            )
    if not getattr(tokenizer, "chat_template", None):
        lacks = "there is no tokenizer" if tokenizer is None else "the tokenizer has no chat template"
        raise InvalidInputError(
            f"the prompt is a list of messages, but {lacks}; expected: a model made for chats, or the prompt "
            "as text or token ids"
        )
    try:
        encoding = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except Exception as error:  # the template comes with the model and may raise anything
        raise InvalidInputError(
            f"the tokenizer's chat template does not take these messages: {error}"
        ) from error
    return _of_encoding(encoding)


def _of_encoding(encoding: Mapping[str, Any]) -> list[int]:
    """Take the ids of what a tokenizer or a chat template returns."""
    if "input_ids" not in encoding:
        hint = "; put a single message in a list" if "role" in encoding else ""
        raise InvalidInputError(
            f"the prompt has {', '.join(map(str, encoding)) or 'nothing'}; expected: {EXPECTED}{hint}"
        )
    if extra := sorted(set(encoding) - _IGNORED - {"input_ids"}):
        raise InvalidInputError(f"the prompt has {extra[0]} beside its input_ids; expected: text alone")
    ids = _of_numbers(encoding["input_ids"])
    mask = encoding.get("attention_mask")
    if mask is not None and not all(_of_numbers(mask)):
        raise InvalidInputError(
            "the prompt's attention_mask leaves tokens out; expected: one text without padding"
        )
    return ids


def _of_numbers(given: Any) -> list[int]:
    """Take the ids of a flat sequence, or of one within another."""
    nested = getattr(given, "ndim", 0) == 2 or (
        isinstance(given, list | tuple)
        and any(isinstance(item, list | tuple) or getattr(item, "ndim", 0) for item in given)
    )
    if nested and len(given) != 1:
        raise InvalidInputError(f"the prompt is a batch of {len(given)}; expected: one at a time")
    return whole_ids("the prompt", given[0] if nested else given, EXPECTED)


def _shown(given: Any) -> str:
    """Show a value in one line."""
    if isinstance(given, np.ndarray | Tensor):
        return f"an array of {given.dtype} and shape {tuple(given.shape)}"
    text = repr(given)
    return text if len(text) <= 80 else text[:77] + "…"
