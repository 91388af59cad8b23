"""Logits processors: what the model's generation config asks for, applied as `generate` applies it.

A repetition penalty, tokens that are ruled out, a least length: each is a function of the text before the
token. So it is applied row by row to the positions of a window, with drafted tokens as if they were text,
and gives what one token at a time would. All are transformers' own objects, made as `generate` makes them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..utils.exceptions import InvalidInputError

__all__ = ["NO_PROCESSORS", "Processors", "processors_of"]

# Refused unless it is this, or None: another way to search, or what needs more than the text so far.
_NEUTRAL: dict[str, Any] = {
    **dict.fromkeys(("num_beams", "num_beam_groups", "guidance_scale"), 1),
    **dict.fromkeys(("diversity_penalty", "penalty_alpha", "token_healing"), 0),
    **dict.fromkeys(("constraints", "dola_layers", "force_words_ids", "max_time", "watermarking_config")),
}
_STATEFUL = ("SynthIDTextWatermarkLogitsProcessor", "UnbatchedClassifierFreeGuidanceLogitsProcessor")


@dataclass(frozen=True)
class Processors:
    """Logits processors, applied in turn to the logits of every position.

    Parameters
    ----------
    functions : tuple of callables
        Each takes ids (1, n) and scores (1, vocabulary) and returns scores.
    device : torch.device or None
        Where their own tensors are.
    """

    functions: tuple[Any, ...] = ()
    device: torch.device | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Their class names."""
        return tuple(type(processor).__name__ for processor in self.functions)

    def __call__(self, text: Sequence[int], logits: Tensor) -> Tensor:
        """Process logits.

        Parameters
        ----------
        text : sequence of int
            Prompt and text.
        logits : Tensor, (n, vocabulary)
            What follows the text's last n prefixes, the whole text last.

        Returns
        -------
        Tensor, (n, vocabulary)
        """
        if not self.functions:
            return logits
        ids = torch.as_tensor(text, device=self.device)[None]
        rows = []
        for end, row in enumerate(
            logits.to(self.device, torch.float32, copy=True), len(text) - len(logits) + 1
        ):
            scores = row[None]
            for processor in self.functions:
                scores = processor(ids[:, :end], scores)
            rows.append(scores)
        return torch.cat(rows).to(logits.device)


NO_PROCESSORS = Processors()


def processors_of(
    model: Any,
    prompt_ids: list[int],
    eos_ids: Collection[int],
    max_new_tokens: int,
    extra: Iterable[Any] | None,
) -> Processors:
    """Make the processors of the model's generation config and the extra ones, as `generate` does.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    prompt_ids : list of int
    eos_ids : collection of int
        Tokens that end the text; a least length rules them out.
    max_new_tokens : int
    extra : iterable of callables or None
        Logits processors of transformers, or functions of ids (1, n) and scores (1, vocabulary), that depend
        on nothing else. One replaces the model's own of the same type.

    Returns
    -------
    Processors

    Raises
    ------
    InvalidInputError
        For settings that are not a function of the text so far.
    """
    from transformers import LogitsProcessorList

    own = list(extra if isinstance(extra, Iterable) else [] if extra is None else [extra])
    for processor in own:
        if not callable(processor):
            raise InvalidInputError(
                f"logits_processor holds {processor!r}; expected: logits processors of transformers"
            )
        if type(processor).__name__ in _STATEFUL:
            raise InvalidInputError(
                f"logits_processor holds a {type(processor).__name__}, which follows from more than the "
                "text; expected: processors that are a function of ids and scores"
            )
    if not hasattr(model, "_get_logits_processor"):
        return Processors(tuple(own), model.device)
    config = deepcopy(model.generation_config)
    for name, neutral in _NEUTRAL.items():
        value = getattr(config, name, None)
        if value is not None and value != neutral:
            raise InvalidInputError(
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
        processors = model._get_logits_processor(
            generation_config=config,
            input_ids_seq_length=len(prompt_ids),
            encoder_input_ids=ids,
            logits_processor=LogitsProcessorList(own),
            device=model.device,
            model_kwargs={},
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidInputError(
            f"the model's generation_config asks for what cannot be had: {error}"
        ) from error
    return Processors(tuple(processors), model.device)
