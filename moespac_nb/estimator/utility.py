"""Speculative Utility Estimator: evidence about the next window in, a utility s in 0..K for each expert out.

    rule = estimator("paper", layers=48, experts=128, K=4, gamma=8)
    s = rule.update(step.counts)      # (layers, experts) int: 0 is cold, K is hot
    rule.state().branch               # which way each expert's state machine went, and why

Evidence is in positions: how many of a window's γ + 1 an expert served, or is expected to serve. The paper's
is the counts f of the window just verified; `sensors.py` has others, and any drives any rule. Every expert
starts at s = 0, and as if its evidence before the first had been 0. Numpy only.

The rules:

- `paper`: the paper's Algorithm 1 as printed (arXiv 2603.09983). It moves on the change of f, and has two
  defects. Its floors are a ratchet: with λ = 0.1 and |Δ| ≤ 9 a boundary never rises, and ends at 1. And it
  forgets constant heat: an expert that stays hot climbs once, and no further.
- `paper-real`: the same without the floors. That cures the ratchet, not the forgetting.
- `level`: moves on f less s, as the paper's released code does: that cures both. A steady f ends in a band,
  at f - up + 1 from below and at f + down - 1 from above.
- `ema`: an exponential moving average of the evidence; its s is that, rounded.
- `last-count`: the last evidence alone; its s is that, rounded.

The first three are inertial: s moves by at most one level an update.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np

from ..utils.exceptions import MoespacError, did_you_mean

__all__ = ["BRANCHES", "DOWN", "RULES", "STAY", "UP", "Estimator", "State", "make_estimator"]

UP, STAY, DOWN = 1, 0, -1
BRANCHES: Mapping[int, str] = MappingProxyType({UP: "up", STAY: "stay", DOWN: "down"})


@dataclass(frozen=True, eq=False)
class State:
    """An estimator after an update, all (layers, experts): a copy, closed for writing.

    `up` and `down` are the boundaries that `delta` was compared with, `next_up` and `next_down` those of the
    next update. NaN where a rule has none.
    """

    f: np.ndarray  # float, the evidence
    delta: np.ndarray  # float, what the rule looked at: f - f before; for `level` f - s before
    up: np.ndarray
    down: np.ndarray
    branch: np.ndarray  # int8, what the rule wanted: a key of BRANCHES. At 0 and at K it may want in vain
    s: np.ndarray  # int16, 0..K
    value: np.ndarray  # float, what s is made of: the average of `ema`, the evidence of `last-count`; else s
    next_up: np.ndarray
    next_down: np.ndarray

    def __post_init__(self) -> None:
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)

    def of(self, layer: int, expert: int) -> dict[str, Any]:
        """One expert's state machine as plain values, the branch by its name."""
        values = {field.name: getattr(self, field.name)[layer, expert].item() for field in fields(self)}
        return {**values, "branch": BRANCHES[values["branch"]]}


class Estimator:
    """What all rules share: the state, and one update after another. A rule is what `_transition` does."""

    rule: ClassVar[str]
    update_s: ClassVar[float]  # calibrated, see `thinking_s`
    cell_s: ClassVar[float]

    def __init__(self, layers: int, experts: int, *, K: int = 4, gamma: int = 8) -> None:
        """K: the highest utility. gamma: the draft length, which the boundaries of some rules start from."""
        self.layers = _whole("layers", layers, least=1)
        self.experts = _whole("experts", experts, least=1)
        self.K = _whole("K", K, least=1)
        self.gamma = _whole("gamma", gamma, least=0)
        shape = (layers, experts)
        self.s = np.zeros(shape, np.int16)
        self._f = np.zeros(shape)
        self._delta = np.zeros(shape)
        self._branch = np.zeros(shape, np.int8)
        # One set of boundaries is compared with, the other is for the next update.
        self._compared = np.full((2, *shape), np.nan)
        self._up, self._down = np.full((2, *shape), np.nan)

    def update(self, evidence: np.ndarray, layer: int | None = None) -> np.ndarray:
        """Take in evidence about the next window, give back s, (layers, experts); the next update changes it.

        evidence: (layers, experts) positions; with `layer`, that one's (experts,), for a sensor that learns
        about each layer at its own time, and then s is that layer's.
        """
        at: Any = slice(None) if layer is None else layer
        s: np.ndarray = self.s[at]
        if evidence.shape != s.shape:
            raise MoespacError(f"the evidence has shape {evidence.shape}; expected: {s.shape}")
        if evidence.dtype.kind == "f" and not np.isfinite(evidence.sum()):
            raise MoespacError(
                "the evidence holds a number that is not finite; expected: positions, 0 and more"
            )
        self._transition(evidence, s, at)
        self._f[at] = evidence
        return s

    @property
    def overhead_s(self) -> float:
        """Seconds an update takes, modelled: from constants that `moespac foretell --timing` measures."""
        return self.update_s + self.cell_s * self.layers * self.experts

    @property
    def value(self) -> np.ndarray:
        """What s is made of, (layers, experts): see `State`."""
        return self.s

    def state(self) -> State:
        """A copy of everything: what the last update saw, which way it went, and where that led."""
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
        """Change s, a view of what lies at `at`, by the evidence f there."""
        raise NotImplementedError

    def _one_level(self, delta: np.ndarray, s: np.ndarray, at: Any) -> None:
        """Inertial utility transition: one level towards where `delta` crosses a boundary."""
        up, down = self._up[at], self._down[at]
        self._compared[0][at], self._compared[1][at] = up, down
        rises = delta >= up
        branch = self._branch[at]
        np.subtract(rises, (-delta >= down) & ~rises, out=branch, dtype=np.int8)
        s += branch
        np.clip(s, 0, self.K, out=s)
        self._delta[at] = delta

    def _jump(self, value: np.ndarray, s: np.ndarray, at: Any) -> None:
        """To the level nearest to `value`, halves upwards."""
        level = np.clip(np.floor(value + 0.5), 0, self.K).astype(np.int16)
        np.sign(level - s, out=self._branch[at], casting="unsafe")
        s[...] = level


class Paper(Estimator):
    """Algorithm 1 as printed. At γ < 2 its boundaries start at 0, and then every expert climbs to K."""

    rule = "paper"
    update_s, cell_s = 18e-6, 7.5e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, forgetting: float = 0.1
    ) -> None:
        """forgetting: λ, how much of a boundary each change replaces."""
        super().__init__(layers, experts, K=K, gamma=gamma)
        self.forgetting = _share("forgetting", forgetting)
        self._up[...] = self._down[...] = self._start()

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        delta = f - self._f[at]
        self._one_level(delta, s, at)
        # Adaptive boundary calibration: only of the boundary on the side that the change was.
        size = np.abs(delta)
        for boundary, moved in ((self._up[at], delta > 0), (self._down[at], delta < 0)):
            boundary[...] = np.where(moved, self._calibrated(boundary, size), boundary)

    def _start(self) -> float:
        return self.gamma // 2

    def _calibrated(self, boundary: np.ndarray, size: np.ndarray) -> np.ndarray:
        # (1-λ)·boundary + λ·size; the small term keeps floor from making 0 of a 0.999… that stands for 1.
        return np.asarray(np.floor(boundary + self.forgetting * (size - boundary) + 1e-9))


class PaperReal(Paper):
    """The same with real boundaries: no floor, neither where they start nor where they go."""

    rule = "paper-real"
    update_s, cell_s = 17e-6, 7e-9

    def _start(self) -> float:
        # γ/2; of plain decoding, where that is 0, half of the one change there can be.
        return max(self.gamma, 1) / 2

    def _calibrated(self, boundary: np.ndarray, size: np.ndarray) -> np.ndarray:
        return np.asarray(boundary + self.forgetting * (size - boundary))


class Level(Estimator):
    """Follows the level of f: up where f - s ≥ `up`, down where f - s ≤ -`down`.

    The released code has up 5, down 1 and K 5 (at γ = 8); the defaults are the paper's ablation without
    calibration, up 3 and down 1.
    """

    rule = "level"
    update_s, cell_s = 10.5e-6, 2.4e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, up: float = 3, down: float = 1
    ) -> None:
        """up, down: the boundaries, in positions."""
        super().__init__(layers, experts, K=K, gamma=gamma)
        self._up[...] = _positive("up", up)
        self._down[...] = _positive("down", down)

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._one_level(f - s, s, at)


class Ema(Estimator):
    """Average ← (1-λ)·average + λ·f, from 0; s is it, rounded (halves up) and cut at K."""

    rule = "ema"
    update_s, cell_s = 8.7e-6, 2.1e-9

    def __init__(
        self, layers: int, experts: int, *, K: int = 4, gamma: int = 8, forgetting: float = 0.3
    ) -> None:
        """forgetting: λ, the weight of the newest evidence."""
        super().__init__(layers, experts, K=K, gamma=gamma)
        self.forgetting = _share("forgetting", forgetting)
        self._average = np.zeros_like(self._f)

    @property
    def value(self) -> np.ndarray:
        return self._average

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._delta[at] = f - self._f[at]
        average = self._average[at]
        average += self.forgetting * (f - average)
        self._jump(average, s, at)


class LastCount(Estimator):
    """No memory: s is the evidence, rounded (halves up) and cut at K."""

    rule = "last-count"
    update_s, cell_s = 7.2e-6, 1.8e-9

    @property
    def value(self) -> np.ndarray:
        return self._f

    def _transition(self, f: np.ndarray, s: np.ndarray, at: Any) -> None:
        self._delta[at] = f - self._f[at]
        self._jump(f, s, at)


RULES: Mapping[str, type[Estimator]] = MappingProxyType(
    {kind.rule: kind for kind in (Paper, PaperReal, Level, Ema, LastCount)}
)


def make_estimator(rule: str, layers: int, experts: int, **options: float) -> Estimator:
    """A new estimator by the name of its rule.

    options: K and gamma of any; forgetting of `paper`, `paper-real` and `ema`; up and down of `level`.
    """
    if rule not in RULES:
        raise MoespacError(f"rule is {rule!r}; expected: {', '.join(RULES)}{did_you_mean(rule, RULES)}")
    accepted = tuple(
        name for name in inspect.signature(RULES[rule]).parameters if name not in ("layers", "experts")
    )
    for name in options:
        if name not in accepted:
            raise MoespacError(
                f"{name} was given to rule {rule!r}; expected: {', '.join(accepted)}"
                + did_you_mean(name, accepted)
            )
    return RULES[rule](layers, experts, **options)  # type: ignore[arg-type]


def _whole(name: str, value: Any, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
        raise MoespacError(f"{name} is {value!r}; expected: a whole number, {least} or more")
    return int(value)


def _share(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise MoespacError(f"{name} is {value!r}; expected: more than 0, at most 1")
    return float(value)


def _positive(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise MoespacError(f"{name} is {value!r}; expected: a number of positions, more than 0")
    return float(value)
