"""Draft length: how many tokens the next round drafts."""

from __future__ import annotations

from dataclasses import dataclass

from ..trace.step import GammaPolicy, Step
from ..utils.exceptions import MoespacError
from ..utils.validation import checked_whole

__all__ = ["AdaptiveGamma", "FixedGamma", "gamma_policy"]


@dataclass(frozen=True)
class FixedGamma:
    """The same draft length each round."""

    gamma: int

    def next_gamma(self, _last_step: Step | None, /) -> int:
        return self.gamma


@dataclass(frozen=True)
class AdaptiveGamma:
    """Two more after a round that accepted everything, one less after any other; within [low, high]."""

    low: int = 1
    high: int = 16

    def __post_init__(self) -> None:
        if not 0 <= self.low <= self.high:
            raise MoespacError(f"low is {self.low}, high {self.high}; expected: 0 ≤ low ≤ high")

    def next_gamma(self, last_step: Step | None, /) -> int:
        if last_step is None:
            return self.low
        wanted = last_step.gamma + (2 if last_step.accepted == last_step.gamma else -1)
        return min(max(wanted, self.low), self.high)


def gamma_policy(gamma: int | GammaPolicy) -> GammaPolicy:
    """The policy itself; a number as one."""
    if isinstance(gamma, GammaPolicy):
        return gamma
    return FixedGamma(checked_whole("gamma", gamma, least=0))
