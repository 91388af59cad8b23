"""What the balancer was asked in each window of a replay: to look at afterwards, or to solve another way.

for window, table in problems(trace, "spac-joint", "17%").items():
    print(window, solve(Joint(table)).tau)
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from ..balancer import Balancer, Candidates, Joint, PerLayer
from ..engine.policy import Plan, Planner
from ..policies import POLICIES, Policy, PolicyContext, get_policy
from ..policies.spac import ComposedPlanner, Composition
from ..trace.step import Step
from ..trace.trace import Trace
from ..utils.exceptions import MoespacError
from .replay import replay

__all__ = ["record_balancer_inputs"]


def record_balancer_inputs(
    trace: Trace, policy: str | Policy = "spac-joint", budget: Any = "17%", **options: Any
) -> dict[int, Candidates]:
    """The candidate table that each window's thresholds were chosen from, by the number of the window.

    contestant: a policy that has a balancer. options: of `replay`. A window before which the sensor had said
    nothing yet has none.
    """
    played = get_policy(policy)
    parts = played.planner
    if not isinstance(parts, Composition) or not isinstance(parts.admission, str):
        named = [name for name, each in POLICIES.items() if isinstance(each.planner, Composition)]
        raise MoespacError(
            f"policy {played.name!r} has no balancer; expected: {', '.join(named)}, or one that "
            "composed(…, admission='joint') makes"
        )
    found: dict[int, Candidates] = {}

    def planner(setting: PolicyContext) -> Planner:
        return _Noting(setting, parts, found)

    replay(trace, replace(played, planner=planner), budget, timeline=False, **options)
    return found


class _Noting(ComposedPlanner):
    """The same policy, with a balancer that keeps what it is asked."""

    def __init__(self, setting: PolicyContext, parts: Composition, found: dict[int, Candidates]) -> None:
        super().__init__(setting, parts)
        assert isinstance(parts.admission, str)
        self._noted = _Balancer(setting.geometry.layers, parts.K, formulation=parts.admission)  # type: ignore[arg-type]
        self._balancer = self._noted
        self._found, self._window = found, 0

    def verified(self, step: Step, following: Step | None = None, /) -> Plan | None:
        if self._noted.asked_last is not None:
            self._found[self._window] = self._noted.asked_last
        self._window += 1
        return super().verified(step, following)


class _Balancer(Balancer):
    asked_last: Candidates | None = None

    def problem(self, utility: np.ndarray, resident: np.ndarray, **known: Any) -> Joint | PerLayer:
        asked = super().problem(utility, resident, **known)
        self.asked_last = asked.table
        return asked
