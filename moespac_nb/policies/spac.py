"""Composed policies: a sensor's evidence, a rule that makes utility of it, thresholds that say what is hot.

    compose_policy("spac-joint", sensor="verify-counts", rule="paper", admission="joint")
    compose_policy("mine", sensor="token-table", rule="ema", admission=2, miss="cheaper")  # τ = 2 everywhere

An expert is worth its utility s; those with s ≥ τ, of their layer, are copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from ..balancer import Balancer, LaneTimes
from ..balancer.balancer import FORMULATIONS
from ..engine.placement import Miss
from ..engine.policy import Plan, Planner, Policy, PolicyContext
from ..estimator.sensors import SENSORS, make_sensor
from ..estimator.utility import RULES, make_estimator
from ..trace.step import Prefill, Step
from ..utils.exceptions import InvalidInputError, did_you_mean
from .baselines import last_window

__all__ = ["SPAC_JOINT", "SPAC_PAPER", "compose_policy"]


@dataclass(frozen=True)
class Composition:
    """What a composed policy is made of."""

    sensor: str
    rule: str
    admission: str | int  # how τ is found: a formulation of the balancer, or the same τ in every layer
    K: int
    options: tuple[tuple[str, float], ...] = field(default=())  # of the rule

    def __call__(self, setting: PolicyContext) -> Planner:
        return ComposedPlanner(setting, self)


class ComposedPlanner(Planner):
    """Sensor, estimator and balancer, each at its moment."""

    def __init__(self, setting: PolicyContext, parts: Composition) -> None:
        super().__init__(setting)
        geometry = setting.geometry
        self._sensor = make_sensor(parts.sensor, geometry)
        options = {**dict(parts.options), "K": parts.K, "gamma": setting.gamma}
        self._estimator = make_estimator(parts.rule, geometry.layers, geometry.experts, **options)
        self._balancer: Balancer | None = None
        self._tau = np.full((geometry.layers, 1), parts.admission if isinstance(parts.admission, int) else 1)
        if isinstance(parts.admission, str):
            self._balancer = Balancer(
                geometry.layers,
                parts.K,
                formulation=parts.admission,  # type: ignore[arg-type]
                log=setting.log,
            )
            self._times = LaneTimes.of(setting.costs, setting.gamma)
        self.available_at = self._sensor.available_at

    @property
    def tau(self) -> np.ndarray:
        """(layers,) the thresholds in force."""
        return self._tau[:, 0]

    def plan_s(self) -> float:
        # A machine's plan_s is of estimator and balancer together.
        overhead_s = self.setting.costs.plan_s if self._balancer else self._estimator.overhead_s
        return overhead_s + self._sensor.cost_s(self.setting.gamma)

    def on_prefill(self, prefill: Prefill, _following: Step | None = None, /) -> Plan | None:
        evidence = self._sensor.on_prefill(prefill)
        if evidence is None and self.available_at == "verified" and len(prefill.ids):
            # The end of the prompt stands for the window before the first.
            evidence = last_window(prefill, self.setting)
        return None if evidence is None else self._order(evidence)

    def on_draft(
        self, tokens: np.ndarray, gates: np.ndarray | None = None, complete: bool = True, /
    ) -> Plan | None:
        # A rule with a memory must take in a window once; one without follows the draft as it grows.
        if not complete and (len(tokens) < 2 or self._estimator.rule != "last-count"):
            return None
        evidence = self._sensor.on_draft(tokens, gates)
        if evidence is None or complete:
            return None if evidence is None else self._order(evidence)
        s = self._estimator.update(evidence)
        return Plan(s, s >= self._tau)

    def on_layer(self, layer: int, gates: np.ndarray | None = None, /) -> Plan | None:
        evidence = self._sensor.on_layer(layer, gates)
        if evidence is None:
            return None
        s = self._estimator.s
        self._estimator.update(evidence, layer)
        return Plan(s, s >= self._tau)

    def on_verify(self, step: Step, _following: Step | None = None, /) -> Plan | None:
        if self._balancer is not None:
            self._balancer.observe(self._estimator.s, step.counts)
        evidence = self._sensor.on_verify(step)
        if evidence is None:
            return None
        return self._order(evidence)

    def _order(self, evidence: np.ndarray) -> Plan:
        s = self._estimator.update(evidence)
        if self._balancer is not None:
            self._tau = self._thresholds(self._balancer, s)[:, None]
        return Plan(s, s >= self._tau)

    def _thresholds(self, balancer: Balancer, s: np.ndarray) -> np.ndarray:
        slots, geometry = self.setting.slots, self.setting.geometry
        resident = ~slots.absent.reshape(s.shape)
        held = len(slots.owner) - slots.owner.count(-1)
        return balancer.thresholds(
            s,
            resident,
            slots=max(slots.count(), held, 1),  # a budget that has just shrunk may still hold more
            times=self._times,
            pairs=(self.setting.gamma + 1) * geometry.top_k,
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
    for kind, given, accepted in (("sensor", sensor, SENSORS), ("rule", rule, RULES)):
        if given not in accepted:
            raise InvalidInputError(
                f"{kind} is {given!r}; expected: {', '.join(accepted)}{did_you_mean(given, accepted)}"
            )
    if isinstance(admission, str):
        if admission not in FORMULATIONS:
            raise InvalidInputError(
                f"admission is {admission!r}; expected: {', '.join(FORMULATIONS)}, or one τ for every layer"
                + did_you_mean(admission, FORMULATIONS)
            )
    elif not 1 <= admission <= K:
        raise InvalidInputError(f"admission is {admission}; expected: τ from 1 to K = {K}, or a formulation")
    parts = Composition(sensor, rule, admission, K, tuple(options.items()))
    made_of = (
        f"{sensor} × {rule} × {admission if isinstance(admission, str) else f'τ = {admission}'} × {miss}"
    )
    return Policy(name, about or made_of, parts, miss=miss)


SPAC_PAPER = compose_policy(
    "spac-paper",
    admission="per-layer-difference",
    about="the paper's counts, its printed rule and its balancer, a layer at a time; misses on the CPU lane",
)
SPAC_JOINT = compose_policy(
    "spac-joint",
    about="the same utility, with one programme over all layers for the thresholds; misses on the CPU lane",
)
