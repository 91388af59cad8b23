"""Measure policy overhead per window and compare it with the constants used in replays.

Windows are random, of the given size: the time of a sensor or a rule does not depend on what it finds. Numpy
only.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter

import numpy as np

from ..estimator.sensors import SENSORS, Sensor, ask, make_sensor
from ..estimator.utility import RULES, make_estimator
from ..hardware.calibration import EXPERTS, GAMMA, LAYERS
from ..trace.step import MoEShape, Prefill, Step, Top
from ..trace.windows import RoutedTokens, Window

__all__ = ["PolicyOverhead", "measure_overhead", "measure_planning_s"]

REPEATS = 200


@dataclass(frozen=True)
class PolicyOverhead:
    """The overhead of one sensor or rule in a window.

    Attributes
    ----------
    name : str
    measured_s : float
        Median on this machine.
    charged_s : float
        Modelled, without what it asks of the target's gates.
    """

    name: str
    measured_s: float  # median, this machine
    charged_s: float  # modelled, without what it asks of the target's gates: no model is asked here


def measure_overhead(geometry: MoEShape, gamma: int, seed: int = 0) -> list[PolicyOverhead]:
    """Measure every sensor, then every rule, on made-up windows.

    Parameters
    ----------
    geometry : MoEShape
        The model's shape.
    gamma : int
        Drafted tokens; a window has γ + 1 positions.
    seed : int, default 0
        Of the made-up routing.

    Returns
    -------
    list of PolicyOverhead
    """
    rng = np.random.default_rng(seed)
    steps = [_window(geometry, gamma, rng) for _ in range(REPEATS)]
    found = []
    for name in SENSORS:
        one = make_sensor(name, geometry, *(RoutedTokens(step.window, step.experts) for step in steps))
        one.on_prefill(Prefill(steps[0].window, steps[0].experts, steps[0].gate_weights, 0.0))
        seconds = _median_s([_asked(one, step) for step in steps])
        found.append(PolicyOverhead(name, seconds, one.overhead_s(gamma)))
    for name in RULES:
        rule = make_estimator(name, geometry.layers, geometry.experts, gamma=gamma)
        seconds = _median_s([partial(rule.update, step.counts) for step in steps])
        found.append(PolicyOverhead(name, seconds, rule.overhead_s))
    return found


def _asked(one: Sensor, step: Step) -> Callable[[], object]:
    """One window of a sensor's life; what the channels hold is the routing itself, as large as it."""

    def window() -> None:
        step.__dict__.pop("counts", None)  # counted once a step, and that is part of what it costs
        for _ in ask(one, Window(step, draft_gates=step.experts[1:], next_gates=step.experts)):
            pass
        one.on_verify(step)

    return window


def _median_s(calls: list[Callable[[], object]]) -> float:
    seconds = []
    for call in calls:
        start = perf_counter()
        call()
        seconds.append(perf_counter() - start)
    return median(seconds)


def _window(geometry: MoEShape, gamma: int, rng: np.random.Generator) -> Step:
    """A window routed at random; of its tokens some come again and again."""
    positions, top = gamma + 1, Top(np.zeros((gamma + 1, 1), np.int64), np.ones((gamma + 1, 1), np.float32))
    order = rng.random((positions, geometry.layers, geometry.experts)).argsort(-1)
    experts = order[..., : geometry.top_k].astype(np.int16)
    return Step(
        index=0, position=0, window=rng.integers(0, 100, positions), draft_probs=np.ones(gamma, np.float32),
        target_probs=np.ones(gamma, np.float32), uniforms=None, target_ids=np.zeros(positions, np.int64),
        accepted=gamma // 2, emitted=np.zeros(gamma // 2 + 1, np.int64), experts=experts,
        gate_weights=np.ones(experts.shape, np.float32), experts_per_layer=geometry.experts, draft_top=top,
        target_top=top, draft_ms=0.0, verify_ms=0.0,
    )  # fmt: skip


TOP_K, LEVELS = 8, 4  # of the planning that is timed


def measure_planning_s(repeats: int) -> float:
    """Measure the planning of one window by the paper's policy: utility, balancer, learning.

    Parameters
    ----------
    repeats : int
        Windows to measure, at least 10.

    Returns
    -------
    float
        Median seconds of a window.
    """
    from ..balancer import Balancer, LaneTimes
    from ..estimator.utility import make_estimator
    from ..hardware.costs import cost_model

    rng = np.random.default_rng(0)
    popularity = rng.dirichlet(np.full(EXPERTS, 0.3), size=LAYERS)
    pairs = (GAMMA + 1) * TOP_K
    rule = make_estimator("paper", layers=LAYERS, experts=EXPERTS, K=LEVELS, gamma=GAMMA)
    balancer = Balancer(LAYERS, LEVELS)
    times = LaneTimes.of(cost_model("rtx4090", "qwen3-30b-a3b"), gamma=GAMMA)
    slots = LAYERS * EXPERTS // 6
    resident = rng.random((LAYERS, EXPERTS)) < 1 / 6
    utility = np.zeros((LAYERS, EXPERTS), np.int16)

    def window() -> float:
        nonlocal utility
        counts = np.stack([rng.multinomial(pairs, row) for row in popularity])
        start = perf_counter()
        balancer.observe(utility, counts)
        utility = rule.update(counts)
        balancer.thresholds(utility, resident, slots=slots, times=times, pairs=pairs)
        return perf_counter() - start

    for _ in range(10):  # rates and utilities settle first
        window()
    return statistics.median(window() for _ in range(max(repeats, 10)))
