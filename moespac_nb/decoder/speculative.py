"""The speculative decoder: draft a window, verify it in one pass, accept a prefix, and say all about it.

Lossless: greedy text is the target's own, sampled text has the target's own distribution. Knows nothing of
memory budgets; a model whose experts live in slots decodes through the same lines.

One kind of model is not the same in a pass over several positions as in one pass each: with sparse attention
(DeepSeek-V3.2, GLM-5) a text is lossless up to `index_topk` tokens, see `Decoding.lossless_to`.

    decoding = decode(model, "Once upon a time", draft=draft)
    for step in decoding:
        print(step.accepted, step.emitted)
    print(decoding.text, decoding.summary())
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from threading import RLock
from time import perf_counter
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ..models.inspection import inspect_model
from ..models.kv_cache import CachedModel
from ..models.loading import (
    check_is_whole_model,
    context_of,
    lossless_to,
    tokenizer_of,
    vocabulary_of,
    warn_of_sparse_attention,
)
from ..models.routing import Routing
from ..trace.step import GammaPolicy, Prefill, Step, Top
from ..utils.exceptions import MoespacError
from ..utils.validation import checked_whole
from .callbacks import DecodeCallback, combine_callbacks
from .drafts import Draft, Proposal, TokenDraft, checked_ids, draft_of, gathered, no_proposal
from .gamma import FixedGamma, gamma_policy
from .logits import Processors, processors_of
from .prompt_ids import Prompt, prompt_ids
from .sampling import GREEDY, Sampling, accept_greedy, accept_sampled, check_finite, probabilities
from .stops import Stops, stops_of

FinishReason = Literal["stop", "length", "context", "interrupted"]
TOP = 3  # alternatives recorded at each position


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
    kind: type[Decoding] | None = None,
) -> Decoding:
    """Decode a prompt with a target and a draft: an iterator of `Step`s, one a round.

    model: a transformers causal language model, the target. prompt: text, messages of a chat, token ids, or
    what a tokenizer makes of one text.
    draft: a smaller transformers model, a `Draft` such as `NgramDraft()`, or None for plain decoding (γ = 0).
    gamma: tokens drafted a round, or a policy such as `AdaptiveGamma()`.
    seed: of all randomness; greedy decoding has none.
    stop_ids: end after any of these; None takes the model's own, () none.
    stop_strings: end after the token that completes any of these; None takes the model's own, () none.
    logits_processor: transformers' logits processors, beside those that the model's generation config asks
    for (a repetition penalty, say), which are obeyed as `generate` does. A model as draft obeys them too.
    tokenizer: None takes `model.tokenizer`.
    callbacks: one or several, whose hooks are called as it goes on.
    kind: one that drafts or commits otherwise, such as `recording.FanDecoding`; None is `Decoding`.
    Raises `MoespacError` for bad input, before any work; warns of a text that may outgrow `lossless_to`.
    """
    check_is_whole_model("model", model)
    if tokenizer is None:
        tokenizer = tokenizer_of(model)
    ids = prompt_ids(model, prompt, tokenizer)
    stops = stops_of(model, tokenizer, stop_ids, stop_strings)
    limit = checked_whole("max_new_tokens", max_new_tokens, least=1)
    processors = processors_of(model, ids, stops.ids, limit, logits_processor)
    decoding = (kind or Decoding)(
        model,
        ids,
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


class Decoding:
    """One text on its way: iterate for the rounds that remain; what is committed can be read at any time.

    An interrupt takes back the round it hits, and iterating again goes on as if nothing had happened.
    """

    def __init__(
        self,
        model: Any,
        prompt_ids: list[int],
        *,
        draft: Draft | None,
        policy: GammaPolicy,
        sampling: Sampling,
        max_new_tokens: int,
        seed: int,
        stops: Stops,
        processors: Processors,
        tokenizer: Any,
        callback: DecodeCallback,
    ) -> None:
        self.model = model
        self.prompt_ids = prompt_ids
        self.sampling = sampling
        self.steps: list[Step] = []  # all that is committed: ids and text follow from it
        self.prefill: Prefill | None = None  # from the first round on
        self.draft = draft
        self.policy = policy
        self.seed = seed
        self.stops = stops
        self.processors = processors
        self.tokenizer = tokenizer
        self._callback = callback
        self._told = 0  # drafted tokens of the round, that the callback knows
        self._turn = RLock()  # threads that iterate have a round each
        room = context_of(model) - len(prompt_ids)
        self.max_new_tokens = min(max_new_tokens, room)
        self._ends_with: FinishReason = "length" if max_new_tokens <= room else "context"
        self._interrupted = False
        self._target = CachedModel(model, can_crop=draft is not None and policy != FixedGamma(0))
        self.info = inspect_model(model)
        self._routing = Routing(self.info)
        self.geometry = self.info.shape
        self.routing_unread = self.info.unread  # why a model with experts shows none here
        self.lossless_to = lossless_to(model)  # tokens; None for any number
        self.vocabulary = vocabulary_of(model)

    @property
    def is_reading(self) -> bool:
        """Whether this thread is in the target's pass: for hooks, which hear every forward."""
        return self._target.is_reading

    @property
    def new_ids(self) -> list[int]:
        """The ids emitted so far."""
        return list(chain.from_iterable(step.emitted.tolist() for step in self.steps))

    @property
    def ids(self) -> list[int]:
        """The whole sequence: prompt and emitted ids."""
        return self.prompt_ids + self.new_ids

    @property
    def text(self) -> str:
        """The emitted text, without special tokens."""
        if self.tokenizer is None:
            raise MoespacError("there is no tokenizer to make text with; pass tokenizer=…, or read new_ids")
        return str(self.tokenizer.decode(self.new_ids, skip_special_tokens=True))

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why it ended; None while there are rounds to come."""
        if self.steps and self.stops.ends(self.ids):
            return "stop"
        if self._emitted >= self.max_new_tokens:
            return self._ends_with
        return "interrupted" if self._interrupted else None

    @property
    def room(self) -> int:
        """Tokens the next round may draft: it emits one more than it accepts, and all must have a place."""
        return self.max_new_tokens - self._emitted - 1

    @property
    def _emitted(self) -> int:
        return sum(len(step.emitted) for step in self.steps)

    def __iter__(self) -> Decoding:
        return self

    def __next__(self) -> Step:
        with self._turn, self._callback.turn:
            if self.finish_reason not in (None, "interrupted"):
                raise StopIteration
            try:
                if self.prefill is None:
                    self.prefill = self._read_prompt()
                step, self._interrupted = self._round(), False
            except BaseException:
                self._interrupted = True
                self._routing.remove_hooks()
                self._callback.on_abort()
                raise
            return step

    def _read_prompt(self) -> Prefill:
        """The target and the draft read the prompt up to its last token, which opens the first window."""
        start = perf_counter()
        unread = self.prompt_ids[:-1]
        if unread:
            self._callback.on_prefill_start(len(unread))
        with self._routing:
            if unread:
                self._target.crop(0)
                self._target.forward(unread, logits_to_keep=1)
            experts, gate_weights = self._routing.take(len(unread))
        if unread:
            self._callback.on_prompt_read()
        if self.draft is not None:
            self.draft.prefill(unread)
        ms = 1e3 * (perf_counter() - start)
        prefill = Prefill(np.array(unread, np.int64), experts, gate_weights, ms)
        self._callback.on_prefill_end(prefill)
        return prefill

    def _round(self) -> Step:
        """Draft, verify, accept, commit. Appending the step is the commit: before it, nothing has changed."""
        ids = self.ids
        start = perf_counter()
        self._told = 0
        self._callback.on_step_start(ids[-1])
        proposal, uniforms = self._draft(ids)
        proposal = Proposal(*(part.to(self._target.device) for part in (proposal.ids, proposal.probs)))
        drafted = checked_ids(proposal, self.vocabulary)
        for token in drafted[self._told :]:
            self._callback.on_draft_token(token)
        self._callback.on_draft_end()
        drafted_at = perf_counter()

        logits, experts, gate_weights = self._verify([ids[-1], *drafted], position=len(ids) - 1)
        dtype, logits = logits.dtype, self.processors([*ids, *drafted], logits)
        check_finite(logits, "the target", dtype)
        p = probabilities(logits, self.sampling)
        target_ids = logits.argmax(-1).tolist()
        if self.sampling.mode == "greedy":
            accepted, own = accept_greedy(drafted, target_ids)
        else:
            accepted, own = accept_sampled(proposal.ids, proposal.probs, p, uniforms)
        emitted = self._commit([*drafted[:accepted], own])

        step = Step(
            index=len(self.steps),
            position=len(ids) - 1,
            window=np.array([ids[-1], *drafted], np.int64),
            draft_probs=proposal.of_its_ids(proposal.probs),
            target_probs=proposal.of_its_ids(p),
            uniforms=None if self.sampling.mode == "greedy" else uniforms[:-1],
            target_ids=np.array(target_ids, np.int64),
            accepted=accepted,
            emitted=np.array(emitted, np.int64),
            experts=experts,
            gate_weights=gate_weights,
            experts_per_layer=self.geometry.experts,
            draft_top=_top(proposal.probs),
            target_top=_top(p),
            draft_ms=1e3 * (drafted_at - start),
            verify_ms=1e3 * (perf_counter() - drafted_at),  # with all the bookkeeping above
        )
        self.steps.append(step)
        self._target.crop(len(ids) + len(emitted) - 1)
        self._callback.on_verify(step)
        return step

    def _draft(self, ids: Sequence[int]) -> tuple[Proposal, np.ndarray]:
        """What follows the ids, at most `room` tokens, and the uniforms (γ+1,) in [0, 1) that judge it.

        The last one draws the round's own token. All follow from the seed and the round's number, so a round
        that an interrupt took back comes out the same.
        """
        gamma = self.policy.next_gamma(self.steps[-1] if self.steps else None)
        gamma = max(0, min(gamma, self.room)) if self.draft else 0
        uniforms = np.random.default_rng((self.seed, len(self.steps))).random(2 * gamma + 1)
        proposal = self._propose(ids, uniforms[:gamma])
        return proposal, uniforms[gamma : gamma + len(proposal.ids) + 1]

    def _commit(self, emitted: list[int]) -> list[int]:
        """The start of what the round emitted, at least one token, that the text grows by."""
        return emitted[: self.stops.end(self.ids, emitted)]

    def _propose(self, ids: Sequence[int], uniforms: np.ndarray) -> Proposal:
        """What the draft proposes, one token for each uniform at most; told as it comes, where it does so."""
        if self.draft is None or not len(uniforms):
            return no_proposal(self.vocabulary)
        if not isinstance(self.draft, TokenDraft):
            return self.draft.propose(ids, uniforms, self.sampling, self.vocabulary)
        tokens = self.draft.tokens(ids, uniforms, self.sampling, self.vocabulary)
        return gathered(self._telling(tokens), self.vocabulary)

    def _telling(self, tokens: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        for token, q in tokens:
            self._told += 1
            self._callback.on_draft_token(token)
            yield token, q

    def _verify(self, window: list[int], position: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """One pass of the target over the window (γ+1): logits, experts, gate weights."""
        self._target.crop(position)
        if (held := self._target.length) < position:  # an interrupt cost a state that cannot be wound back
            self._target.forward(self.ids[held:position], logits_to_keep=1)
        with self._routing:
            logits = self._target.forward(window)
            return (logits, *self._routing.take(len(window)))

    def summary(self) -> dict[str, Any]:
        """Figures of the text so far; speeds are measured on this machine, prefill apart."""
        drafted = sum(step.gamma for step in self.steps)
        seconds = 1e-3 * sum(step.draft_ms + step.verify_ms for step in self.steps)
        new, rounds = len(self.new_ids), len(self.steps)
        return {
            "new_tokens": new,
            "steps": rounds,
            "drafted_tokens": drafted,
            "acceptance_rate": sum(step.accepted for step in self.steps) / drafted if drafted else None,
            "tokens_per_step": new / rounds if rounds else None,
            "tokens_per_second_measured": new / seconds if seconds else None,
            "prefill_ms_measured": self.prefill.ms if self.prefill else None,
            "finish_reason": self.finish_reason,
            "routing_unread": self.routing_unread,
            "lossless_to": self.lossless_to,
        }


def _top(probs: Tensor) -> Top:
    best = probs.topk(min(TOP, probs.shape[-1]), dim=-1)
    return Top(best.indices.cpu().numpy(), best.values.cpu().numpy())
