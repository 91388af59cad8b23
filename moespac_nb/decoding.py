"""The speculative decoder: draft a window, verify it in one pass, accept a prefix, and say all about it.

Lossless: greedy text is the target's own, sampled text has the target's own distribution. Knows nothing of
memory budgets; a model whose experts live in slots decodes through the same lines.

    decoding = decode(model, "Once upon a time", draft=draft)
    for step in decoding:
        print(step.accepted, step.emitted)
    print(decoding.text, decoding.summary())
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from threading import RLock
from time import perf_counter
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from .drafts import Draft, FixedGamma, GammaPolicy, ModelDraft, Proposal, TokenDraft, gathered
from .errors import MoespacError
from .listener import Listener
from .models import check_is_whole_model, check_same_tokenizer, context_of, tokenizer_of, vocabulary_of
from .reader import Reader
from .routing import Routing
from .sampling import GREEDY, Sampling, accept_greedy, accept_sampled, probabilities
from .step import Prefill, Step, Top
from .windows import Speculation, Windows

FinishReason = Literal["stop", "length", "context", "interrupted"]
TOP = 3  # alternatives recorded at each position


def decode(
    model: Any,
    prompt: str | Sequence[int],
    *,
    draft: Any = None,
    gamma: int | GammaPolicy = 8,
    sampling: Sampling = GREEDY,
    max_new_tokens: int = 128,
    seed: int = 0,
    stop_ids: Iterable[int] | None = None,
    tokenizer: Any = None,
    windows: Windows | None = None,
    listener: Listener | None = None,
) -> Decoding:
    """Decode a prompt with a target and a draft: an iterator of `Step`s, one a round.

    model: a transformers causal language model, the target. prompt: text, or token ids.
    draft: a smaller transformers model, a `Draft` such as `NgramDraft()`, or None for plain decoding (γ = 0).
    gamma: tokens drafted a round, or a policy such as `AdaptiveGamma()`.
    seed: of all randomness; greedy decoding has none.
    stop_ids: end after any of these; None takes the model's own, () none.
    tokenizer: None takes `model.tokenizer`.
    windows: how each is drafted and what of it is committed; None is `Speculation()`, with `gamma`.
    listener: is told how it goes on.
    Raises `MoespacError` for bad input, before any work.
    """
    check_is_whole_model("model", model)
    if tokenizer is None:
        tokenizer = tokenizer_of(model)
    stops = _own_stop_ids(model, tokenizer) if stop_ids is None else frozenset(stop_ids)
    return Decoding(
        model,
        _checked_prompt(model, prompt, tokenizer),
        draft=_as_draft(model, draft, stops),
        policy=_checked_gamma(gamma),
        sampling=sampling,
        max_new_tokens=checked_whole("max_new_tokens", max_new_tokens, least=1),
        seed=checked_whole("seed", seed, least=0),
        stop_ids=stops,
        tokenizer=tokenizer,
        windows=windows or Speculation(),
        listener=listener or Listener(),
    )


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
        stop_ids: frozenset[int],
        tokenizer: Any,
        windows: Windows,
        listener: Listener,
    ) -> None:
        self.model = model
        self.prompt_ids = prompt_ids
        self.sampling = sampling
        self.steps: list[Step] = []  # all that is committed: ids and text follow from it
        self.prefill: Prefill | None = None  # from the first round on
        self.draft = draft
        self.policy = policy
        self.seed = seed
        self.stop_ids = stop_ids
        self.tokenizer = tokenizer
        self.windows = windows
        self._listener = listener
        self._told = 0  # drafted tokens of the round, that the listener knows
        self._turn = RLock()  # threads that iterate have a round each
        room = context_of(model) - len(prompt_ids)
        self._limit = min(max_new_tokens, room)
        self._ends_with: FinishReason = "length" if max_new_tokens <= room else "context"
        self._interrupted = False
        self._target = Reader(model)
        self._routing = Routing(model)
        self.geometry = self._routing.geometry
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
        if self.steps and int(self.steps[-1].emitted[-1]) in self.stop_ids:
            return "stop"
        if self._emitted >= self._limit:
            return self._ends_with
        return "interrupted" if self._interrupted else None

    @property
    def room(self) -> int:
        """Tokens the next round may draft: it emits one more than it accepts, and all must have a place."""
        return self._limit - self._emitted - 1

    @property
    def _emitted(self) -> int:
        return sum(len(step.emitted) for step in self.steps)

    def __iter__(self) -> Decoding:
        return self

    def __next__(self) -> Step:
        with self._turn, self._listener.turn:
            if self.finish_reason not in (None, "interrupted"):
                raise StopIteration
            try:
                if self.prefill is None:
                    self.prefill = self._read_prompt()
                step, self._interrupted = self._round(), False
            except BaseException:
                self._interrupted = True
                self._routing.remove_hooks()
                self._listener.broke_off()
                raise
            return step

    def _read_prompt(self) -> Prefill:
        """The target and the draft read the prompt up to its last token, which opens the first window."""
        start = perf_counter()
        unread = self.prompt_ids[:-1]
        if unread:
            self._listener.prompt_begins(len(unread))
        with self._routing:
            if unread:
                self._target.rewind(0)
                self._target.read(unread, logits_to_keep=1)
            experts, gate_weights = self._routing.take(len(unread))
        if self.draft is not None:
            self.draft.prefill(unread)
        ms = 1e3 * (perf_counter() - start)
        prefill = Prefill(np.array(unread, np.int64), experts, gate_weights, ms)
        self._listener.prompt_ends(prefill)
        return prefill

    def _round(self) -> Step:
        """Draft, verify, accept, commit. Appending the step is the commit: before it, nothing has changed."""
        ids = self.ids
        start = perf_counter()
        self._told = 0
        self._listener.window_begins(ids[-1])
        proposal, uniforms = self.windows.draft(self, ids)
        proposal = Proposal(*(part.to(self._target.device) for part in (proposal.ids, proposal.probs)))
        drafted = proposal.ids.tolist()
        for token in drafted[self._told :]:
            self._listener.drafted(token)
        self._listener.draft_complete()
        drafted_at = perf_counter()

        logits, experts, gate_weights = self._verify([ids[-1], *drafted], position=len(ids) - 1)
        p = probabilities(logits, self.sampling)
        target_ids = logits.argmax(-1).tolist()
        if self.sampling.mode == "greedy":
            accepted, own = accept_greedy(drafted, target_ids)
        else:
            accepted, own = accept_sampled(proposal.ids, proposal.probs, p, uniforms)
        emitted = self.windows.commit(self, [*drafted[:accepted], own])

        step = Step(
            index=len(self.steps),
            position=len(ids) - 1,
            window=np.array([ids[-1], *drafted], np.int64),
            draft_probs=_probs_of(proposal.ids, proposal.probs),
            target_probs=_probs_of(proposal.ids, p),
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
        self._target.rewind(len(ids) + len(emitted) - 1)
        self._listener.verified(step)
        return step

    def propose(self, ids: Sequence[int], uniforms: np.ndarray) -> Proposal:
        """What the draft proposes, one token for each uniform at most; told as it comes, where it does so."""
        assert self.draft is not None
        if not isinstance(self.draft, TokenDraft):
            return self.draft.propose(ids, uniforms, self.sampling, self.vocabulary)
        tokens = self.draft.tokens(ids, uniforms, self.sampling, self.vocabulary)
        return gathered(self._telling(tokens), self.vocabulary)

    def _telling(self, tokens: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        for token, q in tokens:
            self._told += 1
            self._listener.drafted(token)
            yield token, q

    def _verify(self, window: list[int], position: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """One pass of the target over the window (γ+1): logits, experts, gate weights."""
        self._target.rewind(position)
        with self._routing:
            logits = self._target.read(window)
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
        }


def _probs_of(ids: Tensor, probs: Tensor) -> np.ndarray:
    """Each drafted token's probability, (γ,)."""
    return probs[: len(ids)].gather(-1, ids[:, None]).squeeze(-1).cpu().numpy()


def _top(probs: Tensor) -> Top:
    best = probs.topk(min(TOP, probs.shape[-1]), dim=-1)
    return Top(best.indices.cpu().numpy(), best.values.cpu().numpy())


def _checked_prompt(model: Any, prompt: str | Sequence[int], tokenizer: Any) -> list[int]:
    """The prompt's ids."""
    if isinstance(prompt, str):
        if tokenizer is None:
            raise MoespacError(
                "the prompt is text, but there is no tokenizer; pass tokenizer=…, or token ids"
            )
        if not prompt.strip():
            raise MoespacError(f"the prompt is empty ({prompt!r}); accepted: text that is not blank")
        ids = list(tokenizer(prompt)["input_ids"])
    else:
        ids = [int(token) for token in prompt]
    if not ids:
        raise MoespacError("the prompt is empty; accepted: at least one token")
    vocabulary = vocabulary_of(model)
    if strangers := [token for token in ids if not 0 <= token < vocabulary]:
        raise MoespacError(f"the prompt holds token id {strangers[0]}; accepted: 0 to {vocabulary - 1}")
    context = context_of(model)
    if len(ids) >= context:
        raise MoespacError(
            f"the prompt has {len(ids)} tokens; accepted: at most {context - 1}, as the context of "
            f"{context} must hold at least one new token; shorten the prompt"
        )
    return ids


def _as_draft(model: Any, draft: Any, stop_ids: frozenset[int]) -> Draft | None:
    if draft is None or isinstance(draft, Draft):
        return draft
    if not isinstance(draft, torch.nn.Module):
        raise MoespacError(f"draft is {draft!r}; accepted: a model, a draft such as NgramDraft(), or None")
    check_is_whole_model("draft", draft)
    check_same_tokenizer(model, draft)
    return ModelDraft(draft, stop_ids)


def _checked_gamma(gamma: int | GammaPolicy) -> GammaPolicy:
    if isinstance(gamma, GammaPolicy):
        return gamma
    return FixedGamma(checked_whole("gamma", gamma, least=0))


def checked_whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise MoespacError(f"{name} is {value!r}; accepted: a whole number from {least}")
    return int(value)


def _own_stop_ids(model: Any, tokenizer: Any) -> frozenset[int]:
    """Where the model's own `generate` would stop."""
    eos = getattr(model.generation_config, "eos_token_id", None)
    if eos is None:
        eos = getattr(tokenizer, "eos_token_id", None)
    return frozenset([eos] if isinstance(eos, int) else eos or ())
