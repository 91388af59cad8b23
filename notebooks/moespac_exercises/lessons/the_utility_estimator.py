"""Exercises of notebook 04: a move, the ratchet, heat that is not seen, where a level rests, an own rule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from itertools import pairwise
from math import floor
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.datasets.traces import load_trace
from moespac_nb.estimator.evaluation import recall
from moespac_nb.estimator.utility import make_estimator
from moespac_nb.trace.step import Step
from moespac_nb.trace.trace import Trace

from ..exercise import Exercise

__all__ = ["EXERCISES", "FORGETTING", "GAMMA", "NAMED", "K", "moved", "recall_of", "recorded", "resting"]

Rule = Callable[[np.ndarray, np.ndarray], np.ndarray]
K, GAMMA, FORGETTING = 4, 8, 0.1
NAMED = 16
STEADY = 9  # positions of every window, of an expert that is always hot
LAST, HOT = 5, 5  # windows at the end, and positions that make an expert hot in them


def moved(s: int, delta: float, up: float, down: float) -> int:
    """Return the utility after the inertial transition of the paper's Algorithm 1: at most one level.

    Parameters
    ----------
    s : int
        The utility before, from 0 to K.
    delta : float
        The change of the evidence.
    up, down : float
        The boundaries.

    Examples
    --------
    >>> moved(2, 5, 3, 1), moved(2, -1, 3, 1), moved(2, 0, 3, 1)
    (3, 1, 2)
    """
    return min(K, s + 1) if delta >= up else max(0, s - 1) if -delta >= down else s


def resting(f: int, up: int, down: int) -> tuple[int, int]:
    """Return the lowest and the highest s at which the rule `level` stays, if the evidence is always f.

    Parameters
    ----------
    f : int
        The evidence.
    up, down : int
        The boundaries.

    Examples
    --------
    >>> resting(2, 1, 1)
    (2, 2)
    """
    stays = [s for s in range(K + 1) if moved(s, f - s, up, down) == s]
    return stays[0], stays[-1]


@cache
def recorded() -> Trace:
    """Load what an own rule is tried on: sampled text of `chat`, a dense trace."""
    return load_trace("chat", mode="sample", dense=True, half="report")


@cache
def _texts() -> list[list[Step]]:
    texts: list[list[Step]] = []
    for step in recorded().rounds(GAMMA):
        if step.index == 0:
            texts.append([])
        texts[-1].append(step)
    return [steps for steps in texts if len(steps) > 1]


def recall_of(rule: Rule) -> float:
    """Return the share of the next window's experts that are among the NAMED of highest value a layer.

    Parameters
    ----------
    rule : callable
        (value, counts) → value, both (layers, experts), from 0 on in every text. Among equals those come
        first that served more of the last window.
    """
    return _recall(lambda: rule)


def _recall(begin: Callable[[], Rule]) -> float:
    """Return the same of a rule that every text begins anew."""
    shares = []
    for steps in _texts():
        value, rule = np.zeros(steps[0].counts.shape), begin()
        for now, following in pairwise(steps):
            value = rule(value, now.counts.astype(float))
            named = np.argsort(-(value + 1e-6 * now.counts), axis=1, kind="stable")[:, :NAMED]
            shares.append(recall(named, following.counts))
    return float(np.mean(shares))


@cache
def _printed() -> float:
    def begin() -> Rule:
        state = make_estimator("paper", *_texts()[0][0].counts.shape, K=K, gamma=GAMMA)
        return lambda _value, counts: state.update(counts).astype(float)

    return _recall(begin)


def _move(answer: Callable[..., Any], case: tuple[int, int, int, int, int]) -> str | None:
    s, f, before, up, down = case
    returned, right = answer(s, f, before, up, down), moved(s, f - before, up, down)
    if returned == right and not isinstance(returned, bool):
        return None
    boundaries = f"boundaries {up} up and {down} down"
    call = f"s = {s}, f goes from {before} to {f}, {boundaries}: it returned {returned!r}. "
    if not 0 <= returned <= K:
        return call + f"Utility stays between 0 and {K}"
    if abs(returned - s) > 1:
        return call + "One level at a time, however large the change"
    delta = f - before
    if delta >= up or -delta >= down:
        side = "up" if delta >= up else "down"
        return call + f"A change of {delta} does reach the boundary {side}"
    return call + f"A change of {delta} reaches neither boundary"


def _boundary(answer: Callable[[int, int], Any], case: tuple[int, int]) -> str | None:
    up, change = case
    returned, right = answer(up, change), floor((1 - FORGETTING) * up + FORGETTING * change + 1e-9)
    if returned == right:
        return None
    call = f"a boundary of {up} and a change of {change}: it returned {returned!r}. "
    exact = (1 - FORGETTING) * up + FORGETTING * change
    if abs(returned - exact) < 1e-9:
        return call + "That is before rounding down"
    return call + f"Nine tenths of {up} and one tenth of {change} are {exact:g}, and then comes a floor"


def _steady(answer: float, _case: None) -> str | None:
    rule = make_estimator("paper", 1, 1, K=K, gamma=GAMMA)
    for _ in range(20):
        rule.update(np.array([[STEADY]]))
    if answer == rule.s[0, 0]:
        return None
    if answer == K:
        return f"{answer:g}: that is what such an expert deserves. But the rule looks at *changes* of f"
    return f"{answer:g}: f is 0 before the first window, then {STEADY}. What is Δ in the second window?"


def _unseen(answer: Sequence[Any], _case: None) -> str | None:
    returned = list(answer)
    if any(isinstance(f, bool) or f not in range(STEADY + 1) for f in returned):
        return f"{returned}: a count is a whole number from 0 to {STEADY}"
    if len(returned) < LAST or min(returned[-LAST:]) < HOT:
        return f"{returned}: the last {LAST} counts must all be {HOT} or more"
    rule = make_estimator("paper", 1, 1, K=K, gamma=GAMMA)
    trail = [int(rule.update(np.array([[int(f)]]))[0, 0]) for f in returned]
    if trail[-1] == 0:
        return None
    first = next(n for n, s in enumerate(trail) if s)
    before = returned[first - 1] if first else 0
    rise = f"s goes {trail}. It first rises at the change from {before} to {returned[first]}"
    return f"{returned}: {rise}. Can the count come up without any change that reaches the boundary?"


def _rests(answer: Callable[[int, int, int], Any], case: tuple[int, int, int]) -> str | None:
    f, up, down = case
    returned, right = answer(f, up, down), resting(f, up, down)
    if tuple(returned) == right:
        return None
    call = f"f is always {f}, boundaries {up} up and {down} down: it returned {returned!r}. "
    for s in range(K + 1):
        inside = returned[0] <= s <= returned[1]
        after = moved(s, f - s, up, down)
        if inside and after != s:
            return call + f"At s = {s} it does not stay: f - s is {f - s}, and it moves to {after}"
        if not inside and after == s:
            return call + f"At s = {s} it stays, too: f - s is {f - s}"
    return call + f"Asked are the lowest and the highest level from 0 to {K}"


def _own(answer: Callable[[np.ndarray, np.ndarray], Any], _case: None) -> str | None:
    def rule(value: np.ndarray, counts: np.ndarray) -> np.ndarray:
        returned = np.asarray(answer(value.copy(), counts.copy()), float)
        if returned.shape != value.shape or not np.isfinite(returned).all():
            raise ValueError(f"the new value has shape {returned.shape}, asked is {value.shape}, all finite")
        return returned

    share, printed = recall_of(rule), _printed()
    if share > printed:
        return None
    return f"its recall is {share:.4f}, and the printed rule's {printed:.4f}, on the same texts"


EXERCISES = (
    Exercise(
        "04.1",
        "One move",
        takes="a function of (s, f, before, up, down)",
        cases=st.tuples(st.integers(0, K), *[st.integers(0, 9)] * 2, *[st.integers(1, 4)] * 2),
        fault=_move,
    ),
    Exercise(
        "04.2",
        "The ratchet",
        takes="a function of (up, change)",
        cases=st.tuples(st.integers(1, 9), st.integers(1, 9)),
        fault=_boundary,
    ),
    Exercise("04.3", "Always hot", takes="a number", cases=(None,), fault=_steady),
    Exercise("04.4", "Hot, and cold to the rule", takes="a list of counts", cases=(None,), fault=_unseen),
    Exercise(
        "04.5",
        "Where a level rests",
        takes="a function of (f, up, down)",
        cases=st.tuples(st.integers(0, 9), st.integers(1, 5), st.integers(1, 3)),
        fault=_rests,
    ),
    Exercise("04.6", "Your own rule", takes="a function of (value, counts)", cases=(None,), fault=_own),
)
