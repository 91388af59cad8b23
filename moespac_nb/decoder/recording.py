"""From a decode to a trace: what was decoded as it was, or a fan from which every γ can be replayed.

trace = record(model, "Once upon a time", draft=draft)              # as decode would
trace = record(model, "Once upon a time", draft=draft, fan=8)       # a draft of 8 at every position
trace = record(model, "Once upon a time", draft=draft, scores=True, sensors=("next-gate",))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..trace.schema import TextInfo
from ..trace.step import Step
from ..trace.trace import Trace
from ..utils.exceptions import MoespacError
from ..utils.validation import checked_whole
from .channels import Channels
from .drafts import Draft, ModelDraft, Proposal, common_prefix, no_proposal
from .gamma import FixedGamma
from .prompt_ids import Prompt
from .sampling import GREEDY, Sampling
from .speculative import Decoding, decode

if TYPE_CHECKING:
    from ..trace.step import GammaPolicy

__all__ = ["DenseDecoding", "record", "trace_of"]


class DenseDecoding(Decoding):
    """γ_max tokens at every position, of which one is committed: the next round goes on behind it.

    The uniforms of a token follow from the seed and the whole text before it, see `record`.
    """

    @property
    def gamma(self) -> int:
        """γ_max."""
        assert isinstance(self.policy, FixedGamma)
        return self.policy.gamma

    def _draft(self, ids: Sequence[int]) -> tuple[Proposal, np.ndarray]:
        """One token after another, each with the uniforms that belong to the text before it."""
        if self.draft is None:
            raise MoespacError(f"fan is {self.gamma} and draft is None; expected: a fan with a draft")
        text, wanted = list(ids), min(self.gamma, self.room)
        # The round's own token is committed only where it comes first, right behind the ids.
        *_, own = self._uniforms(text)
        proposals, judging = [no_proposal(self.vocabulary)], []
        for drafted in range(wanted):
            draws, judges, _ = self._uniforms(text)
            token = self.draft.propose(text, np.array([draws]), self.sampling, self.vocabulary)
            if not len(token.ids):
                raise MoespacError(
                    f"the draft proposed {drafted} tokens at position {len(ids) - 1}; accepted "
                    f"for a fan: a draft that always proposes its {wanted}, such as a model"
                )
            proposals.append(token)
            judging.append(judges)
            text.append(int(token.ids[0]))
            if text[-1] in self.stops.ids:
                break
        device = proposals[-1].probs.device
        whole = Proposal(
            torch.cat([proposal.ids.to(device) for proposal in proposals]),
            torch.cat([proposal.probs.to(device) for proposal in proposals]),
        )
        return whole, np.array([*judging, own])

    def _commit(self, emitted: list[int]) -> list[int]:
        return emitted[:1]

    def _uniforms(self, text: Sequence[int]) -> np.ndarray:
        """Of the token that follows the text: to draw it, to judge it, to draw another in its place."""
        return np.random.default_rng((self.seed, len(text), *text)).random(3)


def record(
    model: Any,
    prompt: Prompt,
    *,
    draft: Any = None,
    gamma: int | GammaPolicy = 8,
    fan: int | None = None,
    sampling: Sampling = GREEDY,
    scores: bool = False,
    sensors: Sequence[str] = (),
    prompt_id: str | None = None,
    **options: Any,
) -> Trace:
    """Decode a prompt to its end and give back all of it as a trace.

    fan: γ_max; None records the decode as it runs, with `gamma`. A fan has a draft of γ_max tokens and its
    verification at every committed position, so it costs a pass of the target a token. It needs a draft that
    always proposes, such as a model.
    scores, sensors: record router scores and sensor channels too, see `channels.Channels`.
    prompt_id: kept in the trace. options: max_new_tokens, seed, stop_ids, stop_strings, logits_processor and
    tokenizer, as `decode` takes them.

    **A greedy fan** is the target's own text, and at each position just what the decoder would have
    drafted, verified and accepted there for any γ. Replays are decodes, up to the rounding by which a
    pass over nine positions differs from one over three; where that decides a near tie, the committed
    text holds.

    **A sampled fan**: the uniforms that draw, judge and correct a token follow from the seed and the
    whole text before it. So a row that comes to a position along the committed text decides there as
    every other row does, and what a rejected token leads on to is drawn afresh. The text has the
    target's own distribution, and a replay whose γ follows from what it has seen so far, by whatever
    rule, is distributed as a live decode with that rule: drafted tokens, acceptance and text together.

    What does *not* have it: replays at several γ of one fan share their text and their luck. Their
    differences are paired, but they are one sample and not several, so spread has to come from more
    seeds. And to choose γ by what the replay has not seen yet (this round's accepted length, say) bends
    drafted tokens and acceptance, though never the text. With the same seed a fan's text is another
    than that of `decode`.
    """
    kind = None
    if fan is not None:
        gamma, kind = checked_whole("fan", fan, least=1), DenseDecoding
    decoding = decode(model, prompt, draft=draft, gamma=gamma, sampling=sampling, kind=kind, **options)
    _check_routing(decoding)
    with Channels(decoding, scores=scores, sensors=sensors) as channels:
        for step in decoding:
            channels.take(step)
    text = prompt if isinstance(prompt, str) else None
    return channels.beside(trace_of(decoding, prompt=text, prompt_id=prompt_id))


def trace_of(decoding: Decoding, *, prompt: str | None = None, prompt_id: str | None = None) -> Trace:
    """What a decoding has committed so far; it may have been interrupted, and may go on."""
    _check_routing(decoding)
    if decoding.prefill is None:
        raise MoespacError("nothing is decoded yet; expected: a decoding with at least one step")
    fan = decoding.gamma if isinstance(decoding, DenseDecoding) else None
    steps = decoding.steps if fan is None else _on_committed_text(decoding)
    sampled = decoding.sampling.mode == "sample"
    policy = decoding.policy
    text = TextInfo(
        target=_name_of(decoding.model),
        draft=None if decoding.draft is None else _draft_name(decoding.draft),
        mode=decoding.sampling.mode,
        temperature=decoding.sampling.temperature if sampled else None,
        top_k=decoding.sampling.top_k if sampled else None,
        top_p=decoding.sampling.top_p if sampled else None,
        min_p=decoding.sampling.min_p if sampled else None,
        gamma=str(policy.gamma) if isinstance(policy, FixedGamma) else repr(policy),
        fan=fan,
        seed=decoding.seed,
        stop_ids=tuple(sorted(decoding.stops.ids)),
        stop_strings=decoding.stops.strings,
        processors=decoding.processors.names,
        prompt_id=prompt_id,
        prompt=prompt,
        text=None if decoding.tokenizer is None else decoding.text,
        finish_reason=decoding.finish_reason,
        versions={
            "moespac-nb": metadata.version("moespac-nb"),
            "torch": torch.__version__,
            "transformers": metadata.version("transformers"),
        },
    )
    trace = Trace.of(text, decoding.geometry, decoding.vocabulary, decoding.prefill, steps)
    if decoding.tokenizer is None:
        return trace
    return replace(trace, pieces=_pieces(trace, decoding.tokenizer))


def _check_routing(decoding: Decoding) -> None:
    """A trace without layers is a dense model's, so one of experts that were not seen would be false."""
    if decoding.routing_unread is not None:
        raise MoespacError(
            f"the routing of {type(decoding.model).__name__} cannot be recorded: {decoding.routing_unread}; "
            "expected: models whose experts go through transformers' experts interface, and dense ones; "
            "decode gives its text"
        )


def _pieces(trace: Trace, tokenizer: Any) -> dict[int, str]:
    """What each token id of the trace reads as by itself."""
    ids = [trace.prompt_ids, trace.window, trace.committed_ids, trace.target_ids]
    ids += [trace.target_top_ids.ravel(), trace.draft_top_ids.ravel()]
    return {token: str(tokenizer.decode([token])) for token in np.unique(np.concatenate(ids)).tolist()}


def _name_of(model: Any) -> str:
    """The model's name; of a folder only the last part, as a trace may be given away."""
    name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    return Path(name).name if Path(name).is_dir() else name


def _draft_name(draft: Draft) -> str:
    return _name_of(draft.model) if isinstance(draft, ModelDraft) else type(draft).__name__


def _on_committed_text(decoding: Decoding) -> list[Step]:
    """A fan's rows, each accepting no token but the text's next ones, whatever rounding said in its pass."""
    ids, rows = decoding.new_ids, []
    for step in decoding.steps:
        claimed = step.drafted[: step.accepted].tolist()
        known = ids[step.index : step.index + step.accepted]
        agreed = common_prefix(claimed, known)
        rows.append(step if agreed == len(known) else replace(step, accepted=agreed))
    return rows
