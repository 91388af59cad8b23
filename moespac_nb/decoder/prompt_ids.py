"""The ids of a prompt, however it is handed in: text, messages of a chat, or what a tokenizer made of either.

    prompt_ids(model, "Once upon a time", tokenizer)
    prompt_ids(model, [{"role": "user", "content": "Hello"}], tokenizer)      # through its chat template
    prompt_ids(model, tokenizer("Once upon a time", return_tensors="pt"), tokenizer)
    prompt_ids(model, [5, 6, 7])

Decoding is of one sequence: a leading dimension of 1 is taken away, a batch is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from ..models.loading import context_of, vocabulary_of
from ..utils.exceptions import MoespacError

__all__ = ["Prompt", "prompt_ids", "whole_ids"]

Prompt = str | Sequence[Any] | Mapping[str, Any] | np.ndarray | Tensor
ACCEPTED = (
    "text, one sequence of token ids, messages such as [{'role': 'user', 'content': 'Hello'}], or what a "
    "tokenizer makes of one text"
)
_SAYS_NOTHING_NEW = {"attention_mask", "token_type_ids", "position_ids", "special_tokens_mask", "length"}


def prompt_ids(model: Any, prompt: Prompt, tokenizer: Any = None) -> list[int]:
    """The prompt's ids, all of the model's vocabulary and with room for one more in its context."""
    if isinstance(prompt, str):
        ids = _of_text(prompt, tokenizer)
    elif isinstance(prompt, Mapping):
        ids = _of_encoding(prompt)
    elif isinstance(prompt, list | tuple) and prompt and all(isinstance(one, Mapping) for one in prompt):
        ids = _of_messages(prompt, tokenizer)
    else:
        ids = _of_numbers(prompt)
    if not ids:
        raise MoespacError("the prompt is empty; expected: at least one token")
    vocabulary, context = vocabulary_of(model), context_of(model)
    if strangers := [token for token in ids if not 0 <= token < vocabulary]:
        raise MoespacError(f"the prompt holds token id {strangers[0]}; expected: 0 to {vocabulary - 1}")
    if len(ids) >= context:
        raise MoespacError(
            f"the prompt has {len(ids)} tokens; expected: at most {context - 1}, as the context of "
            f"{context} must hold at least one new token; shorten the prompt"
        )
    return ids


def whole_ids(what: str, given: Any, accepted: str) -> list[int]:
    """One flat sequence of ids as plain integers; nothing else is made to fit."""
    values = given.tolist() if isinstance(given, np.ndarray | Tensor) else given
    if not isinstance(values, Sequence) or isinstance(values, str | bytes | bytearray):
        raise MoespacError(f"{what} is {_shown(given)}; expected: {accepted}")
    values = [one.item() if isinstance(one, Tensor) and one.ndim == 0 else one for one in values]
    for one in values:
        if isinstance(one, bool) or not isinstance(one, int | np.integer):
            raise MoespacError(f"{what} holds {_shown(one)}; expected: {accepted}")
    return [int(one) for one in values]


def _of_text(text: str, tokenizer: Any) -> list[int]:
    if tokenizer is None:
        raise MoespacError("the prompt is text, but there is no tokenizer; pass tokenizer=…, or token ids")
    if not text.strip():
        raise MoespacError(f"the prompt is empty ({text!r}); expected: text that is not blank")
    ids = list(tokenizer(text)["input_ids"])
    begin, begin_id = (getattr(tokenizer, name, None) for name in ("bos_token", "bos_token_id"))
    # A chat template's text begins with this token already, and the tokenizer puts another before it.
    if begin and text.startswith(begin) and ids[:2] == [begin_id, begin_id]:
        del ids[0]
    return ids


def _of_messages(messages: Sequence[Mapping[str, Any]], tokenizer: Any) -> list[int]:
    """Messages as the model's chat template writes them, up to where its answer begins."""
    for message in messages:
        if not {"role", "content"} <= message.keys():
            raise MoespacError(
                f"the prompt holds {_shown(message)}; expected: messages with role and content"
            )
    if not getattr(tokenizer, "chat_template", None):
        lacks = "there is no tokenizer" if tokenizer is None else "the tokenizer has no chat template"
        raise MoespacError(
            f"the prompt is a list of messages, but {lacks}; expected: a model made for chats, or the prompt "
            "as text or token ids"
        )
    try:
        encoding = tokenizer.apply_chat_template(
            list(messages), add_generation_prompt=True, tokenize=True, return_dict=True
        )
    except Exception as error:  # the template is a programme of the model's makers: it may raise anything
        raise MoespacError(f"the tokenizer's chat template does not take these messages: {error}") from error
    return _of_encoding(encoding)


def _of_encoding(encoding: Mapping[str, Any]) -> list[int]:
    """What a tokenizer or a chat template returns for one text."""
    if "input_ids" not in encoding:
        hint = "; put a single message in a list" if "role" in encoding else ""
        raise MoespacError(
            f"the prompt has {', '.join(map(str, encoding)) or 'nothing'}; expected: {ACCEPTED}{hint}"
        )
    if more := sorted(set(encoding) - _SAYS_NOTHING_NEW - {"input_ids"}):
        raise MoespacError(f"the prompt has {more[0]} beside its input_ids; expected: text alone")
    ids = _of_numbers(encoding["input_ids"])
    mask = encoding.get("attention_mask")
    if mask is not None and not all(_of_numbers(mask)):
        raise MoespacError(
            "the prompt's attention_mask leaves tokens out; expected: one text without padding"
        )
    return ids


def _of_numbers(given: Any) -> list[int]:
    """Ids, in a sequence or in one within another."""
    if isinstance(given, np.ndarray | Tensor):
        rows, nested = (given.shape[0] if given.ndim else 0), given.ndim == 2
    else:
        nested = isinstance(given, list | tuple) and any(
            isinstance(one, list | tuple) or (isinstance(one, np.ndarray | Tensor) and one.ndim)
            for one in given
        )
        rows = len(given) if nested else 0
    if nested and rows != 1:
        raise MoespacError(f"the prompt is a batch of {rows}; expected: one at a time")
    return whole_ids("the prompt", given[0] if nested else given, ACCEPTED)


def _shown(given: Any) -> str:
    """Short enough for one line."""
    if isinstance(given, np.ndarray | Tensor):
        return f"an array of {given.dtype} and shape {tuple(given.shape)}"
    text = repr(given)
    return text if len(text) <= 80 else text[:77] + "…"
