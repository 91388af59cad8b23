"""What becomes of logits before a token is chosen: the model's own generation config, as `generate` obeys it.

    processors = processors_of(model, prompt_ids, eos_ids, max_new_tokens, logits_processor=())
    logits = processors(text, logits)

A repetition penalty, tokens that are ruled out, a least length: each is a function of the text before the
token. So it is applied row by row to the positions of a window, with drafted tokens as if they were text,
and comes to what one token at a time would. All of them are transformers' own objects, made as `generate`
makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..utils.exceptions import MoespacError

__all__ = ["NO_PROCESSORS", "Processors", "processors_of"]

# What a generation config may ask for that is another way to search, or needs more than the text so far.
_REFUSED: dict[str, Callable[[Any], bool]] = {
    "num_beams": lambda value: value > 1,
    "num_beam_groups": lambda value: value > 1,
    "diversity_penalty": bool,
    "penalty_alpha": bool,
    "dola_layers": lambda value: value is not None,
    "constraints": bool,
    "force_words_ids": bool,
    "guidance_scale": lambda value: value != 1,
    "watermarking_config": lambda value: value is not None,
    "token_healing": bool,
    "max_time": lambda value: value is not None,
}
_STATEFUL = ("SynthIDTextWatermarkLogitsProcessor", "UnbatchedClassifierFreeGuidanceLogitsProcessor")


@dataclass(frozen=True)
class Processors:
    """Applied in turn to the logits of every position."""

    each: tuple[Any, ...] = ()
    device: torch.device | None = None  # where their own tensors are

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(type(processor).__name__ for processor in self.each)

    def __call__(self, text: Sequence[int], logits: Tensor) -> Tensor:
        """Logits (n, vocabulary) of what follows the last n prefixes of a text, the whole text last."""
        if not self.each:
            return logits
        ids = torch.as_tensor(text, device=self.device)[None]
        rows = []
        for end, row in enumerate(
            logits.to(self.device, torch.float32, copy=True), len(text) - len(logits) + 1
        ):
            scores = row[None]
            for processor in self.each:
                scores = processor(ids[:, :end], scores)
            rows.append(scores)
        return torch.cat(rows).to(logits.device)


NO_PROCESSORS = Processors()


def processors_of(
    model: Any,
    prompt_ids: list[int],
    eos_ids: Collection[int],
    max_new_tokens: int,
    given: Iterable[Any] | None,
) -> Processors:
    """What the model's generation config asks for, and then those that were given, as in `generate`.

    given: transformers' logits processors, or functions of ids (1, n) and scores (1, vocabulary), of which
    one takes the place of the model's own of the same type. Each must follow from these two alone.
    Raises MoespacError for settings that are no function of the text so far.
    """
    from transformers import LogitsProcessorList

    own = list(given if isinstance(given, Iterable) else [] if given is None else [given])
    for processor in own:
        if not callable(processor):
            raise MoespacError(
                f"logits_processor holds {processor!r}; expected: logits processors of transformers"
            )
        if type(processor).__name__ in _STATEFUL:
            raise MoespacError(
                f"logits_processor holds a {type(processor).__name__}, which follows from more than the "
                "text; expected: processors that are a function of ids and scores"
            )
    if not hasattr(model, "_get_logits_processor"):
        return Processors(tuple(own), model.device)
    config = deepcopy(model.generation_config)
    for name, asks in _REFUSED.items():
        value = getattr(config, name, None)
        if value is not None and asks(value):
            raise MoespacError(
                f"the model's generation_config has {name} = {value!r}, which decode does not follow; "
                f"expected: without it: model.generation_config.{name} = None"
            )
    config.do_sample = False  # how tokens are drawn is `Sampling`'s
    config.eos_token_id = sorted(eos_ids) or None
    config.max_length = len(prompt_ids) + max_new_tokens
    config.num_beams = config.num_return_sequences = 1
    ids = torch.tensor([prompt_ids], device=model.device)
    try:
        model._prepare_special_tokens(config, True, device=model.device)
        made = model._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=len(prompt_ids),
            encoder_input_ids=ids,
            logits_processor=LogitsProcessorList(own),
            device=model.device,
            model_kwargs={},
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise MoespacError(f"the model's generation_config asks for what cannot be had: {error}") from error
    return Processors(tuple(made), model.device)
