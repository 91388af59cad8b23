"""Exercises of notebook 03: reuse of experts, information of counts and bits, margins, recall."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Real
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.estimator.evaluation import recall
from moespac_nb.trace.locality import distinct_by_chance

from ..exercise import Exercise
from ..information import information_of

__all__ = ["ACCEPTANCE", "EXERCISES", "REUSE", "THRESHOLD"]

# arXiv 2603.09983, figure 7: Qwen3-235B-A22B on MT-Bench, experts of a pass over those of a plain step, by γ.
REUSE = {3: 2.24, 4: 2.72, 5: 3.20, 6: 3.52, 7: 3.80, 8: 4.13, 9: 4.50, 10: 4.83, 11: 5.90, 12: 6.32}
ACCEPTANCE = 0.8  # which the same figure assumes
THRESHOLD = 2  # τ of the margin's example

CLOSE = 1e-6

_LAYERS = st.integers(1, 64).flatmap(
    lambda experts: st.tuples(st.just(experts), st.integers(1, experts), st.integers(1, 12))
)
_TABLES = st.integers(1, 4).flatmap(
    lambda wide: st.lists(
        st.lists(st.integers(0, 6), min_size=wide, max_size=wide), min_size=1, max_size=4
    ).filter(lambda rows: any(map(any, rows)))
)
_FORECASTS = st.integers(2, 6).flatmap(
    lambda experts: st.tuples(
        st.permutations(range(experts)),
        st.lists(st.integers(0, 3), min_size=experts, max_size=experts).filter(any),
        st.integers(1, experts),
    )
)


def _number(value: Any) -> float:
    """Return what a function returned; NaN, which is never right, where that is no number."""
    return float(value) if isinstance(value, Real | np.number) else float("nan")


def _distinct(answer: Callable[[int, int, int], float], case: tuple[int, int, int]) -> str | None:
    experts, k, positions = case
    returned = _number(answer(experts, k, positions))
    right = distinct_by_chance(np.full(experts, k / experts), positions)
    if abs(returned - right) < CLOSE * experts:
        return None
    call = f"with {experts} experts, {k} for each of {positions} position(s), it returned {returned:.4g}"
    if returned > experts:
        return f"{call}: more experts than there are"
    if positions == 1:
        return f"{call}. One position alone asks for its {k}"
    if returned > right:
        return f"{call}: too many. Two positions may ask for the same expert, and it is counted once"
    return f"{call}: too few. Write a program that draws at random, and compare the mean"


def _longest(answer: float, _case: None) -> str | None:
    pays = [gamma for gamma, loads in REUSE.items() if loads < _tokens(gamma)]
    if answer == max(pays):
        return None
    if answer in REUSE and answer not in pays:
        gamma = int(answer)
        return (
            f"at γ = {gamma} a pass asks for {REUSE[gamma]:g} times as many experts as a step, and brings "
            f"{_tokens(gamma):.2f} tokens: more experts a token than without a draft"
        )
    if answer in pays:
        return f"γ = {answer:g} pays, but it is not the longest of the table that does"
    return f"γ = {answer:g} is not in the published table, which has 3 to 12"


def _tokens(gamma: int) -> float:
    return (1 - ACCEPTANCE ** (gamma + 1)) / (1 - ACCEPTANCE)


def _information(answer: Callable[[list[list[float]]], float], case: list[list[int]]) -> str | None:
    joint = np.array(case) / np.sum(case)
    returned = _number(answer([list(map(float, row)) for row in joint]))
    right = information_of(joint)
    if abs(returned - right) < CLOSE:
        return None
    call = f"for the table {[[round(float(p), 3) for p in row] for row in joint]} it returned {returned:.4g}"
    if returned != returned:
        return f"{call}, which is no number. A combination that never occurs adds nothing"
    if returned < -CLOSE:
        return f"{call}. Information is never less than 0"
    if right < CLOSE:
        return f"{call}. Here knowing the row says nothing of the column: there is no information"
    if abs(returned * np.log(2) - right) < CLOSE or abs(returned / np.log(2) - right) < CLOSE:
        return f"{call}: right but for the unit. A bit is what a fair coin tells: logarithms to base 2"
    return f"{call}. Lay beside it the table of these rows and columns if neither told of the other"


def _nothing(answer: float, _case: None) -> str | None:
    if abs(answer) < CLOSE:
        return None
    return (
        f"{answer:g} bits: of what the next window needs? You may well be surprised by a count: that is its "
        "entropy. But each position is drawn for itself, with a p that you know already. After a count of 0, "
        "and after a count of 9, with what probability is the expert needed next?"
    )


def _counterexample(answer: list[Any], _case: None) -> str | None:
    values = list(answer)
    if len(values) != 2 or any(
        isinstance(value, bool) or not isinstance(value, int | np.integer) for value in values
    ):
        return f"{values}: write two whole numbers, the true count and the estimate, such as [5, 3]"
    true, estimate = map(int, values)
    if min(true, estimate) < 0:
        return f"{values}: a count is 0 or more"
    error, margin = abs(estimate - true), abs(true - THRESHOLD)
    if error > margin:
        return f"{values}: the error is {error} and the margin {margin}. The claim is about errors within it"
    if (true >= THRESHOLD) == (estimate >= THRESHOLD):
        how = "hot" if true >= THRESHOLD else "cold"
        return (
            f"{values}: both the true count and the estimate are {how}, so the decision stands. No fault here"
        )
    return None


def _recall(answer: Callable[..., float], case: tuple[list[int], list[int], int]) -> str | None:
    scores, counts, size = case
    returned = _number(answer([float(score) for score in scores], list(counts), size))
    named = np.argsort(-np.array(scores), kind="stable")[:size]
    right = float(recall(named[None], np.array([counts]))[0])
    if abs(returned - right) < CLOSE:
        return None
    call = f"for scores {list(scores)}, next counts {list(counts)} and size {size} it returned {returned:.4g}"
    if not 0 <= returned <= 1:
        return f"{call}. A share lies between 0 and 1"
    if abs(returned - right * np.count_nonzero(counts) / size) < CLOSE:
        return f"{call}: a share of the named experts. Asked is a share of the needed ones"
    served = sum(np.array(counts)[named])
    if abs(returned - served / sum(counts)) < CLOSE:
        return f"{call}: a share of positions. Asked is one of experts: each needed expert counts once"
    return (
        f"{call}. Named are just {size} of {len(scores)} experts, those of the highest scores; needed are "
        "those whose next count is not 0"
    )


EXERCISES = (
    Exercise(
        "03.1",
        "Experts by chance",
        takes="a function of (experts, k, positions)",
        cases=_LAYERS,
        fault=_distinct,
    ),
    Exercise("03.2", "How long a draft pays", takes="a number", cases=(None,), fault=_longest),
    Exercise(
        "03.3", "Information of a table", takes="a function of (table)", cases=_TABLES, fault=_information
    ),
    Exercise("03.4", "A world of coins", takes="a number", cases=(None,), fault=_nothing),
    Exercise(
        "03.5",
        "Within the margin, and wrong",
        takes="a list of two counts",
        cases=(None,),
        fault=_counterexample,
    ),
    Exercise(
        "03.6",
        "Recall at equal size",
        takes="a function of (scores, counts, size)",
        cases=_FORECASTS,
        fault=_recall,
    ),
)
