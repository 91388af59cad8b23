"""Where the time of a decode went, and what was counted meanwhile."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field

from .placement import Counters

__all__ = ["PhaseStats", "TimeBreakdown"]


@dataclass
class TimeBreakdown:
    """Where the time went, in seconds on the device's clock: a window's parts add up to all of it.

    Where time is real, what the caller does between two calls belongs to the draft or to the dense part,
    with the bookkeeping around it.

    Attributes
    ----------
    draft_s : float
        The draft drafted, or read a prompt.
    planning_s : float
        The policy planned.
    dense_s : float
        The target computed outside its experts.
    experts_s : float
        Experts were computed from slots.
    cpu_wait_s : float
        All but the CPU lane was through.
    link_wait_s : float
        All was through but experts whose copies had not completed.
    """

    draft_s: float = 0.0
    planning_s: float = 0.0
    dense_s: float = 0.0
    experts_s: float = 0.0
    cpu_wait_s: float = 0.0
    link_wait_s: float = 0.0

    @property
    def total_s(self) -> float:
        """The sum of all parts."""
        return float(sum(astuple(self)))


@dataclass
class PhaseStats:
    """What is counted and timed: on its own for prompts, for decoding, and for passes apart from both."""

    counters: Counters = field(default_factory=Counters)
    parts: TimeBreakdown = field(default_factory=TimeBreakdown)
