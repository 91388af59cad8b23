"""How well do sensors and rules foretell the experts of a window?

Each names the same number of experts a layer, so that none wins by naming more. Numpy only; knows nothing of
models: it reads the windows of a trace, or the steps of a decode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..trace.step import Prefill, Step, expert_counts
from ..trace.trace import Trace
from ..trace.windows import Window, iter_windows
from ..utils.exceptions import MoespacError
from .sensors import Sensor
from .utility import RULES, make_estimator

__all__ = ["EVIDENCE", "PredictionScores", "evaluate_predictors", "recall_by_predictor", "use_shares"]

EVIDENCE = "evidence"  # no rule: experts are named by the sensor's evidence itself


@dataclass(frozen=True)
class PredictionScores:
    """How well one sensor and rule foretold: means over windows and layers, each between 0 and 1.

    Hot are the experts that were named, needed those that the window used.
    """

    accuracy: float  # experts that were rightly hot or rightly cold, of all
    precision: float  # hot ones that were needed, of the hot
    recall: float  # the same, of the needed
    work: float  # the window's pairs of position and expert that hot ones served, of all
    recall_by_layer: tuple[float, ...]
    windows: int


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
    """By sensor and rule, how well they foretell each window of these texts but a text's first.

    sensors: by what they are to be called; those that learn go on learning.
    size: experts named a layer, by all alike: the highest s first; among equals, those that a committed token
    used most lately. texts: which of the trace, None for all.
    gamma: the draft length in a fan, None for the longest; an ordinary recording has its own.
    """
    layers, experts = trace.geometry.layers, trace.geometry.experts
    if not 1 <= size <= experts:
        raise MoespacError(f"size is {size}; expected: 1 to {experts}, the experts of a layer")
    tally = _Tally(len(rules), len(sensors), layers)
    by_number = 1e-7 * np.arange(
        experts
    )  # of experts equal in all, which is named must not depend on the sort
    for text in range(len(trace.texts)) if texts is None else texts:
        prefill = trace.prefill(text)
        for one in sensors.values():
            one.begin(prefill)
        recency = _Recency(prefill, layers, experts)
        # To a rule, the layers of another sensor are more layers: one estimator serves all sensors.
        states = [
            None
            if rule == EVIDENCE
            else make_estimator(rule, len(sensors) * layers, experts, K=K, gamma=_gamma(trace, text, gamma))
            for rule in rules
        ]
        evidence = np.zeros((len(sensors), layers, experts))
        for number, seen in enumerate(iter_windows(trace, text, gamma)):
            if number:  # before the first, what is known after a window is not known yet
                for row, one in zip(evidence, sensors.values(), strict=True):
                    _ask(one, seen, row)
                tally.windows += 1
                among_equals = recency.order() - by_number
                for rule, state in enumerate(states):
                    if state is None:
                        score = evidence + 1e-6 * among_equals
                    else:
                        score = (
                            state.update(evidence.reshape(-1, experts)).reshape(evidence.shape) + among_equals
                        )
                    tally.add(rule, score, seen.step.counts, size)
            recency.mark(seen.step)
            for row, one in zip(evidence, sensors.values(), strict=True):
                if (told := one.verified(seen.step)) is not None:
                    row[...] = told
    if not tally.windows:
        raise MoespacError("the texts have no window after a first; expected: a text of at least 2 windows")
    return {
        (sensor, rule): tally.foretold(r, s, size, experts)
        for s, sensor in enumerate(sensors)
        for r, rule in enumerate(rules)
    }


def _gamma(trace: Trace, text: int, gamma: int | None) -> int:
    """The draft length that boundaries start from: of an ordinary recording, the longest it has."""
    if gamma is not None and trace.texts[text].fan is not None:
        return gamma
    return int(trace.gamma[trace.text_of_step == text].max())


def _ask(sensor: Sensor, seen: Window, evidence: np.ndarray) -> None:
    """What a sensor says of a window before it is verified, and while it is: each layer in its turn."""
    if (told := sensor.drafted(seen.step.window, seen.draft_gates)) is not None:
        evidence[...] = told
    for layer in range(1, len(evidence)) if sensor.known == "layer" else ():
        gates = None if seen.next_gates is None else seen.next_gates[:, layer]
        if (told := sensor.layer(layer, gates)) is not None:
            evidence[layer] = told


class _Recency:
    """How lately each expert served a committed token, the prompt's among them."""

    def __init__(self, prefill: Prefill, layers: int, experts: int) -> None:
        self.last_used = np.full((layers, experts), -1)
        _mark(self.last_used, prefill.experts, 0)

    def mark(self, step: Step) -> None:
        # The window's first token and the accepted ones are committed; what follows them was thrown away.
        _mark(self.last_used, step.experts[: step.accepted + 1], step.position)

    def order(self) -> np.ndarray:
        """In [0, 1), higher for later: orders what scores leave equal, (layers, experts)."""
        return np.asarray((self.last_used + 1) / (self.last_used.max() + 2))


class _Tally:
    """Sums over windows, by rule, sensor and layer."""

    def __init__(self, rules: int, sensors: int, layers: int) -> None:
        self.windows = 0
        self.hits, self.recall, self.work = np.zeros((3, rules, sensors, layers))
        self.needed = np.zeros(layers)

    def add(self, rule: int, score: np.ndarray, counts: np.ndarray, size: int) -> None:
        """score: (sensors, layers, experts), the window's counts: (layers, experts)."""
        named = np.argpartition(-score, size - 1, axis=2)[:, :, :size]
        served = np.take_along_axis(counts[None], named, axis=2)
        needed = np.count_nonzero(counts, axis=1)
        hits = np.count_nonzero(served, axis=2)
        self.hits[rule] += hits
        self.recall[rule] += hits / needed
        self.work[rule] += served.sum(axis=2) / counts.sum(axis=1)
        if rule == 0:
            self.needed += needed

    def foretold(self, rule: int, sensor: int, size: int, experts: int) -> PredictionScores:
        hits = float(self.hits[rule, sensor].mean()) / self.windows
        wrong = size - hits + float(self.needed.mean()) / self.windows - hits
        by_layer = self.recall[rule, sensor] / self.windows
        return PredictionScores(
            accuracy=1 - wrong / experts,
            precision=hits / size,
            recall=float(by_layer.mean()),
            work=float(self.work[rule, sensor].mean()) / self.windows,
            recall_by_layer=tuple(by_layer.tolist()),
            windows=self.windows,
        )


LAST_WINDOW = "last window's counts"
LAST_TOKEN = "last token"
CHANCE = "chance"


def recall_by_predictor(
    prefill: Prefill, steps: Sequence[Step], size: int, popularity: Mapping[str, np.ndarray] | None = None
) -> dict[str, float]:
    """Share of the next window's experts that each predictor names, mean over layers and windows.

    size: experts named a layer, by every predictor alike.
    popularity: more predictors, each a fixed score (layers, experts): how often experts are used in general.

    `last window's counts` is the paper's sensor: experts by how many of the window's positions they served,
    rejected positions included. `last token` names those of the last committed token. What is missing to
    `size` is filled by recency over committed tokens for both. `chance` is what naming at random would get.
    """
    popularity = dict(popularity or {})
    if len(steps) < 2:
        raise MoespacError(
            f"the decode has {len(steps)} steps; expected: at least 2, as each foretells the next"
        )
    layers, experts = steps[0].counts.shape
    if not 1 <= size <= experts:
        raise MoespacError(f"size is {size}; expected: 1 to {experts}, the experts of a layer")
    for name, scores in popularity.items():
        if scores.shape != (layers, experts):
            raise MoespacError(f"popularity {name!r} has shape {scores.shape}; expected: {(layers, experts)}")
    found: dict[str, list[float]] = {}
    recency = _Recency(prefill, layers, experts)
    for step, following in pairwise(steps):
        recency.mark(step)
        lately = recency.order()
        predictors = {LAST_WINDOW: step.counts + lately, LAST_TOKEN: lately, **popularity}
        needed = following.counts > 0
        for name, scores in predictors.items():
            named = np.argsort(-scores, axis=1, kind="stable")[:, :size]
            hits = np.take_along_axis(needed, named, axis=1).sum(axis=1)
            found.setdefault(name, []).append(float((hits / needed.sum(axis=1)).mean()))
    return {name: float(np.mean(values)) for name, values in found.items()} | {CHANCE: size / experts}


def _mark(last_used: np.ndarray, experts: np.ndarray, position: int) -> None:
    for offset, chosen in enumerate(experts):
        np.put_along_axis(last_used, chosen.astype(np.int64), position + offset, axis=1)


def use_shares(routings: Iterable[np.ndarray], experts_per_layer: int) -> np.ndarray:
    """How often each expert is used over observed texts: (layers, experts), each layer's sum 1.

    routings: arrays (positions, layers, k), as `routing.observe` returns them.
    """
    counted = [expert_counts(experts, experts_per_layer) for experts in routings]
    if not counted:
        raise MoespacError("there is no routing to count; expected: at least one observed text")
    total = np.sum(counted, axis=0)
    return np.asarray(total / total.sum(axis=1, keepdims=True))
