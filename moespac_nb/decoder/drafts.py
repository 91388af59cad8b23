"""Drafts, which propose the tokens that the target verifies: a smaller model, or the text itself.

A draft is a pure function of the committed ids; what it keeps between calls only saves work. So a rejected
token, an interrupt or another text needs no message to it. Knows nothing of the target.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from ..models.kv_cache import CachedModel
from ..models.loading import check_is_whole_model, check_same_tokenizer, tokens_of, vocabulary_of
from ..utils.exceptions import InvalidInputError
from .logits import NO_PROCESSORS, Processors
from .sampling import Sampling, check_finite, common_prefix, draw, probabilities
from .stops import Stops


@dataclass(frozen=True, eq=False)
class Proposal:
    """Drafted tokens of one step.

    Parameters
    ----------
    ids : Tensor, (m,)
        At most γ token ids.
    probs : Tensor, (m, vocabulary)
        The distributions q that they were chosen from.
    """

    ids: Tensor
    probs: Tensor

    def of_its_ids(self, probs: Tensor) -> np.ndarray:
        """Return the probability of each drafted token.

        Parameters
        ----------
        probs : Tensor, (m or more, vocabulary)
            A distribution for each drafted token, in the first m rows.

        Returns
        -------
        ndarray, (m,)
        """
        return probs[: len(self.ids)].gather(-1, self.ids[:, None]).squeeze(-1).cpu().numpy()


@runtime_checkable
class Draft(Protocol):
    """What the decoder expects of a draft."""

    def prefill(self, ids: Sequence[int], /) -> None:
        """Read the prompt before the first proposal; may do nothing.

        Parameters
        ----------
        ids : sequence of int
            The prompt without its last token.
        """

    def propose(
        self, ids: Sequence[int], uniforms: np.ndarray, sampling: Sampling, vocabulary: int, /
    ) -> Proposal:
        """Propose tokens that follow the ids.

        Parameters
        ----------
        ids : sequence of int
            The whole text: prompt and committed tokens.
        uniforms : array, (γ,)
            In [0, 1), for what is random: the same uniforms draft the same tokens.
        sampling : Sampling
        vocabulary : int
            Number of the target's token ids.

        Returns
        -------
        Proposal
            At most one token for each uniform, each chosen given the ones before it.
        """


@runtime_checkable
class TokenDraft(Draft, Protocol):
    """Draft that yields each token as soon as it is chosen."""

    def tokens(
        self, ids: Sequence[int], uniforms: np.ndarray, sampling: Sampling, vocabulary: int, /
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the tokens that `propose`, with the same arguments, returns at once.

        Yields
        ------
        id : int
        q : Tensor, (vocabulary,)
            The distribution that it was chosen from.
        """


class ModelDraft:
    """A smaller transformers model as draft; it stops after a stop token.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Has the target's tokenizer. Its vocabulary may be padded to another size than the target's: no id
        beyond the tokenizer is drafted.
    stop_ids : collection of int
        Nothing is drafted after any of these tokens.
    processors : Processors
        Applied to its logits as to the target's.
    """

    def __init__(
        self, model: Any, stop_ids: Collection[int] = (), processors: Processors = NO_PROCESSORS
    ) -> None:
        self.model = model
        self._stop_ids = stop_ids
        self._processors = processors
        self._vocabulary = vocabulary_of(model)
        self._tokens = tokens_of(model)
        self._cached = CachedModel(model)
        self._read: list[int] = []  # the ids last given to `_cached`, which may hold fewer

    @property
    def is_reading(self) -> bool:
        """Whether this thread is in a pass for this draft; for hooks, which also run in other passes."""
        return self._cached.is_reading

    def prefill(self, ids: Sequence[int], /) -> None:
        """Read the prompt, as far as the model's context goes."""
        ids = ids[: self._cached.context]
        self._crop_to_common_prefix(ids, len(ids))
        unread = ids[self._cached.length :]
        if unread and max(unread) < self._vocabulary:
            self._read = list(ids)
            self._cached.forward(unread, logits_to_keep=1)

    def propose(
        self, ids: Sequence[int], uniforms: np.ndarray, sampling: Sampling, vocabulary: int, /
    ) -> Proposal:
        """Propose at most one token for each uniform; see `Draft.propose`."""
        return gathered(self.tokens(ids, uniforms, sampling, vocabulary), vocabulary)

    def tokens(
        self, ids: Sequence[int], uniforms: np.ndarray, sampling: Sampling, vocabulary: int, /
    ) -> Iterator[tuple[int, Tensor]]:
        """Yield the proposed tokens one by one; see `TokenDraft.tokens`."""
        gamma = min(len(uniforms), self._cached.context - len(ids) + 1)
        if gamma <= 0:  # a draft with a shorter context than its target falls silent
            return
        self._crop_to_common_prefix(ids, len(ids) - 1)
        new = ids[self._cached.length :]
        if max(new) >= self._vocabulary:  # a token that only the target knows: it cannot read on
            return
        unread = torch.as_tensor(new, device=self._cached.device)
        self._read = list(ids)
        for uniform in uniforms[:gamma]:
            raw = self._cached.forward(unread, logits_to_keep=1)
            logits = self._processors(self._read, self._as_the_targets(raw, vocabulary))
            check_finite(logits, "the draft", raw.dtype)
            q = probabilities(logits[0], sampling)
            token = q.argmax(-1) if sampling.mode == "greedy" else draw(q, float(uniform))
            unread = token[None]
            self._read.append(int(token))
            yield self._read[-1], q
            if self._read[-1] in self._stop_ids:
                return

    def _as_the_targets(self, logits: Tensor, vocabulary: int) -> Tensor:
        """Logits of the target's vocabulary: what the tokenizer has no token for is ruled out."""
        known = logits[:, : min(self._tokens, vocabulary)]
        return torch.nn.functional.pad(known, (0, vocabulary - known.shape[-1]), value=-math.inf)

    def _crop_to_common_prefix(self, ids: Sequence[int], at_most: int) -> None:
        held = self._read[: self._cached.length]
        self._cached.crop(min(common_prefix(held, ids), at_most))


class NgramDraft:
    """Prompt lookup: propose what followed the latest earlier occurrence of the text's last tokens.

    Parameters
    ----------
    max_ngram, min_ngram : int
        It looks for the last `max_ngram` tokens first, then for fewer, down to `min_ngram`.

    Raises
    ------
    InvalidInputError
        Unless 1 ≤ min_ngram ≤ max_ngram.

    References
    ----------
    A. Saxena, "Prompt Lookup Decoding", 2023, github.com/apoorvumang/prompt-lookup-decoding.

    Examples
    --------
    >>> draft = NgramDraft()
    >>> draft.propose([5, 6, 7, 8, 5, 6], np.zeros(2), Sampling(), 10).ids.tolist()
    [7, 8]
    """

    def __init__(self, max_ngram: int = 3, min_ngram: int = 1) -> None:
        if not 1 <= min_ngram <= max_ngram:
            raise InvalidInputError(
                f"max_ngram is {max_ngram}, min_ngram {min_ngram}; expected: 1 ≤ min_ngram ≤ max_ngram"
            )
        self.max_ngram = max_ngram
        self.min_ngram = min_ngram

    def prefill(self, _ids: Sequence[int], /) -> None:
        """Do nothing: there is no model to prepare."""

    def propose(
        self, ids: Sequence[int], uniforms: np.ndarray, _sampling: Sampling, vocabulary: int, /
    ) -> Proposal:
        """Propose at most one token for each uniform; see `Draft.propose`. Nothing is random."""
        text = np.asarray(ids)
        for n in range(min(self.max_ngram, len(text) - 1), self.min_ngram - 1, -1):
            grams = np.lib.stride_tricks.sliding_window_view(text[:-1], n)
            matches = np.flatnonzero((grams == text[-n:]).all(axis=1))
            if len(matches):
                start = matches[-1] + n
                drafted = torch.as_tensor(text[start : start + len(uniforms)])
                return Proposal(drafted, torch.nn.functional.one_hot(drafted, vocabulary).float())
        return no_proposal(vocabulary)


def gathered(tokens: Iterable[tuple[int, Tensor]], vocabulary: int) -> Proposal:
    """Collect drafted tokens in one proposal."""
    drafted = list(tokens)
    if not drafted:
        return no_proposal(vocabulary)
    return Proposal(torch.tensor([token for token, _ in drafted]), torch.stack([q for _, q in drafted]))


def no_proposal(vocabulary: int) -> Proposal:
    """Return an empty proposal: the step is plain decoding."""
    return Proposal(torch.empty(0, dtype=torch.int64), torch.empty(0, vocabulary))


def checked_ids(proposal: Proposal, vocabulary: int) -> list[int]:
    """Return the drafted ids.

    Raises
    ------
    InvalidInputError
        If the target cannot read them, or probabilities have another shape.
    """
    drafted: list[int] = proposal.ids.tolist()
    if proposal.probs.shape != (len(drafted), vocabulary) or not all(
        0 <= id_ < vocabulary for id_ in drafted
    ):
        raise InvalidInputError(
            f"the draft proposed ids {drafted} and probabilities of shape {tuple(proposal.probs.shape)}; "
            f"expected: ids from 0 to {vocabulary - 1}, and a row of {vocabulary} probabilities for each"
        )
    return drafted


def draft_of(model: Any, draft: Any, stops: Stops, processors: Processors) -> Draft | None:
    """Return the draft itself; a model as a `ModelDraft`.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        The target.
    draft : transformers.PreTrainedModel, Draft or None
    stops : Stops
        Nothing is drafted after a stop token.
    processors : Processors
        Applied to the draft's logits as to the target's.

    Returns
    -------
    Draft or None

    Raises
    ------
    InvalidInputError
        If it is anything else, or has another tokenizer than the target.
    """
    if draft is None or isinstance(draft, Draft):
        return draft
    if not isinstance(draft, torch.nn.Module):
        raise InvalidInputError(
            f"draft is {draft!r}; expected: a model, a draft such as NgramDraft(), or None"
        )
    check_is_whole_model("draft", draft)
    check_same_tokenizer(model, draft)
    return ModelDraft(draft, stops.ids, processors)
