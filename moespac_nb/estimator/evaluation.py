"""Evaluation of sensors and rules: how well they predict the experts of a window. Numpy only.

Every predictor names the same number of experts a layer, so that none wins by naming more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise

import numpy as np

from ..trace.step import Prefill, Step
from ..trace.trace import Trace
from ..trace.windows import iter_windows
from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole
from .scores import PredictionScores, Recency, Tally, recall
from .sensors import Sensor, ask
from .utility import RULES, make_estimator

__all__ = [
    "CHANCE",
    "EVIDENCE",
    "LAST_TOKEN",
    "LAST_WINDOW",
    "PredictionScores",
    "evaluate_predictors",
    "recall",
    "recall_by_predictor",
]

EVIDENCE = "evidence"  # no rule: the sensor's evidence itself is the score
LAST_WINDOW = "last window's counts"
LAST_TOKEN = "last token"
CHANCE = "chance"


def evaluate_predictors(
    trace: Trace,
    sensors: Mapping[str, Sensor],
    size: int,
    *,
    texts: Sequence[int] | None = None,
    rules: Sequence[str] = (EVIDENCE, *RULES),
    gamma: int | None = None,
    K: int = 4,
) -> dict[tuple[str, str], PredictionScores]:
    """Score how well sensors and rules predict the windows of a trace, without the first of each text.

    Parameters
    ----------
    trace : Trace
        The trace.
    sensors : mapping of str to Sensor
        By the names that the result has; sensors that learn go on learning.
    size : int
        Experts that each predictor names in a layer: those of the highest utility; among equals, those that a
        committed token used last.
    texts : sequence of int, optional
        Numbers of the texts; None takes all.
    rules : sequence of str
        Names of rules, or `EVIDENCE` for the sensor's evidence itself.
    gamma : int, optional
        Draft length in a dense trace; None takes the longest. An ordinary recording has its own.
    K : int
        The highest utility.

    Returns
    -------
    dict of (str, str) to PredictionScores
        By sensor and rule.

    Raises
    ------
    InvalidInputError
        If `size` is out of range, or no text has two windows.
    MissingDataError
        If a sensor goes by token ids and the trace has none.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.estimator.sensors import make_sensor
    >>> trace = load_trace("chat", half="report")
    >>> sensors = {"f": make_sensor("verify-counts", trace.geometry)}
    >>> scores = evaluate_predictors(trace, sensors, size=16, rules=("paper", "level"))
    >>> {rule: round(score.recall, 2) for (_, rule), score in scores.items()}
    {'paper': 0.43, 'level': 0.43}
    """
    layers, experts = trace.geometry.layers, trace.geometry.experts
    checked_whole("size", size, 1, experts)
    for sensor in sensors.values():
        sensor.check_tokens(trace)
    tally = Tally(len(rules), len(sensors), layers)
    # Among experts equal in all, the result must not depend on the sort.
    by_number = 1e-7 * np.arange(experts)
    for text in range(len(trace.texts)) if texts is None else texts:
        prefill = trace.prefill(text)
        for sensor in sensors.values():
            sensor.on_prefill(prefill)
        recency = Recency(prefill, layers, experts)
        # To a rule, the layers of another sensor are more layers: one estimator serves all sensors.
        estimators = [
            None
            if rule == EVIDENCE
            else make_estimator(rule, len(sensors) * layers, experts, K=K, gamma=_gamma(trace, text, gamma))
            for rule in rules
        ]
        evidence = np.zeros((len(sensors), layers, experts))
        for number, window in enumerate(iter_windows(trace, text, gamma)):
            if number:  # what is known after a window is not known before the first
                for row, sensor in zip(evidence, sensors.values(), strict=True):
                    for of_layers, values in ask(sensor, window):
                        row[of_layers] = values
                tally.windows += 1
                among_equals = recency.order() - by_number
                for rule, estimator in enumerate(estimators):
                    if estimator is None:
                        score = evidence + 1e-6 * among_equals
                    else:
                        utility = estimator.update(evidence.reshape(-1, experts))
                        score = utility.reshape(evidence.shape) + among_equals
                    tally.add(rule, score, window.step.counts, size)
            recency.mark(window.step)
            for row, sensor in zip(evidence, sensors.values(), strict=True):
                if (after := sensor.on_verify(window.step)) is not None:
                    row[...] = after
    if not tally.windows:
        raise InvalidInputError(
            "the texts have no window after a first; expected: a text of at least 2 windows"
        )
    return {
        (name, rule): tally.scores(r, s, size, experts)
        for s, name in enumerate(sensors)
        for r, rule in enumerate(rules)
    }


def _gamma(trace: Trace, text: int, gamma: int | None) -> int:
    """Return the draft length that boundaries start from: of an ordinary recording, its longest."""
    if gamma is not None and trace.texts[text].gamma_max is not None:
        return gamma
    return int(trace.gamma[trace.text_of_step == text].max())


def recall_by_predictor(
    prefill: Prefill, steps: Sequence[Step], size: int, popularity: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """Return the recall of simple predictors: the share of the next window's experts that each names.

    `last window's counts` is the paper's sensor: experts by the positions of the window that they served,
    rejected positions included. `last token` names the experts of the last committed token. Both are filled
    up to `size` by recency over committed tokens. `chance` is the recall of naming at random.

    Parameters
    ----------
    prefill : Prefill
        Reading of the prompt.
    steps : sequence of Step
        At least two; each predicts the next.
    size : int
        Experts that each predictor names in a layer.
    popularity : mapping of str to ndarray, optional
        More predictors by name: a fixed score each, (layers, experts).

    Returns
    -------
    dict of str to float
        By predictor, the mean over layers and windows.

    Raises
    ------
    InvalidInputError
        If there are fewer than two steps, `size` is out of range, or a score has another shape.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("chat", half="report")
    >>> recalls = recall_by_predictor(trace.prefill(), trace[:20], size=16)
    >>> {name: round(share, 2) for name, share in recalls.items()}
    {"last window's counts": 0.52, 'last token': 0.44, 'chance': 0.25}
    """
    popularity = dict(popularity or {})
    if len(steps) < 2:
        raise InvalidInputError(
            f"the decode has {len(steps)} steps; expected: at least 2, as each predicts the next"
        )
    layers, experts = steps[0].counts.shape
    checked_whole("size", size, 1, experts)
    for name, scores in popularity.items():
        if scores.shape != (layers, experts):
            raise InvalidInputError(
                f"popularity {name!r} has shape {scores.shape}; expected: {(layers, experts)}"
            )
    recalls: dict[str, list[float]] = {}
    recency = Recency(prefill, layers, experts)
    for step, following in pairwise(steps):
        recency.mark(step)
        lately = recency.order()
        predictors = {LAST_WINDOW: step.counts + lately, LAST_TOKEN: lately, **popularity}
        for name, scores in predictors.items():
            named = np.argsort(-scores, axis=1, kind="stable")[:, :size]
            recalls.setdefault(name, []).append(float(recall(named, following.counts).mean()))
    return {name: float(np.mean(values)) for name, values in recalls.items()} | {CHANCE: size / experts}
