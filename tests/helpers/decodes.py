"""Decodes that are run to their end, what they are compared with, and what a refusal is."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch

from moespac_nb.decoder.decoding import Decoding
from moespac_nb.decoder.sampling import accept_sampled, draw
from moespac_nb.decoder.speculative import decode
from moespac_nb.utils.exceptions import MoespacError
from tools.support import tiny_models as tiny


def decoded(model: Any, prompt: Any, **options: Any) -> Decoding:
    """A decode that has ended; without stop tokens unless the options name some, or None for the model's."""
    decoding = decode(model, prompt, **{"stop_ids": ()} | options)
    list(decoding)
    return decoding


def own_text(model: Any, prompt: Any, new_tokens: int, **options: Any) -> list[int]:
    """The ids of the model's own greedy text, without stop tokens unless the options name some."""
    return tiny.generated(model, prompt, new_tokens, **{"eos_token_id": None} | options)


def refused(message: str) -> Any:
    """Expect an error of this package with such a message."""
    return pytest.raises(MoespacError, match=message)


def first_token_shares(target: Any, prompt: Any, texts: int, vocabulary: int, **options: Any) -> torch.Tensor:
    """How often each token comes first in sampled texts of many seeds, (vocabulary,)."""
    options = {"gamma": 1, "max_new_tokens": 2, "stop_ids": ()} | options
    seen = Counter(
        int(next(decode(target, prompt, seed=seed, **options)).emitted[0]) for seed in range(texts)
    )
    return torch.tensor([seen[token] / texts for token in range(vocabulary)])


def distance(one: torch.Tensor, other: torch.Tensor) -> float:
    """Total variation between two distributions."""
    return float((one - other).abs().sum()) / 2


def markov_chain(seed: int, vocabulary: int) -> tiny.MarkovChain:
    """A model whose texts have known probabilities."""
    generator = torch.Generator().manual_seed(seed)
    return tiny.MarkovChain(1.2 * torch.randn(vocabulary, vocabulary, generator=generator))


# Broken rules of acceptance, in the place of `accept_sampled`.


def always_accept(drafted, _q, p, uniforms):
    return len(drafted), int(draw(p[-1], uniforms[-1]))


def resample_from_p(drafted, q, p, uniforms):
    accepted, _ = accept_sampled(drafted, q, p, uniforms)
    return accepted, int(draw(p[accepted], uniforms[-1]))


def accept_by_p_alone(drafted, q, p, uniforms):
    """Accepts with p(d) instead of p(d) / q(d)."""
    return accept_sampled(drafted, torch.ones_like(q), p, uniforms)


BROKEN_RULES = [always_accept, resample_from_p, accept_by_p_alone]
