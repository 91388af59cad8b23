"""Baseline policies: no slots, least recently used, static, recency, and the next-window oracle."""

from __future__ import annotations

import numpy as np

from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..trace.step import Prefill, Step
from ..utils.exceptions import InvalidInputError

__all__ = ["CPU_ONLY", "NEXT_WINDOW_ORACLE", "ON_DEMAND", "RECENCY", "STATIC_HOT"]


class LeastRecentlyUsed(Planner):
    """Experts are worth the time of their last use, as soon as they are used. Nothing is copied ahead."""

    def __init__(self, setting: PolicyContext) -> None:
        super().__init__(setting)
        self._events = 0

    def on_use(self, _layer: int, /) -> float:
        self._events += 1
        return float(self._events)


class StaticHot(Planner):
    """Experts are worth how often other texts used them, and the best are copied at once, for good."""

    def __init__(self, setting: PolicyContext) -> None:
        super().__init__(setting)
        if setting.expert_usage is None:
            raise InvalidInputError(
                "policy 'static-hot' was given no profile; expected: how often other texts used each expert, "
                "(layers, experts), such as those of a domain's half to tune on"
            )
        self._scores = setting.expert_usage / max(float(setting.expert_usage.max()), 1e-300)

    def on_prefill(self, _prefill: Prefill, _following: Step | None = None, /) -> Plan:
        # Only what beats the weakest resident is copied: wanting all fills the slots, and then stops.
        return Plan(self._scores, self._scores > 0)


class Recency(Planner):
    """Experts are worth the number of the last window that used them; what the last window used is copied."""

    def __init__(self, setting: PolicyContext) -> None:
        super().__init__(setting)
        self._last = np.zeros((setting.geometry.layers, setting.geometry.experts))
        self._windows = 0.0

    def plan_s(self) -> float:
        return (
            0.1 * self.setting.costs.plan_s
        )  # measured beside estimator and balancer, see tools/bench/replay.py

    def on_prefill(self, prefill: Prefill, _following: Step | None = None, /) -> Plan | None:
        return self._order(last_window(prefill, self.setting)) if len(prefill.ids) else None

    def on_verify(self, step: Step, _following: Step | None = None, /) -> Plan:
        return self._order(step.counts)

    def _order(self, counts: np.ndarray) -> Plan:
        self._windows += 1
        used = counts > 0
        self._last[used] = self._windows
        return Plan(self._last, used)


class NextWindow(Planner):
    """What the next window uses goes first; within that, and for the rest, how often an expert has been used.

    No sensor can tell more of the next window. Of the windows after it this knows no more than anyone, so
    over a short text another policy may happen to be ahead.
    """

    memory = 0.05  # the weight of the newest window in how often

    def __init__(self, setting: PolicyContext) -> None:
        super().__init__(setting)
        self._often = np.zeros((setting.geometry.layers, setting.geometry.experts))

    def on_prefill(self, _prefill: Prefill, following: Step | None = None, /) -> Plan | None:
        return None if following is None else self._order(following)

    def on_verify(self, step: Step, following: Step | None = None, /) -> Plan | None:
        self._often += self.memory * ((step.counts > 0) - self._often)
        return None if following is None else self._order(following)

    def _order(self, following: Step) -> Plan:
        needed = following.counts > 0
        return Plan(needed + self._often, needed)


def last_window(prefill: Prefill, setting: PolicyContext) -> np.ndarray:
    """Counts of a prompt's end, as if it had been a window: (layers, experts)."""
    from ..trace.step import expert_counts

    return expert_counts(prefill.experts[-(setting.gamma + 1) :], setting.geometry.experts)


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
    Recency,
)
NEXT_WINDOW_ORACLE = Policy(
    "next-window-oracle",
    "reads the future: the next window's experts are copied, others kept by how often; misses on the CPU",
    NextWindow,
    reads_future=True,
)
