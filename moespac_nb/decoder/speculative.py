"""Speculative decoding: draft a window of tokens, verify it in one pass of the target, keep a prefix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from torch import Tensor

from ..models.loading import check_is_whole_model, tokenizer_of, warn_of_sparse_attention
from ..trace.step import GammaPolicy
from ..utils.validation import checked_whole
from .callbacks import DecodeCallback, combine_callbacks
from .decoding import Decoding
from .drafts import draft_of
from .gamma import gamma_policy
from .logits import processors_of
from .prompt_ids import Prompt, prompt_ids
from .sampling import GREEDY, Sampling
from .stops import stops_of

__all__ = ["decode"]


def decode(
    model: Any,
    prompt: Prompt,
    *,
    draft: Any = None,
    gamma: int | GammaPolicy = 8,
    sampling: Sampling = GREEDY,
    max_new_tokens: int = 128,
    seed: int = 0,
    stop_ids: Iterable[int] | int | None = None,
    stop_strings: Sequence[str] | str | None = None,
    logits_processor: Iterable[Callable[..., Tensor]] | None = None,
    tokenizer: Any = None,
    callbacks: DecodeCallback | Sequence[DecodeCallback] = (),
    kind: type[Decoding] = Decoding,
) -> Decoding:
    """Decode a prompt with a target model and a draft, step by step.

    Decoding is lossless: greedy text is the target's own, and sampled text has the target's distribution,
    whatever the draft proposes [1]_ [2]_.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The target, a causal language model.
    prompt : str, list of messages, token ids or encoding
        Text, the messages of a chat, token ids (n,), or what a tokenizer returns for one text.
    draft : transformers.PreTrainedModel, Draft or None
        A smaller model with the same tokenizer, a draft such as `NgramDraft()`, or None for plain decoding.
    gamma : int or GammaPolicy
        Draft length γ, in tokens per step, or a policy such as `AdaptiveGamma()` that chooses it.
    sampling : Sampling
        How a token is chosen from the target's distribution; greedy by default.
    max_new_tokens : int
        The text ends after so many tokens, or where the target's context is full.
    seed : int
        Seed of all randomness; greedy decoding has none.
    stop_ids : int, iterable of int or None
        End after any of these tokens; None takes the model's own, () none.
    stop_strings : str, sequence of str or None
        End after the token that completes any of these; None takes the model's own, () none.
    logits_processor : iterable of callables, optional
        Logits processors of transformers, added to those of the model's generation config as by
        `generate`. They apply to a model used as draft, too.
    tokenizer : transformers tokenizer, optional
        None takes `model.tokenizer`.
    callbacks : DecodeCallback or sequence of them
        Their hooks are called as the decode goes on.
    kind : type
        The class to return: `Decoding`, or a subclass that drafts or commits in another way.

    Returns
    -------
    Decoding
        An iterator of `Step`s. Nothing is computed before the first `next`.

    Raises
    ------
    InvalidInputError
        If an argument is not as expected.

    Warns
    -----
    UserWarning
        If the text may outgrow `Decoding.lossless_to`: models with sparse attention (DeepSeek-V3.2, GLM-5)
        choose other tokens to attend to in a pass over several positions.

    References
    ----------
    .. [1] Leviathan et al., "Fast Inference from Transformers via Speculative Decoding", arXiv 2211.17192.
    .. [2] Chen et al., "Accelerating Large Language Model Decoding with Speculative Sampling",
       arXiv 2302.01318.

    Examples
    --------
    >>> from moespac_nb import decode, load_pair
    >>> target, draft = load_pair()
    >>> decoding = decode(target, "Once upon a time", draft=draft, gamma=4, max_new_tokens=12)
    >>> sum(len(step.emitted) for step in decoding)
    12
    >>> all(step.accepted <= step.gamma <= 4 for step in decoding.steps)
    True
    >>> decoding.finish_reason
    'length'
    """
    check_is_whole_model("model", model)
    if tokenizer is None:
        tokenizer = tokenizer_of(model)
    ids = prompt_ids(model, prompt, tokenizer)
    stops = stops_of(model, tokenizer, stop_ids, stop_strings)
    limit = checked_whole("max_new_tokens", max_new_tokens, least=1)
    processors = processors_of(model, ids, stops.ids, limit, logits_processor)
    decoding = kind(
        model=model,
        prompt_ids=ids,
        draft=draft_of(model, draft, stops, processors),
        policy=gamma_policy(gamma),
        sampling=sampling,
        max_new_tokens=limit,
        seed=checked_whole("seed", seed, least=0),
        stops=stops,
        processors=processors,
        tokenizer=tokenizer,
        callback=combine_callbacks(callbacks),
    )
    warn_of_sparse_attention(model, len(ids) + decoding.room + 1)
    return decoding
