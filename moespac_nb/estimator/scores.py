"""Scores of predicted experts, their sums over windows, and recency as a tie-break. Numpy only."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..trace.step import Prefill, Step
from .base import mark_used

__all__ = ["PredictionScores", "Recency", "Tally", "recall"]


@dataclass(frozen=True)
class PredictionScores:
    """Scores of one sensor and rule: means over windows and layers, each between 0 and 1.

    Parameters
    ----------
    accuracy : float
        Share of the experts that were named and needed, or neither.
    precision : float
        Share of the named experts that were needed.
    recall : float
        Share of the needed experts that were named.
    work : float
        Share of the window's pairs of position and expert whose expert was named.
    recall_by_layer : tuple of float
        Recall of each layer.
    windows : int
        Number of windows.
    """

    accuracy: float
    precision: float
    recall: float
    work: float
    recall_by_layer: tuple[float, ...]
    windows: int


def recall(named: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the share of a window's experts that were named, by layer.

    Parameters
    ----------
    named : ndarray
        (…, layers, size), distinct experts of each layer.
    counts : ndarray
        (layers, experts), positions that used each expert.

    Returns
    -------
    ndarray
        (…, layers).

    Examples
    --------
    >>> recall(np.array([[0, 3]]), counts=np.array([[2, 1, 0, 0]]))
    array([0.5])
    """
    return np.asarray(_hits(named, counts) / np.count_nonzero(counts, axis=-1))


def _served(named: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Return the positions that each named expert served, of the shape of `named`."""
    counts = counts[(None,) * (named.ndim - counts.ndim)]
    return np.asarray(np.take_along_axis(counts, named, axis=-1))


def _hits(named: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Count the named experts that were needed, by layer."""
    return np.asarray(np.count_nonzero(_served(named, counts), axis=-1))


class Recency:
    """Position at which each expert last served a committed token, those of the prompt included."""

    def __init__(self, prefill: Prefill, layers: int, experts: int) -> None:
        self.last_used = np.full((layers, experts), -1)
        mark_used(self.last_used, prefill.experts, 0)

    def mark(self, step: Step) -> None:
        """Note a window's committed tokens.

        Parameters
        ----------
        step : Step
            The window.
        """
        # The window's first token and the accepted ones are committed; the rest was discarded.
        mark_used(self.last_used, step.experts[: step.accepted + 1], step.position)

    def order(self) -> np.ndarray:
        """Return a tie-break in [0, 1), higher for later use, (layers, experts)."""
        return np.asarray((self.last_used + 1) / (self.last_used.max() + 2))


class Tally:
    """Sums over windows, by rule, sensor and layer."""

    def __init__(self, rules: int, sensors: int, layers: int) -> None:
        self.windows = 0
        self.hits, self.recall, self.work = np.zeros((3, rules, sensors, layers))
        self.needed = np.zeros(layers)

    def add(self, rule: int, score: np.ndarray, counts: np.ndarray, size: int) -> None:
        """Add a window's scores (sensors, layers, experts), given its counts (layers, experts)."""
        named = np.argpartition(-score, size - 1, axis=2)[:, :, :size]
        self.hits[rule] += _hits(named, counts)
        self.recall[rule] += recall(named, counts)
        self.work[rule] += _served(named, counts).sum(axis=2) / counts.sum(axis=1)
        if rule == 0:
            self.needed += np.count_nonzero(counts, axis=1)

    def scores(self, rule: int, sensor: int, size: int, experts: int) -> PredictionScores:
        """Return the means over windows of one rule and sensor."""
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
