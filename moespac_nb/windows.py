"""How a window is drafted, and how much of what it accepts is committed: what can be swapped in a round.

    decode(model, prompt, draft=draft)                  # Speculation(): γ by the policy, all that is accepted
    decode(model, prompt, draft=draft, windows=Fan(8))  # a draft of 8 at every position, one token committed

An object with these two methods is all it takes. It keeps nothing, so a round that an interrupt took back
comes out the same. Verifying and accepting in between are the decoder's, and so is losslessness.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np
import torch

from .drafts import Proposal, no_proposal
from .errors import MoespacError

if TYPE_CHECKING:
    from .decoding import Decoding

__all__ = ["Fan", "Speculation", "Windows"]


@runtime_checkable
class Windows(Protocol):
    """What the decoder asks each round."""

    def draft(self, decoding: Decoding, ids: Sequence[int], /) -> tuple[Proposal, np.ndarray]:
        """What is proposed to follow the committed ids, and the uniforms (γ+1,) in [0, 1) that judge it.

        At most `decoding.room` tokens. The last uniform draws the round's own token.
        """

    def commit(self, decoding: Decoding, emitted: list[int], /) -> list[int]:
        """The start of what the round emitted, at least one token, that the text grows by."""


class Speculation:
    """Speculative decoding: as many tokens as the policy says, and the text grows by all that is accepted.

    A round's randomness follows from the seed and its number alone.
    """

    def draft(self, decoding: Decoding, ids: Sequence[int], /) -> tuple[Proposal, np.ndarray]:
        gamma = decoding.policy.next_gamma(decoding.steps[-1] if decoding.steps else None)
        gamma = max(0, min(gamma, decoding.room)) if decoding.draft else 0
        rng = np.random.default_rng((decoding.seed, len(decoding.steps)))
        uniforms = rng.random(2 * gamma + 1)
        if decoding.draft is None or gamma == 0:
            proposal = no_proposal(decoding.vocabulary)
        else:
            proposal = decoding.propose(ids, uniforms[:gamma])
        return proposal, uniforms[gamma : gamma + len(proposal.ids) + 1]

    def commit(self, decoding: Decoding, emitted: list[int], /) -> list[int]:
        return emitted[: decoding.stops.end(decoding.ids, emitted)]


@dataclass(frozen=True)
class Fan:
    """γ_max tokens at every position, of which one is committed: the next round goes on behind it.

    The uniforms of a token follow from the seed and the whole text before it, see `recording.record`.
    """

    gamma: int

    def draft(self, decoding: Decoding, ids: Sequence[int], /) -> tuple[Proposal, np.ndarray]:
        """One token after another, each with the uniforms that belong to the text before it."""
        if decoding.draft is None:
            raise MoespacError(f"fan is {self.gamma} and draft is None; accepted: a fan with a draft")
        text, wanted = list(ids), min(self.gamma, decoding.room)
        # The round's own token is committed only where it comes first, right behind the ids.
        *_, own = self.uniforms(decoding.seed, text)
        proposals, judging = [no_proposal(decoding.vocabulary)], []
        for drafted in range(wanted):
            draws, judges, _ = self.uniforms(decoding.seed, text)
            one = decoding.draft.propose(text, np.array([draws]), decoding.sampling, decoding.vocabulary)
            if not len(one.ids):
                raise MoespacError(
                    f"the draft proposed {drafted} tokens at position {len(ids) - 1}; accepted "
                    f"for a fan: a draft that always proposes its {wanted}, such as a model"
                )
            proposals.append(one)
            judging.append(judges)
            text.append(int(one.ids[0]))
            if text[-1] in decoding.stops.ids:
                break
        device = proposals[-1].probs.device
        whole = Proposal(
            torch.cat([one.ids.to(device) for one in proposals]),
            torch.cat([one.probs.to(device) for one in proposals]),
        )
        return whole, np.array([*judging, own])

    def commit(self, _decoding: Decoding, emitted: list[int], /) -> list[int]:
        return emitted[:1]

    def uniforms(self, seed: int, text: Sequence[int]) -> np.ndarray:
        """Of the token that follows the text: to draw it, to judge it, to draw another in its place."""
        return np.random.default_rng((seed, len(text), *text)).random(3)
