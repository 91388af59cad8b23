"""Levenberg-Marquardt for all layers at once: a layer's statistics depend on its own parameters alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from moespac_nb.datasets.routing_model import LayerParameters

__all__ = ["PARAMETERS", "START", "fit_layers", "layer_parameters"]

# Log of the spread; skew; logits of topic, drift, phrase and previous, beside 0 for the token's own share;
# logit of frequent; tail.
PARAMETERS = ("spread", "skew", "topic", "drift", "phrase", "previous", "frequent", "tail")
START = np.array([-0.7, -0.2, 0, -1.5, -1, -0.7, 0.5, 0.05])
LEAST = np.array([-4, -2, -6, -6, -6, -6, -4, 0])
MOST = np.array([2, 2, 4, 4, 4, 4, 4, 0.6])
STEP = 0.15  # of a difference quotient: large, as the statistics are counts
PULL = 0.03  # towards the start, for what the statistics leave open


def layer_parameters(point: np.ndarray) -> LayerParameters:
    """Parameters of the generator from unbounded ones, (layers, 8), with gates not scaled yet."""
    exponents = np.exp(np.column_stack([point[:, 2:6], np.zeros(len(point))]))
    shares = (exponents / exponents.sum(axis=1, keepdims=True)).T
    frequent = 1 / (1 + np.exp(-point[:, 6]))
    values = np.exp(point[:, 0]), point[:, 1], *shares[:4], frequent, point[:, 7]
    return LayerParameters(**dict(zip(PARAMETERS, values, strict=True)), gate_scale=np.ones(len(point)))


def fit_layers(
    residuals: Callable[[np.ndarray], np.ndarray],
    start: np.ndarray,
    rounds: int,
    log: Callable[[str], None] = print,
) -> np.ndarray:
    """Return the point (layers, 8) of least squares of `residuals(point)`, (layers, statistics)."""

    def pulled(point: np.ndarray) -> np.ndarray:
        return np.hstack([residuals(point), PULL * (point - START)])

    point = start
    value = pulled(point)
    damping = np.full(len(start), 0.3)
    for number in range(rounds):
        slopes = [(pulled(point + STEP * unit) - value) / STEP for unit in np.eye(len(START))]
        slope = np.stack(slopes, axis=2)
        curvature = np.einsum("lsp,lsq->lpq", slope, slope)
        gradient = np.einsum("lsp,ls->lp", slope, value)
        for _ in range(3):
            diagonal = damping[:, None, None] * np.eye(len(START)) * (curvature + 1e-3)
            move = np.linalg.solve(curvature + diagonal, -gradient[..., None])[..., 0]
            tried = np.clip(point + np.clip(move, -1, 1), LEAST, MOST)
            tried_value = pulled(tried)
            better = (tried_value**2).sum(axis=1) < (value**2).sum(axis=1)
            point = np.where(better[:, None], tried, point)
            value = np.where(better[:, None], tried_value, value)
            damping = np.where(better, damping / 3, damping * 3)
            if better.mean() > 0.7:
                break
        log(f"round {number + 1} of {rounds}: sum of squares {(value**2).sum():.4f}")
    return point
