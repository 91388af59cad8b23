"""Speculative Utility Estimator: a utility s from 0 (cold) to K (hot) for each expert. Numpy only.

Evidence is in positions: how many of a window's γ + 1 positions an expert served, or is expected to serve.
The paper's evidence is the counts f of the window just verified; `sensors.py` has others, and any sensor
works with any rule. Every expert starts at s = 0, with an evidence of 0 before the first update.

The rules:

- `paper`: the paper's Algorithm 1 as printed (arXiv 2603.09983). It follows the change of f, and has two
  defects. Its floors are a ratchet: with λ = 0.1 and |Δ| ≤ 9 a boundary never rises, and ends at 1. And it
  forgets constant heat: an expert that stays hot climbs once, and no further.
- `paper-real`: the same without the floors. That cures the ratchet, not the forgetting.
- `level`: follows f less s, as the paper's released code does: that cures both. A steady f ends in a band,
  at f - up + 1 from below and at f + down - 1 from above.
- `ema`: s is an exponential moving average of the evidence, rounded.
- `last-count`: s is the last evidence, rounded.

The first three are inertial: s moves by at most one level an update.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ..utils.exceptions import InvalidInputError, did_you_mean
from ..utils.validation import check_choice, check_number, checked_whole
from .state import BRANCHES, DOWN, STAY, UP, State

__all__ = [
    "BRANCHES",
    "DOWN",
    "RULES",
    "STAY",
    "UP",
    "Ema",
    "Estimator",
    "LastCount",
    "Level",
    "Paper",
    "PaperReal",
    "State",
    "make_estimator",
]


class Estimator:
    """Base class of the rules: keeps the state; a rule implements `_transition`.

    Parameters
    ----------
    layers, experts : int
        Shape of the target's routing.
    K : int
        The highest utility.
    gamma : int
        Draft length, from which the boundaries of some rules start.

    Attributes
    ----------
    rule : str
        Key in `RULES`.
    s : ndarray
        (layers, experts) int16, the utility.
    update_s, cell_s : float
        Seconds an update, and an expert in it; see `policies.timing.measure_overhead`.

    Examples
    --------
    >>> rule = make_estimator("paper", layers=1, experts=3, K=4, gamma=8)
    >>> rule.update(np.array([[0, 3, 9]]))
    array([[0, 0, 1]], dtype=int16)
    """

    rule: ClassVar[str]
    update_s: ClassVar[float]
    cell_s: ClassVar[float]

    def __init__(self, layers: int, experts: int, *, K: int = 4, gamma: int = 8) -> None:
        self.layers = checked_whole("layers", layers, least=1)
        self.experts = checked_whole("experts", experts, least=1)
        self.K = checked_whole("K", K, least=1)
        self.gamma = checked_whole("gamma", gamma, least=0)
        shape = (layers, experts)
        self.s = np.zeros(shape, np.int16)
        self._f = np.zeros(shape)
        self._delta = np.zeros(shape)
        self._branch = np.zeros(shape, np.int8)
        # One set of boundaries is compared with, the other is for the next update.
        self._compared = np.full((2, *shape), np.nan)
        self._up, self._down = np.full((2, *shape), np.nan)

    def update(self, evidence: np.ndarray, layer: int | None = None) -> np.ndarray:
        """Update the utility with evidence about the next window.

        Parameters
        ----------
        evidence : ndarray
            (layers, experts), in positions; (experts,) with `layer`.
        layer : int, optional
            Update this layer alone, for a sensor that gives evidence layer by layer.

        Returns
        -------
        ndarray
            s, (layers, experts), or (experts,) of the layer: a view, which the next update changes.

        Raises
        ------
        InvalidInputError
            If the evidence has another shape or is not finite.
        """
        at: Any = slice(None) if layer is None else layer
        s: np.ndarray = self.s[at]
        if evidence.shape != s.shape:
            raise InvalidInputError(f"the evidence has shape {evidence.shape}; expected: {s.shape}")
        if evidence.dtype.kind == "f" and not np.isfinite(evidence.sum()):
            raise InvalidInputError(
                "the evidence holds a number that is not finite; expected: positions, 0 and more"
            )
        self._transition(evidence, s, at)
        self._f[at] = evidence
        return s

    @property
    def overhead_s(self) -> float:
        """Modelled seconds of an update."""
        return self.update_s + self.cell_s * self.layers * self.experts

    @property
    def value(self) -> np.ndarray:
        """What s is rounded from, (layers, experts), see `State`."""
        return self.s

    def state(self) -> State:
        """Return a copy of the state: what the last update saw, its branch, and where that led.

        Returns
        -------
        State
        """
        return State(
            f=self._f.copy(),
            delta=self._delta.copy(),
            up=self._compared[0].copy(),
            down=self._compared[1].copy(),
            branch=self._branch.copy(),
            s=self.s.copy(),
            value=self.value.astype(float),
            next_up=self._up.copy(),
            next_down=self._down.copy(),
        )

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        """Change s, a view of `self.s[at]`, by the evidence f about those experts."""
        raise NotImplementedError

    def _one_level(self, delta: np.ndarray, s: np.ndarray, at: Any) -> None:
        """Move s one level where `delta` crosses a boundary: the inertial transition."""
        up, down = self._up[at], self._down[at]
        self._compared[0][at], self._compared[1][at] = up, down
        rises = delta >= up
        branch = self._branch[at]
        np.subtract(rises, (-delta >= down) & ~rises, out=branch, dtype=np.int8)
        s += branch
        np.clip(s, 0, self.K, out=s)
        self._delta[at] = delta

    def _jump(self, value: np.ndarray, s: np.ndarray, at: Any) -> None:
        """Set s to the level nearest to `value`, halves rounded up."""
        level = np.clip(np.floor(value + 0.5), 0, self.K).astype(np.int16)
        np.sign(level - s, out=self._branch[at], casting="unsafe")
        s[...] = level


class Paper(Estimator):
    """Algorithm 1 of the paper as printed (arXiv 2603.09983).

    At γ < 2 its boundaries start at 0, and then every expert climbs to K.

    Parameters
    ----------
    layers, experts, K, gamma
        See `Estimator`.
    forgetting : float
        λ, the share of a boundary that each change replaces.
    """

    rule = "paper"
    update_s, cell_s = 18e-6, 7.5e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, forgetting: float = 0.1
    ) -> None:
        super().__init__(layers, experts, K=K, gamma=gamma)
        self.forgetting = check_number("forgetting", forgetting, above=0, most=1)
        self._up[...] = self._down[...] = self._start()

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        delta = f - self._f[at]
        self._one_level(delta, s, at)
        # Adaptive boundary calibration: only the boundary on the side of the change.
        size = np.abs(delta)
        for boundary, moved in ((self._up[at], delta > 0), (self._down[at], delta < 0)):
            boundary[...] = np.where(moved, self._calibrated(boundary, size), boundary)

    def _start(self) -> float:
        return self.gamma // 2

    def _calibrated(self, boundary: np.ndarray, size: np.ndarray) -> np.ndarray:
        # (1-λ)·boundary + λ·size; the small term keeps floor from turning 0.999…, which is 1, into 0.
        return np.asarray(np.floor(boundary + self.forgetting * (size - boundary) + 1e-9))


class PaperReal(Paper):
    """Algorithm 1 with real boundaries: no floor, neither at their start nor at an update."""

    rule = "paper-real"
    update_s, cell_s = 17e-6, 7e-9

    def _start(self) -> float:
        # γ/2; for plain decoding, where that is 0, half of the largest possible change.
        return max(self.gamma, 1) / 2

    def _calibrated(self, boundary: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.asarray(boundary + self.forgetting * (size - boundary))


class Level(Estimator):
    """Follow the level of f: up where f - s ≥ `up`, down where f - s ≤ -`down`.

    Parameters
    ----------
    layers, experts, K, gamma
        See `Estimator`.
    up, down : float
        Boundaries in positions. The defaults are the paper's ablation without calibration; its released code
        has up 5, down 1 and K 5 (at γ = 8).
    """

    rule = "level"
    update_s, cell_s = 10.5e-6, 2.4e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, up: float = 3, down: float = 1
    ) -> None:
        super().__init__(layers, experts, K=K, gamma=gamma)
        self._up[...] = check_number("up", up, above=0)
        self._down[...] = check_number("down", down, above=0)

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._one_level(f - s, s, at)


class Ema(Estimator):
    """Exponential moving average: average ← (1-λ)·average + λ·f, from 0; s is it, rounded and at most K.

    Parameters
    ----------
    layers, experts, K, gamma
        See `Estimator`.
    forgetting : float
        λ, the weight of the newest evidence.
    """

    rule = "ema"
    update_s, cell_s = 8.7e-6, 2.1e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, forgetting: float = 0.3
    ) -> None:
        super().__init__(layers, experts, K=K, gamma=gamma)
        self.forgetting = check_number("forgetting", forgetting, above=0, most=1)
        self._average = np.zeros_like(self._f)

    @property
    def value(self) -> np.ndarray:
        """The average, (layers, experts)."""
        return self._average

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._delta[at] = f - self._f[at]
        average = self._average[at]
        average += self.forgetting * (f - average)
        self._jump(average, s, at)


class LastCount(Estimator):
    """No memory: s is the evidence, rounded (halves up) and at most K."""

    rule = "last-count"
    update_s, cell_s = 7.2e-6, 1.8e-9

    @property
    def value(self) -> np.ndarray:
        """The last evidence, (layers, experts)."""
        return self._f

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._delta[at] = f - self._f[at]
        self._jump(f, s, at)


RULES: Mapping[str, type[Estimator]] = MappingProxyType(
    {kind.rule: kind for kind in (Paper, PaperReal, Level, Ema, LastCount)}
)


def make_estimator(rule: str, layers: int, experts: int, **options: float) -> Estimator:
    """Make an estimator by the name of its rule.

    Parameters
    ----------
    rule : str
        One of `RULES`.
    layers, experts : int
        Shape of the target's routing.
    **options : float
        `K` (the highest utility, 4) and `gamma` (the draft length, 8) of any rule; `forgetting` of `paper`,
        `paper-real` and `ema`; `up` and `down` of `level`.

    Returns
    -------
    Estimator

    Raises
    ------
    InvalidInputError
        If there is no such rule, or it has no such option, or a value is out of range.

    Examples
    --------
    >>> rule = make_estimator("level", layers=1, experts=3, K=4, up=3, down=1)
    >>> [rule.update(np.array([[0, 3, 9]])).tolist() for _ in range(4)]
    [[[0, 1, 1]], [[0, 1, 2]], [[0, 1, 3]], [[0, 1, 4]]]
    >>> rule.state().of(layer=0, expert=2)["branch"]
    'up'
    """
    kind = RULES[check_choice("rule", rule, RULES)]
    names = tuple(name for name in inspect.signature(kind).parameters if name not in ("layers", "experts"))
    for name in options:
        if name not in names:
            raise InvalidInputError(
                f"{name} was given to rule {rule!r}; expected: {', '.join(names)}" + did_you_mean(name, names)
            )
    return kind(layers, experts, **options)  # type: ignore[arg-type]
