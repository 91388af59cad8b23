"""Measure policy overhead per window and compare it with the constants used in replays.

Windows are random, of the given size: the time of a sensor or a rule does not depend on what it finds. Numpy
only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from ..balancer import Balancer, LaneTimes
from ..estimator.sensors import SENSORS, Sensor, ask, make_sensor
from ..estimator.utility import RULES, make_estimator
from ..hardware.calibration import EXPERTS, GAMMA, LAYERS
from ..hardware.costs import cost_model
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
        A sensor's or a rule's.
    measured_s : float
        Median on this machine.
    charged_s : float
        Modelled, without what it asks of the target's gates.
    """

    name: str
    measured_s: float
    charged_s: float


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
    overheads = []
    for name in SENSORS:
        sensor = make_sensor(name, geometry, *(RoutedTokens(step.window, step.experts) for step in steps))
        sensor.on_prefill(Prefill(steps[0].window, steps[0].experts, steps[0].gate_weights, 0.0))
        seconds = _median_s(partial(_ask_in_window, sensor), steps)
        overheads.append(PolicyOverhead(name, seconds, sensor.overhead_s(gamma)))
    for name in RULES:
        rule = make_estimator(name, geometry.layers, geometry.experts, gamma=gamma)
        seconds = _median_s(rule.update, [step.counts for step in steps])
        overheads.append(PolicyOverhead(name, seconds, rule.overhead_s))
    return overheads


def _ask_in_window(sensor: Sensor, step: Step) -> None:
    """Ask for all of a window's evidence; the channels hold the routing itself, which is as large as they."""
    vars(step).pop("counts", None)  # counted once a step, and that is part of what it costs
    for _ in ask(sensor, Window(step, draft_gates=step.experts[1:], next_gates=step.experts)):
        pass
    sensor.on_verify(step)


def _median_s(work: Callable[[Any], object], arguments: Iterable[Any]) -> float:
    seconds = []
    for argument in arguments:
        start = perf_counter()
        work(argument)
        seconds.append(perf_counter() - start)
    return median(seconds)


def _window(geometry: MoEShape, gamma: int, rng: np.random.Generator) -> Step:
    """Make a window that is routed at random; some of its tokens come again and again."""
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
    return median(window() for _ in range(max(repeats, 10)))
