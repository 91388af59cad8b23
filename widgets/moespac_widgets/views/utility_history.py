"""A sensor's evidence and a rule's state, step by step: the numbers of the widgets that show utility."""

from __future__ import annotations

import numpy as np

from moespac_nb import Trace
from moespac_nb.estimator.sensors import Sensor, ask, make_sensor
from moespac_nb.estimator.utility import Estimator, make_estimator
from moespac_nb.trace.windows import iter_windows

from .trace_rounds import Rounds

__all__ = ["evidence_over_time", "trail", "utility_over_time"]

FIELDS = ("f", "delta", "up", "down", "branch", "s", "value", "next_up", "next_down")


def evidence_over_time(rounds: Rounds, sensor: str | Sensor, gamma: int | None = None) -> np.ndarray:
    """Return a sensor's latest evidence at the end of each window.

    Parameters
    ----------
    rounds : Rounds
        The windows.
    sensor : str or Sensor
        The sensor's name, or a sensor that has been fitted already.
    gamma : int, optional
        The draft length of the rounds of a dense trace.

    Returns
    -------
    ndarray, (steps, layers, experts), float32
    """
    if isinstance(sensor, str):
        sensor = make_sensor(sensor, rounds.geometry)
    sensor.check_tokens(rounds.trace)
    history = np.zeros((len(rounds), rounds.geometry.layers, rounds.geometry.experts), np.float32)
    evidence = np.zeros(history.shape[1:], np.float32)
    n = 0
    for text in range(len(rounds.trace.texts)):
        first = sensor.on_prefill(rounds.trace.prefill(text))
        evidence[...] = 0 if first is None else first
        for window in iter_windows(rounds.trace, text, gamma):
            for layers, values in ask(sensor, window):
                evidence[layers] = values
            if (after := sensor.on_verify(window.step)) is not None:
                evidence[...] = after
            history[n] = evidence
            n += 1
    return history


def trail(rounds: Rounds, evidence: np.ndarray, rule: str, **options: float) -> dict[str, np.ndarray]:
    """Return a rule's state after each step. Each text begins with a new estimator.

    Parameters
    ----------
    rounds : Rounds
        The windows.
    evidence : ndarray, (steps, layers, experts)
        A sensor's evidence of any number of layers.
    rule : str
        The utility rule, such as "paper".
    **options : float
        The rule's parameters.

    Returns
    -------
    dict of str to ndarray, (steps, layers, experts)
        By the fields of `State`, and "before": s before the step.
    """
    state: Estimator | None = None
    kept: dict[str, list[np.ndarray]] = {name: [] for name in (*FIELDS, "before")}
    for n, counts in enumerate(evidence):
        if state is None or rounds.text[n] != rounds.text[n - 1]:
            state = make_estimator(rule, *evidence.shape[1:], **options)
        kept["before"].append(state.s.copy())
        state.update(counts)
        fields = state.state()
        for name in FIELDS:
            kept[name].append(getattr(fields, name))
    return {name: np.stack(arrays) for name, arrays in kept.items()}


def utility_over_time(
    trace: Trace,
    rule: str = "paper",
    sensor: str | Sensor = "verify-counts",
    *,
    gamma: int | None = None,
    **options: float,
) -> np.ndarray:
    """Return the utility s after each step, as `DemandMap` takes it as an amount.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    rule : str
        The utility rule, such as "paper".
    sensor : str or Sensor
        The sensor's name, or a sensor that has been fitted already.
    gamma : int, optional
        The draft length to walk a dense trace with; None takes its longest.
    **options : float
        Parameters of `rule`, as `make_estimator` takes them.

    Returns
    -------
    ndarray, (steps, layers, experts), uint8

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("math")[:12]
    >>> utility_over_time(trace).shape == (len(trace), trace.geometry.layers, trace.geometry.experts)
    True
    """
    rounds = Rounds.of(trace, gamma)
    options = {"gamma": max(step.gamma for step in rounds.steps), **options}
    evidence = evidence_over_time(rounds, sensor, gamma)
    state: Estimator | None = None
    s = np.zeros(evidence.shape, np.uint8)
    for n, counts in enumerate(evidence):
        if state is None or rounds.text[n] != rounds.text[n - 1]:
            state = make_estimator(rule, *evidence.shape[1:], **options)
        s[n] = state.update(counts)
    return s
