"""Baseline policies: no slots, least recently used, static, recency, and the next-window oracle."""

from __future__ import annotations

import numpy as np

from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..trace.step import Prefill, Step, expert_counts
from ..utils.exceptions import InvalidInputError

__all__ = ["CPU_ONLY", "NEXT_WINDOW_ORACLE", "ON_DEMAND", "RECENCY", "STATIC_HOT"]


class LeastRecentlyUsed(Planner):
    """Score experts by the time of their last use, as soon as they are used. Nothing is copied ahead."""

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        self._uses = 0

    def on_use(self, _layer: int, /) -> float:
        """Return the number of layers that have computed so far."""
        self._uses += 1
        return float(self._uses)


class StaticHot(Planner):
    """Score experts by how often other texts used them; the best are copied at once, for good."""

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        usage = context.expert_usage
        if usage is None:
            raise InvalidInputError(
                "policy 'static-hot' was given no profile; expected: how often other texts used each expert, "
                "(layers, experts), such as those of a domain's half to tune on"
            )
        # Only what beats the weakest resident is copied: wanting all fills the slots, and then stops.
        self._plan = Plan(usage / max(float(usage.max()), 1e-300), usage > 0)

    def on_prefill(self, _prefill: Prefill, _following: Step | None = None, /) -> Plan:
        """Return the plan for all texts."""
        return self._plan


class RecentWindows(Planner):
    """Score experts by the last window that used them; what the last window used is copied.

    Each verified position counts, rejected ones too; the sensor "recency" goes by committed tokens.
    """

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        self._last_window = np.zeros((context.geometry.layers, context.geometry.experts))
        self._windows = 0

    def planning_s(self) -> float:
        """Return a tenth of the paper's planning, as measured by tools/bench/replay.py."""
        return 0.1 * self.context.costs.planning_s

    def on_prefill(self, prefill: Prefill, _following: Step | None = None, /) -> Plan | None:
        """Plan by the end of the prompt, as if it had been a window."""
        return self._plan(last_window(prefill, self.context)) if len(prefill.ids) else None

    def on_verify(self, step: Step, _following: Step | None = None, /) -> Plan:
        """Plan by the window."""
        return self._plan(step.counts)

    def _plan(self, counts: np.ndarray) -> Plan:
        self._windows += 1
        used = counts > 0
        self._last_window[used] = self._windows
        return Plan(self._last_window, used)


class NextWindow(Planner):
    """Score what the next window uses highest; then, and for the rest, by how often an expert has been used.

    No sensor can tell more of the next window. Of the windows after it this knows no more than any policy, so
    over a short text another policy may happen to be ahead.
    """

    memory = 0.05  # the weight of the newest window in how often

    def __init__(self, context: PolicyContext) -> None:
        super().__init__(context)
        self._often = np.zeros((context.geometry.layers, context.geometry.experts))

    def on_prefill(self, _prefill: Prefill, following: Step | None = None, /) -> Plan | None:
        """Plan for the first window."""
        return self._plan(following)

    def on_verify(self, step: Step, following: Step | None = None, /) -> Plan | None:
        """Plan for the next window."""
        self._often += self.memory * ((step.counts > 0) - self._often)
        return self._plan(following)

    def _plan(self, following: Step | None) -> Plan | None:
        if following is None:
            return None
        needed = following.counts > 0
        return Plan(needed + self._often, needed)


def last_window(prefill: Prefill, context: PolicyContext) -> np.ndarray:
    """Return the counts of a prompt's end, as if it had been a window: (layers, experts)."""
    return expert_counts(prefill.experts[-(context.gamma + 1) :], context.geometry.experts)


CPU_ONLY = Policy("cpu-only", "no slots: every expert on the CPU lane", Planner, slots=False)
ON_DEMAND = Policy(
    "on-demand",
    "least recently used over one pool; a miss is copied and waited for",
    LeastRecentlyUsed,
    miss="load",
)
STATIC_HOT = Policy(
    "static-hot",
    "what other texts used most, copied once; misses on the CPU lane",
    StaticHot,
    needs_expert_usage=True,
)
RECENCY = Policy(
    "recency",
    "the last window's experts are copied, and kept by recency; misses on the CPU lane",
    RecentWindows,
)
NEXT_WINDOW_ORACLE = Policy(
    "next-window-oracle",
    "reads the future: the next window's experts are copied, others kept by how often; misses on the CPU",
    NextWindow,
    reads_future=True,
)
