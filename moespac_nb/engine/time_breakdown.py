"""Where the time of a decode went, and what was counted meanwhile."""

from __future__ import annotations

from dataclasses import dataclass, fields

from .placement import Counters

__all__ = ["PhaseStats", "TimeBreakdown"]


@dataclass
class TimeBreakdown:
    """Where the time went, in seconds on the device's clock: a window's add up to all of it.

    Where time is real, what the caller does between two calls is the draft's or the dense part's, with the
    bookkeeping around it.
    """

    draft_s: float = 0.0
    plan_s: float = 0.0  # the policy thought
    dense_s: float = 0.0  # the target outside its experts
    experts_s: float = 0.0  # experts computed from slots
    cpu_wait_s: float = 0.0  # all but the CPU lane was through
    link_wait_s: float = 0.0  # everything was through but experts whose copies had not come

    @property
    def total_s(self) -> float:
        return float(sum(getattr(self, field.name) for field in fields(self)))


class PhaseStats:
    """What is counted and timed: on its own for prompts, for decoding, and for passes apart from both."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.parts = TimeBreakdown()
