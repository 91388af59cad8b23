"""Sensors: predictors of the experts that the next window will use, by name. Numpy only.

Sensors that need a model read its answers from a trace's channels, see `decoder.channels`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from ..trace.step import MoEShape, Prefill, Step, expert_counts
from ..trace.windows import DRAFT_GATES, NEXT_GATE, RoutedTokens
from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice
from .base import Sensor, ask, mark_used

__all__ = [
    "SENSORS",
    "CommittedCounts",
    "DraftGates",
    "EmaCounts",
    "Frequency",
    "LastWindow",
    "NextGate",
    "Popularity",
    "Recency",
    "Sensor",
    "TokenTable",
    "VerifyCounts",
    "ask",
    "make_sensor",
]


class VerifyCounts(Sensor):
    """Counts f of the last window, rejected positions included: the paper's sensor.

    References
    ----------
    The paper, arXiv 2603.09983.

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> trace = load_trace("chat", half="report")
    >>> sensor = VerifyCounts(trace.geometry)
    >>> evidence = sensor.on_verify(trace[0])
    >>> evidence.shape, int(evidence.sum())  # γ + 1 positions × 8 layers × 4 experts
    ((8, 64), 288)
    """

    name, available_at = "verify-counts", "verified"
    window_s, cell_s = 5e-6, 0.5e-9

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        return step.counts


class CommittedCounts(Sensor):
    """Counts of the last window's committed positions: its first token and the accepted ones."""

    name, available_at = "committed-counts", "verified"
    window_s, cell_s = 3.5e-6, 0.1e-9

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        return expert_counts(step.experts[: step.accepted + 1], step.experts_per_layer)


class LastWindow(Sensor):
    """Whether any position of the last window used the expert: one bit, to compare the counts with."""

    name, available_at = "last-window", "verified"
    window_s, cell_s = 5e-6, 0.5e-9

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        return (step.counts > 0).astype(np.int64)


class EmaCounts(Sensor):
    """Exponential moving average of the counts: the last window weighs 0.3, those before it ever less.

    The average is of the share of positions that use an expert, from the prompt's on; the next window is
    taken to be as long as the last.
    """

    name, available_at = "ema-counts", "verified"
    window_s, cell_s = 6e-6, 0.55e-9
    WEIGHT = 0.3

    def on_prefill(self, prefill: Prefill, /) -> None:
        """Begin a text, see `Sensor.on_prefill`."""
        counts = expert_counts(prefill.experts, self.geometry.experts)
        self._shares = counts / max(1, len(prefill.experts))

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        positions = step.gamma + 1
        self._shares = (1 - self.WEIGHT) * self._shares + self.WEIGHT / positions * step.counts
        return np.asarray(positions * self._shares)


class Frequency(Sensor):
    """How often this text has used each expert so far, its prompt included, scaled to the next window.

    The next window is taken to be as long as the last.
    """

    name, available_at = "frequency", "verified"
    window_s, cell_s = 5.5e-6, 0.55e-9

    def on_prefill(self, prefill: Prefill, /) -> None:
        """Begin a text, see `Sensor.on_prefill`."""
        self._counts = expert_counts(prefill.experts, self.geometry.experts)
        self._positions = len(prefill.experts)

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        self._counts = self._counts + step.counts
        self._positions += step.gamma + 1
        return np.asarray((step.gamma + 1) / self._positions * self._counts)


class Recency(Sensor):
    """Recency of an expert's last use by a committed token: (γ+1) / (1 + tokens since), 0 if never used."""

    name, available_at = "recency", "verified"
    window_s, cell_s = 14e-6, 0.25e-9

    def on_prefill(self, prefill: Prefill, /) -> None:
        """Begin a text, see `Sensor.on_prefill`."""
        self._used = np.full((self.geometry.layers, self.geometry.experts), -np.inf)
        self._tokens = 0
        self._mark(prefill.experts)

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        self._mark(step.experts[: step.accepted + 1])
        evidence: np.ndarray = (step.gamma + 1) / (self._tokens - self._used)
        return evidence

    def _mark(self, experts: np.ndarray) -> None:
        mark_used(self._used, experts, self._tokens)
        self._tokens += len(experts)


class Popularity(Sensor):
    """Share of positions that used an expert in the texts it has learned from; nothing about this text."""

    name, available_at, fitted = "popularity", "verified", True
    window_s, cell_s = 2e-6, 0.04e-9

    def __init__(self, geometry: MoEShape) -> None:
        super().__init__(geometry)
        self._counts = np.zeros((geometry.layers, geometry.experts))
        self._positions = 0

    @property
    def shares(self) -> np.ndarray:
        """Share of positions that use each expert, (layers, experts); a layer's sum is k."""
        if not self._positions:
            raise InvalidInputError(
                f"sensor {self.name!r} has nothing to go by; expected: after fit(), or make_sensor(…, rows)"
            )
        return np.asarray(self._counts / self._positions)

    def fit(self, rows: RoutedTokens) -> None:
        """Learn from other texts, see `Sensor.fit`."""
        self._counts += expert_counts(rows.experts, self.geometry.experts)
        self._positions += len(rows.tokens)

    def on_prefill(self, _prefill: Prefill, /) -> np.ndarray:
        """Begin a text, see `Sensor.on_prefill`."""
        return self.shares

    def on_verify(self, step: Step, /) -> np.ndarray:
        """Return evidence about the next window, see `Sensor.on_verify`."""
        # The next window is taken to be as long as this one.
        return self.shares * (step.gamma + 1)


class TokenTable(Sensor):
    """Experts that each token used before; for a token not seen yet, those that all tokens used.

    A token's shares are those of its counts and one more position of what is popular: a token seen once
    counts half. The table goes on learning from every verified position, and keeps an array
    (layers, experts) of float32 for each token it has seen.
    """

    name, available_at, needs_tokens = "token-table", "drafted", True
    window_s, cell_s = 55e-6, 2.4e-9

    def __init__(self, geometry: MoEShape) -> None:
        super().__init__(geometry)
        shape = (geometry.layers, geometry.experts)
        self._counts: dict[int, np.ndarray] = {}
        self._seen: dict[int, int] = {}
        # One position spread over all experts: before anything is learned, no expert is preferred.
        self._total = np.full(shape, geometry.top_k / geometry.experts, np.float32)
        self._positions = 1

    def fit(self, rows: RoutedTokens) -> None:
        """Learn from other texts, see `Sensor.fit`."""
        order = np.argsort(rows.tokens, kind="stable")
        tokens, starts = np.unique(rows.tokens[order], return_index=True)
        for token, group in zip(tokens.tolist(), np.split(order, starts)[1:], strict=True):
            counts = expert_counts(rows.experts[group], self.geometry.experts)
            self._total += counts
            self._positions += len(group)
            if token >= 0:  # a token below 0 was redacted
                self._counts[token] = counts + self._counts.get(token, np.float32(0))
                self._seen[token] = len(group) + self._seen.get(token, 0)

    def on_draft(self, tokens: np.ndarray, _gates: np.ndarray | None = None, /) -> np.ndarray:
        """Return evidence about the drafted window, see `Sensor.on_draft`."""
        popular = self._total / np.float32(self._positions)
        evidence, weight = np.zeros_like(popular), np.float32(0)
        for token in tokens.tolist():
            share = np.float32(1 / (self._seen.get(token, 0) + 1))
            weight += share
            if token in self._counts:
                evidence += share * self._counts[token]
        return np.asarray(evidence + weight * popular)

    def on_verify(self, step: Step, /) -> None:
        """Learn from a verified window, see `Sensor.on_verify`."""
        self.fit(RoutedTokens(step.window, step.experts))


class DraftGates(Sensor):
    """Experts that the target's gates choose from the draft's state at each drafted token.

    Nothing is known of the window's first position.
    """

    name, available_at, channel = "draft-gates", "drafted", DRAFT_GATES
    window_s, cell_s = 6.4e-6, 0.12e-9

    def on_draft(self, tokens: np.ndarray, gates: np.ndarray | None = None, /) -> np.ndarray:
        """Return evidence about the drafted window, see `Sensor.on_draft`."""
        if len(tokens) == 1:  # nothing is drafted
            return np.zeros((self.geometry.layers, self.geometry.experts), np.int64)
        return self._counted(gates)

    def _gates(self, gamma: int) -> int:
        return gamma  # the gates of all layers are one product, at each drafted token


class NextGate(Sensor):
    """Experts that each layer's gate chooses from the input of the gate before it, one layer ahead.

    Nothing is known of layer 0.
    """

    name, available_at, channel = "next-gate", "layer", NEXT_GATE
    window_s, cell_s = 6.4e-6, 0.0

    def on_layer(self, _layer: int, gates: np.ndarray | None = None, /) -> np.ndarray:
        """Return evidence about a layer, see `Sensor.on_layer`."""
        counts: np.ndarray = self._counted(None if gates is None else gates[:, None])[0]
        return counts

    def overhead_s(self, _gamma: int) -> float:
        """Return the modelled seconds of a window, see `Sensor.overhead_s`."""
        return self.window_s * (self.geometry.layers - 1)  # once for each layer

    def _gates(self, _gamma: int) -> int:
        return self.geometry.layers - 1


_KINDS = (
    VerifyCounts, CommittedCounts, LastWindow, EmaCounts, Frequency, Recency, Popularity, TokenTable,
    DraftGates, NextGate,
)  # fmt: skip
SENSORS: Mapping[str, type[Sensor]] = MappingProxyType({kind.name: kind for kind in _KINDS})


def make_sensor(name: str, geometry: MoEShape, *learned: RoutedTokens) -> Sensor:
    """Make a sensor by its name.

    Parameters
    ----------
    name : str
        One of `SENSORS`.
    geometry : MoEShape
        Shape of the target's routing.
    *learned : RoutedTokens
        What the sensor learns from: tokens of other texts and their experts.

    Returns
    -------
    Sensor

    Raises
    ------
    InvalidInputError
        If there is no such sensor.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> from moespac_nb.trace.windows import verified_tokens
    >>> trace = load_trace("chat", half="report")
    >>> others = verified_tokens(load_trace("chat", half="tune"))
    >>> sensor = make_sensor("token-table", trace.geometry, others)
    >>> sensor.on_prefill(trace.prefill())
    >>> evidence = sensor.on_draft(trace[0].window)
    >>> evidence.shape, round(float(evidence.sum()))  # 9 positions × 8 layers × 4 experts
    ((8, 64), 288)
    """
    sensor = SENSORS[check_choice("sensor", name, SENSORS)](geometry)
    for rows in learned:
        sensor.fit(rows)
    return sensor
