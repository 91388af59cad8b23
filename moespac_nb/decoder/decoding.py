"""One text on its way: what `decode` returns, and the draft, verify, accept and commit of each step.

Knows nothing of memory budgets: a model whose experts are offloaded decodes through the same lines.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from threading import RLock
from time import perf_counter
from typing import Any, Literal

import numpy as np
from torch import Tensor

from ..models.inspection import inspect_model
from ..models.kv_cache import CachedModel
from ..models.loading import context_of, lossless_to, vocabulary_of
from ..models.routing import Routing
from ..trace.step import GammaPolicy, Prefill, Step, Top
from ..utils.exceptions import InvalidInputError
from .callbacks import DecodeCallback
from .drafts import Draft, Proposal, TokenDraft, checked_ids, gathered, no_proposal
from .gamma import FixedGamma
from .logits import Processors
from .sampling import Sampling, accept_greedy, accept_sampled, check_finite, probabilities
from .stops import Stops

__all__ = ["Decoding", "FinishReason"]

FinishReason = Literal["stop", "length", "context", "interrupted"]
TOP = 3  # alternatives recorded at each position


@dataclass(kw_only=True, eq=False, repr=False)
class Decoding:
    """Iterator of `Step`s over one text, made by `decode`.

    What is committed so far can be read at any time. An interrupt or an error takes back the step it hits;
    iterating again goes on as if nothing had happened.

    Attributes
    ----------
    steps : list of Step
        All that is committed: ids and text follow from it.
    prefill : Prefill or None
        The pass over the prompt; None before the first step.
    prompt_ids : list of int
        The prompt's token ids.
    geometry : MoEShape
        Layers, experts and top-k of the target; zeros for a dense model.
    routing_unread : str or None
        Why the routing of a model with experts is not recorded.
    lossless_to : int or None
        Tokens up to which the text is the target's own; None where there is no such limit.
    vocabulary : int
        Number of the target's token ids.

    Examples
    --------
    >>> for step in decode(model, "Once upon a time", draft=draft):  # doctest: +SKIP
    ...     print(step.accepted, step.emitted)
    """

    model: Any
    prompt_ids: list[int]
    draft: Draft | None
    policy: GammaPolicy
    sampling: Sampling
    max_new_tokens: int
    seed: int
    stops: Stops
    processors: Processors
    tokenizer: Any
    callback: DecodeCallback
    steps: list[Step] = field(default_factory=list, init=False)
    prefill: Prefill | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """Inspect the target, and prepare its cache."""
        self._reported = 0  # drafted tokens of this step that the callback knows
        self._turn = RLock()  # threads that iterate have a step each
        self._interrupted = False
        room = context_of(self.model) - len(self.prompt_ids)
        self._limit_reason: FinishReason = "length" if self.max_new_tokens <= room else "context"
        self.max_new_tokens = min(self.max_new_tokens, room)
        can_crop = self.draft is not None and self.policy != FixedGamma(0)
        self._target = CachedModel(self.model, can_crop=can_crop)
        self.info = inspect_model(self.model)
        self._routing = Routing(self.info)
        self.geometry = self.info.shape
        self.routing_unread = self.info.unread
        self.lossless_to = lossless_to(self.model)
        self.vocabulary = vocabulary_of(self.model)

    @property
    def is_reading(self) -> bool:
        """Whether this thread is in a pass of the target; for hooks, which also run in other passes."""
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
        """The emitted text, without special tokens.

        Raises
        ------
        InvalidInputError
            If there is no tokenizer.
        """
        if self.tokenizer is None:
            raise InvalidInputError(
                "there is no tokenizer to make text with; pass tokenizer=…, or read new_ids"
            )
        return str(self.tokenizer.decode(self.new_ids, skip_special_tokens=True))

    @property
    def finish_reason(self) -> FinishReason | None:
        """Why the text ended; None while there are steps to come."""
        if self.steps and self.stops.ends(self.ids):
            return "stop"
        if self._emitted >= self.max_new_tokens:
            return self._limit_reason
        return "interrupted" if self._interrupted else None

    @property
    def room(self) -> int:
        """Tokens the next step may draft: it emits one more than it accepts, and all must fit."""
        return self.max_new_tokens - self._emitted - 1

    @property
    def _emitted(self) -> int:
        return sum(len(step.emitted) for step in self.steps)

    def __iter__(self) -> Decoding:
        """Return the decoding itself."""
        return self

    def __next__(self) -> Step:
        """Decode and return the next step."""
        with self._turn, self.callback.turn:
            if self.finish_reason not in (None, "interrupted"):
                raise StopIteration
            try:
                if self.prefill is None:
                    self.prefill = self._read_prompt()
                step, self._interrupted = self._step(), False
            except BaseException:
                self._interrupted = True
                self._routing.remove_hooks()
                self.callback.on_abort()
                raise
            return step

    def _read_prompt(self) -> Prefill:
        """Let target and draft read the prompt but for its last token, which opens the first window."""
        start = perf_counter()
        ids = self.prompt_ids[:-1]
        if ids:
            self.callback.on_prefill_start(len(ids))
        with self._routing:
            if ids:
                self._target.crop(0)
                self._target.forward(ids, logits_to_keep=1)
            experts, gate_weights = self._routing.take(len(ids))
        if ids:
            self.callback.on_prompt_read()
        if self.draft is not None:
            self.draft.prefill(ids)
        prefill_ms = 1e3 * (perf_counter() - start)
        prefill = Prefill(np.array(ids, np.int64), experts, gate_weights, prefill_ms)
        self.callback.on_prefill_end(prefill)
        return prefill

    def _step(self) -> Step:
        """Draft, verify, accept, commit. Appending the step is the commit: before it, nothing has changed."""
        ids = self.ids
        start = perf_counter()
        self._reported = 0
        self.callback.on_step_start(ids[-1])

        # Draft.
        proposal, uniforms = self._draft(ids)
        proposal = Proposal(proposal.ids.to(self._target.device), proposal.probs.to(self._target.device))
        drafted = checked_ids(proposal, self.vocabulary)
        for token in drafted[self._reported :]:
            self.callback.on_draft_token(token)
        self.callback.on_draft_end()
        drafted_at = perf_counter()

        # Verify: one pass over the window, which gives the target's distribution p at γ+1 positions.
        logits, experts, gate_weights = self._verify([ids[-1], *drafted], position=len(ids) - 1)
        dtype, logits = logits.dtype, self.processors([*ids, *drafted], logits)
        check_finite(logits, "the target", dtype)
        p = probabilities(logits, self.sampling)
        target_ids = logits.argmax(-1).tolist()

        # Accept a prefix of the draft; the target's own token follows it.
        if self.sampling.mode == "greedy":
            accepted, next_id = accept_greedy(drafted, target_ids)
        else:
            accepted, next_id = accept_sampled(proposal.ids, proposal.probs, p, uniforms)
        emitted = self._commit([*drafted[:accepted], next_id])

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
        self.callback.on_verify(step)
        return step

    def _draft(self, ids: Sequence[int]) -> tuple[Proposal, np.ndarray]:
        """Propose at most `room` tokens, and the uniforms (γ+1,) in [0, 1) that decide on them.

        The last uniform draws the target's own token. All follow from the seed and the step's number, so a
        step that an interrupt took back comes out the same.
        """
        gamma = self.policy.next_gamma(self.steps[-1] if self.steps else None)
        gamma = max(0, min(gamma, self.room)) if self.draft else 0
        uniforms = np.random.default_rng((self.seed, len(self.steps))).random(2 * gamma + 1)
        proposal = self._propose(ids, uniforms[:gamma])
        return proposal, uniforms[gamma : gamma + len(proposal.ids) + 1]

    def _commit(self, emitted: list[int]) -> list[int]:
        """Cut what the step emits where the text ends; at least one token remains."""
        return emitted[: self.stops.end(self.ids, emitted)]

    def _propose(self, ids: Sequence[int], uniforms: np.ndarray) -> Proposal:
        """Ask the draft for at most one token for each uniform."""
        if self.draft is None or not len(uniforms):
            return no_proposal(self.vocabulary)
        if not isinstance(self.draft, TokenDraft):
            return self.draft.propose(ids, uniforms, self.sampling, self.vocabulary)
        tokens = self.draft.tokens(ids, uniforms, self.sampling, self.vocabulary)
        return gathered(self._report(tokens), self.vocabulary)

    def _report(self, tokens: Iterator[tuple[int, Tensor]]) -> Iterator[tuple[int, Tensor]]:
        for token, q in tokens:
            self._reported += 1
            self.callback.on_draft_token(token)
            yield token, q

    def _verify(self, window: list[int], position: int) -> tuple[Tensor, np.ndarray, np.ndarray]:
        """Pass the window (γ+1) through the target: logits, experts, gate weights."""
        self._target.crop(position)
        if (length := self._target.length) < position:  # an interrupt cost a state that cannot be cropped
            self._target.forward(self.ids[length:position], logits_to_keep=1)
        with self._routing:
            logits = self._target.forward(window)
            return (logits, *self._routing.take(len(window)))

    def summary(self) -> dict[str, Any]:
        """Return figures of the text so far.

        Returns
        -------
        dict
            Speeds are measured on this machine, without the prefill; a rate of nothing is None.
        """
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
