"""Composed policies: a sensor's evidence, a rule that makes utility of it, thresholds that say what is hot.

    compose_policy("spac-joint", sensor="verify-counts", rule="paper", admission="joint")
    compose_policy("mine", sensor="token-table", rule="ema", admission=2, miss="cheaper")  # τ = 2 everywhere

An expert is worth its utility s; those with s ≥ τ, of their layer, are copied.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..balancer import Balancer, LaneTimes
from ..balancer.balancer import FORMULATIONS
from ..engine.placement import Miss
from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..estimator.sensors import SENSORS, make_sensor
from ..estimator.utility import RULES, make_estimator
from ..trace.step import Prefill, Step
from ..utils.exceptions import InvalidInputError, did_you_mean
from ..utils.validation import check_choice
from .baselines import last_window

__all__ = ["SPAC_JOINT", "SPAC_PAPER", "compose_policy"]


@dataclass(frozen=True)
class Composition:
    """What a composed policy is made of."""

    sensor: str
    rule: str
    admission: str | int  # how τ is found: a formulation of the balancer, or the same τ in every layer
    K: int
    options: tuple[tuple[str, float], ...] = ()  # of the rule

    def __call__(self, context: PolicyContext) -> Planner:
        return ComposedPlanner(context, self)


class ComposedPlanner(Planner):
    """Ask sensor, estimator and balancer, each at its moment."""

    def __init__(self, context: PolicyContext, parts: Composition) -> None:
        super().__init__(context)
        geometry = context.geometry
        self._sensor = make_sensor(parts.sensor, geometry)
        options = {**dict(parts.options), "K": parts.K, "gamma": context.gamma}
        self._estimator = make_estimator(parts.rule, geometry.layers, geometry.experts, **options)
        self._balancer: Balancer | None = None
        tau = parts.admission
        if isinstance(tau, str):
            formulation: Any = tau
            self._balancer = Balancer(geometry.layers, parts.K, formulation=formulation, log=context.log)
            self._times, tau = LaneTimes.of(context.costs, context.gamma), 1
        self._tau = np.full((geometry.layers, 1), tau)
        self.available_at = self._sensor.available_at

    @property
    def tau(self) -> np.ndarray:
        """(layers,) the thresholds in force."""
        return self._tau[:, 0]

    def planning_s(self) -> float:
        """Return the modelled seconds of sensor, estimator and balancer in one window."""
        # A machine's planning_s is of estimator and balancer together.
        overhead_s = self.context.costs.planning_s if self._balancer else self._estimator.overhead_s
        return overhead_s + self._sensor.cost_s(self.context.gamma)

    def on_prefill(self, prefill: Prefill, _following: Step | None = None, /) -> Plan | None:
        """Begin a text."""
        evidence = self._sensor.on_prefill(prefill)
        if evidence is None and self.available_at == "verified" and len(prefill.ids):
            # The end of the prompt stands for the window before the first.
            evidence = last_window(prefill, self.context)
        return self._plan(evidence)

    def on_draft(
        self, tokens: np.ndarray, gates: np.ndarray | None = None, complete: bool = True, /
    ) -> Plan | None:
        """Plan by the draft."""
        # A rule with a memory must take in a window once; one without follows the draft as it grows.
        if not complete and (len(tokens) < 2 or self._estimator.rule != "last-count"):
            return None
        return self._plan(self._sensor.on_draft(tokens, gates), balance=complete)

    def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan | None:
        """Plan by what is known of the next layer."""
        evidence = self._sensor.on_layer(layer, gates)
        if evidence is None:
            return None
        s = self._estimator.s
        self._estimator.update(evidence, layer)
        return Plan(s, s >= self._tau)

    def on_verify(self, step: Step, _following: Step | None = None, /) -> Plan | None:
        """Learn from a window, and plan the next one."""
        if self._balancer is not None:
            self._balancer.observe(self._estimator.s, step.counts)
        return self._plan(self._sensor.on_verify(step))

    def _plan(self, evidence: np.ndarray | None, balance: bool = True) -> Plan | None:
        if evidence is None:
            return None
        s = self._estimator.update(evidence)
        if balance and self._balancer is not None:
            self._tau = self._thresholds(self._balancer, s)[:, None]
        return Plan(s, s >= self._tau)

    def _thresholds(self, balancer: Balancer, s: np.ndarray) -> np.ndarray:
        slots, geometry = self.context.slots, self.context.geometry
        return balancer.thresholds(
            s,
            ~slots.absent.reshape(s.shape),
            slots=max(slots.count(), 1),
            times=self._times,
            pairs=(self.context.gamma + 1) * geometry.top_k,
        ).tau


def compose_policy(
    name: str,
    *,
    sensor: str = "verify-counts",
    rule: str = "paper",
    admission: str | int = "joint",
    miss: Miss = "cpu",
    K: int = 4,
    about: str = "",
    **options: float,
) -> Policy:
    """Compose a policy of a sensor, a utility rule and a way to find thresholds.

    Parameters
    ----------
    name : str
        The new policy's name.
    sensor : str, default "verify-counts"
        One of `SENSORS`.
    rule : str, default "paper"
        One of `RULES`.
    admission : {"joint", "per-layer", "per-layer-difference"} or int
        A formulation of the balancer, or one τ for every layer.
    miss : {"cpu", "load", "cheaper"}
        What a missing expert does, see `placement.MISSES`.
    K : int, default 4
        The highest utility.
    about : str, optional
        One line about the policy; by default its parts.
    **options : float
        Options of the rule.

    Returns
    -------
    Policy

    Raises
    ------
    MoespacError
        A part is unknown, or τ is out of range.

    Examples
    --------
    >>> compose_policy("mine", rule="last-count", admission=2, miss="cheaper").about
    'verify-counts × last-count × τ = 2 × cheaper'
    """
    check_choice("sensor", sensor, SENSORS)
    check_choice("rule", rule, RULES)
    if isinstance(admission, str) and admission not in FORMULATIONS:
        raise InvalidInputError(
            f"admission is {admission!r}; expected: {', '.join(FORMULATIONS)}, or one τ for every layer"
            + did_you_mean(admission, FORMULATIONS)
        )
    if isinstance(admission, int) and not 1 <= admission <= K:
        raise InvalidInputError(f"admission is {admission}; expected: τ from 1 to K = {K}, or a formulation")
    threshold = admission if isinstance(admission, str) else f"τ = {admission}"
    parts = Composition(sensor, rule, admission, K, tuple(options.items()))
    return Policy(name, about or f"{sensor} × {rule} × {threshold} × {miss}", parts, miss=miss)


SPAC_PAPER = compose_policy(
    "spac-paper",
    admission="per-layer-difference",
    about="the paper's counts, its printed rule and its balancer, a layer at a time; misses on the CPU lane",
)
SPAC_JOINT = compose_policy(
    "spac-joint",
    about="the same utility, with one integer program over all layers for thresholds; misses on the CPU lane",
)
