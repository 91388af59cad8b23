"""A policy is a composition: what it observes × how it scores × what it has copied × what a miss does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import numpy as np

from ..hardware.costs import Costs
from ..trace.step import MoEShape, Prefill, Step
from .log import Log
from .placement import Miss
from .slots import Slots

__all__ = ["Plan", "Planner", "Policy", "PolicyContext"]


class Plan(NamedTuple):
    """What the engine is to do, see `Engine.set_priorities`.

    Attributes
    ----------
    scores : ndarray, shape (layers, experts)
        Experts with higher scores are copied first and evicted last.
    wanted : ndarray of bool, shape (layers, experts), optional
        Experts to copy ahead; None for none.
    """

    scores: np.ndarray
    wanted: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class PolicyContext:
    """What a policy may know before it starts.

    Attributes
    ----------
    geometry : MoEShape
        The model's layers, experts and top k.
    costs : Costs
        Modelled times.
    gamma : int
        The draft length to assume.
    slots : Slots
        To be read, not changed.
    expert_usage : ndarray, shape (layers, experts), optional
        How often other texts used each expert.
    log : list, optional
        For a policy that has events to add, see `engine.log`.
    """

    geometry: MoEShape
    costs: Costs
    gamma: int
    slots: Slots
    expert_usage: np.ndarray | None = None
    log: Log | None = None


class Planner:
    """Plan for one decode, or for several in a row. This base class plans nothing.

    Each `on_` method is called at its moment and returns a new plan, or None where the last one stays.

    Parameters
    ----------
    context : PolicyContext
        What the policy may know.

    Attributes
    ----------
    available_at : {"verified", "drafted", "layer"}
        When it has a plan: after a verification; also while a window is drafted; or also in each layer.
    """

    available_at: Literal["verified", "drafted", "layer"] = "verified"

    def __init__(self, context: PolicyContext) -> None:
        self.context = context

    @property
    def tau(self) -> np.ndarray | None:
        """(layers,) the thresholds in force; None for a policy that has none."""
        return None

    def planning_s(self) -> float:
        """Return the modelled seconds of planning in one window, a constant, so that results repeat."""
        return 0.0

    def on_prefill(self, prefill: Prefill, following: Step | None = None, /) -> Plan | None:
        """Plan after a prompt has been read; `following` is the next window, if `reads_future` is set."""

    def on_draft(
        self, tokens: np.ndarray, gates: np.ndarray | None = None, complete: bool = True, /
    ) -> Plan | None:
        """Plan after a token was drafted; `tokens` are the window's so far, all of them if `complete`."""

    def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan | None:
        """Plan before the layer before this one computes; `gates` are this one's choices from its input."""

    def on_use(self, layer: int, /) -> float | None:
        """Return the new score of the experts that the layer has just used; None keeps the plan's."""

    def on_verify(self, step: Step, following: Step | None = None, /) -> Plan | None:
        """Plan after a window has been verified; `following` is the next one, if `reads_future` is set."""


@dataclass(frozen=True)
class Policy:
    """A way to choose what is copied and what is kept, before it starts.

    Parameters
    ----------
    name : str
        Its name in tables and on the command line.
    about : str
        One line: sensor, score, admission, miss.
    planner : callable
        Makes a `Planner` from a `PolicyContext`.
    miss : {"cpu", "load", "cheaper"}
        What a missing expert does, see `placement.MISSES`.
    slots : bool, default True
        Whether the policy uses slots.
    reads_future : bool, default False
        A bound, not a policy to compare with: it is refused where no future is recorded.
    needs_expert_usage : bool, default False
        Whether it needs to know how often other texts used each expert.

    Examples
    --------
    >>> from moespac_nb import get_policy
    >>> policy = get_policy("recency")
    >>> isinstance(policy, Policy), policy.name
    (True, 'recency')
    """

    name: str
    about: str
    planner: Callable[[PolicyContext], Planner]
    miss: Miss = "cpu"
    slots: bool = True
    reads_future: bool = False
    needs_expert_usage: bool = False

    def missing(self, miss: Miss, name: str | None = None) -> Policy:
        """Return the same policy with another way to handle a miss.

        Parameters
        ----------
        miss : {"cpu", "load", "cheaper"}
            See `placement.MISSES`.
        name : str, optional
            By default both names, such as "recency+load".

        Returns
        -------
        Policy

        Examples
        --------
        >>> from moespac_nb.policies import get_policy
        >>> get_policy("recency").missing("load").name
        'recency+load'
        """
        return replace(self, miss=miss, name=name or f"{self.name}+{miss}")
