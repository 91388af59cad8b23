"""Record a decode as a trace: as it runs, or densely, so that every draft length can be replayed from it."""

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
from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole
from .channels import Channels
from .decoding import Decoding
from .drafts import Draft, ModelDraft, Proposal, no_proposal
from .gamma import FixedGamma
from .prompt_ids import Prompt
from .sampling import GREEDY, Sampling, common_prefix
from .speculative import decode

if TYPE_CHECKING:
    from ..trace.step import GammaPolicy

__all__ = ["DenseDecoding", "record", "trace_of"]


class DenseDecoding(Decoding):
    """A decoding that drafts γ_max tokens at every position and commits one token a step.

    A token's uniforms follow from the seed and the whole text before it; see the notes of `record`.
    """

    @property
    def gamma(self) -> int:
        """γ_max, in tokens."""
        assert isinstance(self.policy, FixedGamma)
        return self.policy.gamma

    def _draft(self, ids: Sequence[int]) -> tuple[Proposal, np.ndarray]:
        if self.draft is None:
            raise InvalidInputError(
                f"dense is {self.gamma} and draft is None; expected: a draft, such as a model"
            )
        text, needed = list(ids), min(self.gamma, self.room)
        # The step's own token is committed only where it comes first, right behind the ids.
        *_, own_uniform = self._uniforms(text)
        proposals, judging = [no_proposal(self.vocabulary)], []
        for drafted in range(needed):
            draw_uniform, judge_uniform, _ = self._uniforms(text)
            proposal = self.draft.propose(text, np.array([draw_uniform]), self.sampling, self.vocabulary)
            if not len(proposal.ids):
                raise InvalidInputError(
                    f"the draft proposed {drafted} tokens at position {len(ids) - 1}; expected for a dense "
                    f"recording: a draft that always proposes its {needed}, such as a model"
                )
            proposals.append(proposal)
            judging.append(judge_uniform)
            text.append(int(proposal.ids[0]))
            if text[-1] in self.stops.ids:
                break
        device = proposals[-1].probs.device
        whole = Proposal(
            torch.cat([proposal.ids.to(device) for proposal in proposals]),
            torch.cat([proposal.probs.to(device) for proposal in proposals]),
        )
        return whole, np.array([*judging, own_uniform])

    def _commit(self, emitted: list[int]) -> list[int]:
        return emitted[:1]

    def _uniforms(self, text: Sequence[int]) -> np.ndarray:
        """Three for the token after the text: to draw it, to judge it, to draw another in its place."""
        return np.random.default_rng((self.seed, len(text), *text)).random(3)


def record(
    model: Any,
    prompt: Prompt,
    *,
    draft: Any = None,
    gamma: int | GammaPolicy = 8,
    dense: int | None = None,
    sampling: Sampling = GREEDY,
    scores: bool = False,
    channels: Sequence[str] = (),
    prompt_id: str | None = None,
    **options: Any,
) -> Trace:
    """Decode a prompt to its end and return the whole decode as a trace.

    Parameters
    ----------
    model, prompt, draft, gamma, sampling
        As in `decode`.
    dense : int or None
        γ_max: record a draft of so many tokens, and its verification, at every committed position, so that
        any γ ≤ γ_max can be replayed. It costs a pass of the target per token and needs a draft that always
        proposes, such as a model. None records the decode as it runs, with `gamma`.
    scores : bool
        Record the routers' scores of the 2·top-k best experts, too.
    channels : sequence of str
        Sensor channels to record, too: "draft-gates", "next-gate"; see `decoder.channels`.
    prompt_id : str, optional
        A name of the prompt, kept in the trace.
    **options
        max_new_tokens, seed, stop_ids, stop_strings, logits_processor, tokenizer and callbacks of `decode`.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If an argument is not as expected, or the model's routing cannot be read.

    Notes
    -----
    *Greedy, dense:* the text is the target's own, and each position has what the decoder would have drafted,
    verified and accepted there for any γ. Replays are decodes, up to the rounding by which a pass over nine
    positions differs from one over three; where that decides a near tie, the committed text holds.

    *Sampled, dense:* the uniforms that draw, judge and correct a token follow from the seed and the whole
    text before it. So a row that reaches a position along the committed text decides there as every other
    row does, and what follows a rejected token is drawn afresh. The text has the target's distribution, and
    a replay whose γ follows from what it has seen so far, by any rule, is distributed as a live decode with
    that rule: drafted tokens, acceptance and text together.

    Replays of one dense recording at several γ share their text and their luck: their differences are paired,
    but they are one sample, so spread has to come from more seeds. A γ chosen by what the replay has not seen
    yet (this step's accepted length, say) biases drafted tokens and acceptance, though never the text. With
    the same seed, the text differs from that of `decode`.

    Examples
    --------
    >>> from moespac_nb import load_pair, record
    >>> target, draft = load_pair()
    >>> trace = record(target, "Once upon a time", draft=draft, dense=4, max_new_tokens=6)
    >>> len(trace), trace.texts[0].gamma_max
    (6, 4)
    """
    kind: type[Decoding] = Decoding
    if dense is not None:
        gamma, kind = checked_whole("dense", dense, least=1), DenseDecoding
    decoding = decode(model, prompt, draft=draft, gamma=gamma, sampling=sampling, kind=kind, **options)
    _check_routing(decoding)
    with Channels(decoding, scores=scores, names=channels) as recorder:
        for step in decoding:
            recorder.take(step)
    text = prompt if isinstance(prompt, str) else None
    return recorder.beside(trace_of(decoding, prompt=text, prompt_id=prompt_id))


def trace_of(decoding: Decoding, *, prompt: str | None = None, prompt_id: str | None = None) -> Trace:
    """Return what a decoding has committed so far as a trace.

    Parameters
    ----------
    decoding : Decoding
        May have been interrupted, and may go on.
    prompt : str, optional
        The prompt's text, kept in the trace.
    prompt_id : str, optional
        A name of the prompt, kept in the trace.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If nothing is decoded yet, or the model's routing cannot be read.
    """
    _check_routing(decoding)
    if decoding.prefill is None:
        raise InvalidInputError("nothing is decoded yet; expected: a decoding with at least one step")
    gamma_max = decoding.gamma if isinstance(decoding, DenseDecoding) else None
    steps = decoding.steps if gamma_max is None else _on_committed_text(decoding)
    policy, drawn = decoding.policy, vars(decoding.sampling)
    if decoding.sampling.mode == "greedy":  # its other settings are not used
        drawn = dict.fromkeys(drawn) | {"mode": "greedy"}
    text = TextInfo(
        target=_name_of(decoding.model),
        draft=None if decoding.draft is None else _draft_name(decoding.draft),
        **drawn,
        gamma=str(policy.gamma) if isinstance(policy, FixedGamma) else repr(policy),
        gamma_max=gamma_max,
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
    return replace(trace, token_strings=_token_strings(trace, decoding.tokenizer))


def _check_routing(decoding: Decoding) -> None:
    """Refuse experts that were not seen: a trace without layers is a dense model's."""
    if decoding.routing_unread is not None:
        raise InvalidInputError(
            f"the routing of {type(decoding.model).__name__} cannot be recorded: {decoding.routing_unread}; "
            "expected: models whose experts go through transformers' experts interface, and dense ones; "
            "decode gives its text"
        )


def _token_strings(trace: Trace, tokenizer: Any) -> dict[int, str]:
    """Decode each token id of the trace by itself."""
    ids = [trace.prompt_ids, trace.window, trace.committed_ids, trace.target_ids]
    ids += [trace.target_top_ids.ravel(), trace.draft_top_ids.ravel()]
    return {token: str(tokenizer.decode([token])) for token in np.unique(np.concatenate(ids)).tolist()}


def _name_of(model: Any) -> str:
    """Name a model, by the last part of its folder only: traces are shared."""
    name = str(getattr(model, "name_or_path", "") or type(model).__name__)
    return Path(name).name if Path(name).is_dir() else name


def _draft_name(draft: Draft) -> str:
    return _name_of(draft.model) if isinstance(draft, ModelDraft) else type(draft).__name__


def _on_committed_text(decoding: Decoding) -> list[Step]:
    """Return a dense decode's steps; whatever rounding did, they accept only the text's next tokens."""
    ids, rows = decoding.new_ids, []
    for step in decoding.steps:
        following = ids[step.index : step.index + step.accepted]
        accepted = common_prefix(step.drafted[: step.accepted].tolist(), following)
        rows.append(step if accepted == len(following) else replace(step, accepted=accepted))
    return rows
