"""Draft length: how many tokens the next round drafts."""

from __future__ import annotations

from dataclasses import dataclass

from ..trace.step import GammaPolicy, Step
from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole

__all__ = ["AdaptiveGamma", "FixedGamma", "gamma_policy"]


@dataclass(frozen=True)
class FixedGamma:
    """The same draft length in every step.

    Parameters
    ----------
    gamma : int
        Tokens drafted per step.
    """

    gamma: int

    def next_gamma(self, _last_step: Step | None, /) -> int:
        """Return `gamma`, whatever the last step was."""
        return self.gamma


@dataclass(frozen=True)
class AdaptiveGamma:
    """Draft two tokens more after a step that accepted all of them, one less after any other.

    It is the heuristic schedule of transformers' assisted generation, kept within `low` and `high`.

    Parameters
    ----------
    low, high : int
        Smallest and largest draft length, in tokens; the first step drafts `low`.

    Raises
    ------
    InvalidInputError
        Unless 0 ≤ low ≤ high.

    Examples
    --------
    >>> AdaptiveGamma(low=2, high=8).next_gamma(None)
    2
    """

    low: int = 1
    high: int = 16

    def __post_init__(self) -> None:
        """Check the bounds."""
        if not 0 <= self.low <= self.high:
            raise InvalidInputError(f"low is {self.low}, high {self.high}; expected: 0 ≤ low ≤ high")

    def next_gamma(self, last_step: Step | None, /) -> int:
        """Choose the next step's draft length.

        Parameters
        ----------
        last_step : Step or None
            None before the first step.

        Returns
        -------
        int
            In tokens.
        """
        if last_step is None:
            return self.low
        gamma = last_step.gamma + (2 if last_step.accepted == last_step.gamma else -1)
        return min(max(gamma, self.low), self.high)


def gamma_policy(gamma: int | GammaPolicy) -> GammaPolicy:
    """Return the policy itself; a number as a `FixedGamma`.

    Parameters
    ----------
    gamma : int or GammaPolicy
        Draft length in tokens, or what chooses it.

    Returns
    -------
    GammaPolicy

    Raises
    ------
    InvalidInputError
        If it is neither.
    """
    if isinstance(gamma, GammaPolicy):
        return gamma
    return FixedGamma(checked_whole("gamma", gamma, least=0))
