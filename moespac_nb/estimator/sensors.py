"""Sensors: what a decode shows of a window to come, as evidence: how many positions each expert will serve.

    one = sensor("token-table", trace.geometry, verified_rows(another))   # what it may learn from beforehand
    one.begin(trace.prefill())
    for seen in windows(trace, gamma=4):
        evidence = one.drafted(seen.step.window, seen.draft_gates)   # (layers, experts), or None: nothing new
        ...                                                          # verification
        evidence = one.verified(seen.step)

A sensor is asked at three moments and answers at the one that its `known` names: after verification, about
the next window; after drafting, about the window about to be verified; at the layer before, about one layer
of the window being verified. What it is not given at that moment it cannot know. What it costs in time is
`cost_s`; replays charge it. Numpy only: what needs a model is read from a trace's channels, see `seen.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, Literal

import numpy as np

from ..trace.step import MoEShape, Prefill, Step, expert_counts
from ..trace.windows import DRAFT_GATES, NEXT_GATE, RoutedTokens
from ..utils.exceptions import MoespacError, did_you_mean

__all__ = ["SENSORS", "Sensor", "make_sensor"]

GATE_S = 10e-6  # an assumption: a gate is a small product, on a GPU as long as its launch
Known = Literal["verified", "drafted", "layer"]


class Sensor:
    """One that sees nothing; each of the others answers at one of the moments.

    window_s, cell_s: calibrated once for all, see `thinking_s`, on one core of an x86 server (2026), so that
    results can be made again anywhere.
    """

    name: ClassVar[str]
    known: ClassVar[Known]
    channel: ClassVar[str | None] = None  # what it needs of a trace
    fitted: ClassVar[bool] = False  # whether it can do nothing before it has learned
    window_s: ClassVar[float]
    cell_s: ClassVar[float]

    def __init__(self, geometry: MoEShape) -> None:
        self.geometry = geometry

    def cost_s(self, gamma: int) -> float:
        """Seconds a window takes it, modelled: its thinking, and what it asks of the target's gates."""
        return self.overhead_s(gamma) + GATE_S * self._gates(gamma)

    def overhead_s(self, gamma: int) -> float:
        """Seconds of plain computing, from constants that `moespac foretell --timing` measures."""
        cells = self.geometry.layers * self.geometry.experts
        return self.window_s + self.cell_s * cells * (gamma + 1)

    def learn(self, rows: RoutedTokens) -> None:
        """Take in what other texts have shown, before any is begun."""

    def begin(self, prefill: Prefill, /) -> np.ndarray | None:
        """A text begins: what was seen of the last one is forgotten, what was learned is kept."""

    def drafted(self, tokens: np.ndarray, gates: np.ndarray | None = None, /) -> np.ndarray | None:
        """The window stands, or so much of it: its first token and those drafted so far.

        May be asked again as the draft grows; what it says then replaces what it said.
        tokens: (n+1,). gates: (n, layers, m), what the target's gates pick from the draft's state at each.
        """

    def layer(self, layer: int, gates: np.ndarray | None = None, /) -> np.ndarray | None:
        """The layer before is being computed: evidence about this one, (experts,).

        gates: (positions, m), what its gate picks from the input of the layer before's; -1 for none.
        """

    def verified(self, step: Step, /) -> np.ndarray | None:
        """The window has been verified: its routing is known, and how much of it was accepted."""

    def _gates(self, _gamma: int) -> int:
        """Products of gates that a window asks for beyond those of the routers."""
        return 0

    def _counted(self, gates: np.ndarray | None) -> np.ndarray:
        """Picks (positions, layers, m) to counts: of each position the first k, as many as a router takes."""
        if gates is None:
            raise MoespacError(
                f"sensor {self.name!r} was given no {self.channel!r}; expected: a trace with that channel; "
                "record one, or choose a sensor that needs none"
            )
        experts, picks = self.geometry.experts, gates[..., : self.geometry.top_k]
        if picks.size and not -1 <= picks.min() <= picks.max() < experts:
            raise MoespacError(
                f"channel {self.channel!r} names experts {picks.min()} to {picks.max()}; expected: 0 to "
                f"{experts - 1}, or -1 for none"
            )
        counts: np.ndarray = expert_counts(picks + 1, experts + 1)[:, 1:]
        return counts


class VerifyCounts(Sensor):
    """The paper's: the counts f of the last window, rejected positions included."""

    name, known = "verify-counts", "verified"
    window_s, cell_s = 5e-6, 0.5e-9

    def verified(self, step: Step, /) -> np.ndarray:
        return step.counts


class CommittedCounts(Sensor):
    """The counts of the last window's positions that were kept: its first token and the accepted ones."""

    name, known = "committed-counts", "verified"
    window_s, cell_s = 3.5e-6, 0.1e-9

    def verified(self, step: Step, /) -> np.ndarray:
        return expert_counts(step.experts[: step.accepted + 1], step.experts_per_layer)


class LastWindow(Sensor):
    """One bit: whether any position of the last window used the expert. Against the counts, what they add."""

    name, known = "last-window", "verified"
    window_s, cell_s = 5e-6, 0.5e-9

    def verified(self, step: Step, /) -> np.ndarray:
        return (step.counts > 0).astype(np.int64)


class Recency(Sensor):
    """How lately a committed token used the expert: (γ+1) / (1 + tokens since), 0 if none ever did."""

    name, known = "recency", "verified"
    window_s, cell_s = 14e-6, 0.25e-9

    def begin(self, prefill: Prefill, /) -> None:
        self._used = np.full((self.geometry.layers, self.geometry.experts), -np.inf)
        self._tokens = 0
        self._mark(prefill.experts)

    def verified(self, step: Step, /) -> np.ndarray:
        self._mark(step.experts[: step.accepted + 1])
        evidence: np.ndarray = (step.gamma + 1) / (self._tokens - self._used)
        return evidence

    def _mark(self, experts: np.ndarray) -> None:
        for chosen in experts:
            np.put_along_axis(self._used, chosen.astype(np.int64), self._tokens, axis=1)
            self._tokens += 1


class Popularity(Sensor):
    """How often experts are used in the texts it has learned from, and nothing about this one."""

    name, known, fitted = "popularity", "verified", True
    window_s, cell_s = 2e-6, 0.04e-9

    def __init__(self, geometry: MoEShape) -> None:
        super().__init__(geometry)
        self._counts = np.zeros((geometry.layers, geometry.experts))
        self._positions = 0

    @property
    def shares(self) -> np.ndarray:
        """Share of positions that go to each expert, (layers, experts); a layer's sum is k."""
        if not self._positions:
            raise MoespacError(
                f"sensor {self.name!r} has nothing to go by; expected: after learn(), or sensor(…, rows)"
            )
        return np.asarray(self._counts / self._positions)

    def learn(self, rows: RoutedTokens) -> None:
        self._counts += expert_counts(rows.experts, self.geometry.experts)
        self._positions += len(rows.tokens)

    def begin(self, _prefill: Prefill, /) -> np.ndarray:
        return self.shares

    def verified(self, step: Step, /) -> np.ndarray:
        # The next window is taken to be as long as this one.
        return self.shares * (step.gamma + 1)


class TokenTable(Sensor):
    """Which experts each token was sent to before; of a token not seen yet, what all tokens were sent to.

    A token's shares are of its counts and one position more of what is popular: seen once, it is believed
    half. The table goes on learning from every verified position, and keeps an array (layers, experts) of
    float32 for each token it has seen.
    """

    name, known = "token-table", "drafted"
    window_s, cell_s = 55e-6, 2.4e-9

    def __init__(self, geometry: MoEShape) -> None:
        super().__init__(geometry)
        shape = (geometry.layers, geometry.experts)
        self._counts: dict[int, np.ndarray] = {}
        self._seen: dict[int, int] = {}
        # As if one position had gone everywhere alike: before anything is learned, no expert is preferred.
        self._total = np.full(shape, geometry.top_k / geometry.experts, np.float32)
        self._positions = 1

    def learn(self, rows: RoutedTokens) -> None:
        order = np.argsort(rows.tokens, kind="stable")
        tokens, starts = np.unique(rows.tokens[order], return_index=True)
        for token, group in zip(tokens.tolist(), np.split(order, starts)[1:], strict=True):
            counts = expert_counts(rows.experts[group], self.geometry.experts)
            self._total += counts
            self._positions += len(group)
            if token >= 0:  # less than 0 is a token that was redacted
                self._counts[token] = counts + self._counts.get(token, np.float32(0))
                self._seen[token] = len(group) + self._seen.get(token, 0)

    def drafted(self, tokens: np.ndarray, _gates: np.ndarray | None = None, /) -> np.ndarray:
        popular = self._total / np.float32(self._positions)
        evidence, weight = np.zeros_like(popular), np.float32(0)
        for token in tokens.tolist():
            share = np.float32(1 / (self._seen.get(token, 0) + 1))
            weight += share
            if token in self._counts:
                evidence += share * self._counts[token]
        return np.asarray(evidence + weight * popular)

    def verified(self, step: Step, /) -> None:
        self.learn(RoutedTokens(step.window, step.experts))


class DraftGates(Sensor):
    """The target's gates on the draft's state at each drafted token: all but the window's first position."""

    name, known, channel = "draft-gates", "drafted", DRAFT_GATES
    window_s, cell_s = 6.4e-6, 0.12e-9

    def drafted(self, tokens: np.ndarray, gates: np.ndarray | None = None, /) -> np.ndarray:
        if len(tokens) == 1:  # nothing is drafted, so nothing is to be seen
            return np.zeros((self.geometry.layers, self.geometry.experts), np.int64)
        return self._counted(gates)

    def _gates(self, gamma: int) -> int:
        return gamma  # all layers' in one product, at each drafted token


class NextGate(Sensor):
    """Each layer's gate on the input of the gate before it, one layer ahead: nothing is known of layer 0."""

    name, known, channel = "next-gate", "layer", NEXT_GATE
    window_s, cell_s = 6.4e-6, 0.0

    def layer(self, _layer: int, gates: np.ndarray | None = None, /) -> np.ndarray:
        counts: np.ndarray = self._counted(None if gates is None else gates[:, None])[0]
        return counts

    def overhead_s(self, _gamma: int) -> float:
        return self.window_s * (self.geometry.layers - 1)  # asked anew at each layer

    def _gates(self, _gamma: int) -> int:
        return self.geometry.layers - 1


SENSORS: Mapping[str, type[Sensor]] = MappingProxyType(
    {
        kind.name: kind
        for kind in (
            VerifyCounts,
            CommittedCounts,
            LastWindow,
            Recency,
            Popularity,
            TokenTable,
            DraftGates,
            NextGate,
        )
    }
)


def make_sensor(name: str, geometry: MoEShape, *learned: RoutedTokens) -> Sensor:
    """A new sensor by its name, that has learned from these rows."""
    if name not in SENSORS:
        raise MoespacError(f"sensor is {name!r}; expected: {', '.join(SENSORS)}{did_you_mean(name, SENSORS)}")
    made = SENSORS[name](geometry)
    for rows in learned:
        made.learn(rows)
    return made
