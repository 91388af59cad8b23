"""Events of a replay: what the engine, its scheduler and a balancer did, in order.

A log is a plain list. `replay(..., log=log)` and `Scheduler(..., log=log)` append to it, and
`simulation.slot_history` and `simulation.balancer_log` read it. Besides the events below it holds the
`LayerDispatch` of each layer and, of a policy with a balancer, each `Candidates` table that thresholds were
chosen from.
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

import numpy as np

__all__ = ["LayerEnd", "LayerStart", "Log", "Requests", "Reset", "SlotChange", "WindowEnd", "WindowStart"]

Log: TypeAlias = list[object]


class WindowStart(NamedTuple):
    """A window opens."""

    token: int  # the last committed one


class WindowEnd(NamedTuple):
    """A window has been verified; what follows belongs to the next one."""

    scores: np.ndarray  # (layers * experts,) float32, in force until now
    tau: np.ndarray | None  # (layers,) the thresholds in force; None for a policy without


class Requests(NamedTuple):
    """A new plan asks for copies."""

    wanted: np.ndarray  # (layers, experts) bool


class LayerStart(NamedTuple):
    """A layer is about to read which experts are resident."""

    layer: int


class LayerEnd(NamedTuple):
    """All experts of a layer have computed."""

    layer: int


class Reset(NamedTuple):
    """All slots have been emptied, and the policy starts anew."""


class SlotChange(NamedTuple):
    """A copy starts, a copy has completed, or a slot is emptied."""

    slot: int
    key: int  # layer * experts + expert; EMPTY where the slot is emptied
    loading: bool  # True where a copy starts
    evicted: int  # the key that had to go; EMPTY for none
    score: float  # of `key`
    evicted_score: float
    demand: bool  # a copy that a layer waits for; it need not beat the score of what it evicts
