"""A policy is a composition: what it observes × how it scores × what it has copied × what a miss does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ..hardware.cost_model import Costs
from ..trace.step import MoEShape, Prefill, Step
from .log import Log
from .placement import Miss
from .slots import Slots

__all__ = ["Plan", "Planner", "Policy", "PolicyContext"]


class Plan(NamedTuple):
    """What the engine is to do: see `Engine.set_priorities`."""

    scores: np.ndarray  # (layers, experts), higher is kept, and copied, first
    wanted: np.ndarray | None = None  # (layers, experts) bool, what to copy; None for nothing


@dataclass(frozen=True, eq=False)
class PolicyContext:
    """What a policy may know before it starts."""

    geometry: MoEShape
    costs: Costs
    gamma: int  # the draft length to reckon with
    slots: Slots  # to be read, not changed
    profile: np.ndarray | None = None  # (layers, experts): how often experts were used in other texts
    log: Log | None = None  # for a policy that has something to add to it


class Planner:
    """A policy at work on one decode, or on several in a row. This one wants nothing and keeps nothing.

    Each method is asked at its moment and gives a new order, or None where the old one holds.
    """

    known: Literal["verified", "drafted", "layer"] = "verified"  # which moments it has something to say at

    def __init__(self, setting: PolicyContext) -> None:
        self.setting = setting

    @property
    def tau(self) -> np.ndarray | None:
        """(layers,) the thresholds in force; None for a policy that has none."""
        return None

    def plan_s(self) -> float:
        """Seconds it thinks in one window: a calibrated constant, so that results can be made again."""
        return 0.0

    def on_prefill(self, prefill: Prefill, following: Step | None = None, /) -> Plan | None:
        """A prompt has been read. following: the window to come, for who says that it reads the future."""

    def on_draft(
        self, tokens: np.ndarray, gates: np.ndarray | None = None, complete: bool = True, /
    ) -> Plan | None:
        """The window stands, or so much of it: its first token and those drafted so far."""

    def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan | None:
        """The layer before is about to compute: what this one's gate makes of its input."""

    def on_use(self, layer: int, /) -> float | None:
        """The score that the experts just used have from now on; None: what the last order said."""

    def on_verify(self, step: Step, following: Step | None = None, /) -> Plan | None:
        """A window has been verified."""


@dataclass(frozen=True)
class Policy:
    """A contestant, before it starts."""

    name: str
    about: str  # in a line: sensor, score, admission, miss
    planner: Callable[[PolicyContext], Planner]
    miss: Miss = "cpu"
    slots: bool = True  # whether it has any use for them
    reads_future: bool = False  # a bound and no contestant: refused where there is no recorded future
    needs_profile: bool = False  # it must be told how often experts were used in other texts

    def missing(self, miss: Miss, name: str | None = None) -> Policy:
        """The same with another way with a miss."""
        return replace(self, miss=miss, name=name or f"{self.name}+{miss}")
