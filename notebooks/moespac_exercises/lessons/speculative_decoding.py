"""Exercises of notebook 02: keep or replace, what is left over, tokens a round, how far ahead."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.datasets.traces import load_trace
from moespac_nb.trace.trace import Trace

from ..exercise import Exercise

__all__ = ["EXERCISES", "LONGEST", "ROUND", "leftover", "sampled", "speed_up", "tokens_a_round"]

LONGEST = 8
CLOSE = 1e-6
GAMMA, ROUND = 4, 3  # of the decode that is read: two tokens kept, the third rejected
TEXTS = 2  # of the domain: enough to step through
READ = 0.005  # the stepper shows two decimals


@lru_cache(maxsize=1)
def sampled() -> Trace:
    """Load the decode that is stepped through: sampled text, a dense trace."""
    trace = load_trace("chat", mode="sample", dense=True, half="report")
    return trace[: int(trace.starts["steps"][TEXTS])]


def tokens_a_round(alpha: float, gamma: int) -> float:
    """Return Ω(γ, α), the tokens that a round is expected to bring.

    Parameters
    ----------
    alpha : float
        The probability that a drafted token is kept, whatever became of the others.
    gamma : int
        The draft length.

    Examples
    --------
    >>> tokens_a_round(0.5, 2)
    1.75
    """
    return float(np.sum(float(alpha) ** np.arange(gamma + 1)))


def speed_up(alpha: float, gamma: int, cost: float) -> float:
    """Return the tokens in the time of one pass of the target alone.

    Parameters
    ----------
    alpha : float
        The probability that a drafted token is kept.
    gamma : int
        The draft length.
    cost : float
        Of a drafted token, in passes of the target.

    Examples
    --------
    >>> speed_up(0.5, 2, 0.125)
    1.4
    """
    return tokens_a_round(alpha, gamma) / (1 + gamma * cost)


def leftover(p: Sequence[float], q: Sequence[float]) -> np.ndarray:
    """Return the distribution that a rejected token is replaced from: p above q, as shares of one.

    Parameters
    ----------
    p, q : sequence of float
        The target's and the draft's probabilities.

    Examples
    --------
    >>> leftover([0.5, 0.5], [0.75, 0.25])
    array([0., 1.])
    """
    above = np.maximum(np.asarray(p) - np.asarray(q), 0)
    return np.asarray(above / above.sum())


def _accept(answer: Callable[[float, float, float], Any], case: tuple[int, int, int]) -> str | None:
    p, q, u = case[0] / 10, case[1] / 10, (2 * case[2] + 1) / 20
    if abs(u - p / q) < CLOSE:  # the rule leaves this open: it happens with probability 0
        return None
    returned = answer(p, q, u)
    if returned is True or returned is False or isinstance(returned, np.bool_):
        if bool(returned) == (u < p / q):
            return None
    else:
        return f"for p = {p}, q = {q}, u = {u} it returned {returned!r}; True or False is asked for"
    words = f"for p = {p}, q = {q}, u = {u} it returned {returned}. "
    if p >= q:
        return words + "The target likes this token at least as much as the draft does"
    if p == 0:
        return words + "The target would never write this token"
    return words + f"The draft proposes this token too often; {p} in {q} of the times it should stay"


def _nearly(answer: float, _case: None) -> str | None:
    step = list(sampled().rounds(GAMMA))[ROUND]
    at = step.accepted
    p, q = float(step.target_probs[at]), float(step.draft_probs[at])
    if (p - READ) / (q + READ) <= answer <= (p + READ) / (q - READ):
        return None
    wrote = f"you wrote {answer:g}. "
    if not 0 <= answer <= 1:
        return wrote + "A probability lies between 0 and 1. Did you divide the other way round?"
    if min(abs(answer - p), abs(answer - q)) <= READ:
        return wrote + "So likely one of the two models finds the token. The rule looks at both"
    if step.uniforms is not None and abs(answer - step.uniforms[at]) <= READ:
        return wrote + "That is the number that was drawn. How often would such a number keep the token?"
    return wrote + (
        "Take the token that is struck out first, as those after it were not judged. In what share of the "
        "cases does the rule keep it?"
    )


_WEIGHTS = st.lists(st.integers(0, 6), min_size=2, max_size=4).filter(any)


@st.composite
def _two_distributions(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    p = draw(_WEIGHTS)
    q = draw(st.lists(st.integers(0, 6), min_size=len(p), max_size=len(p)).filter(any))
    return [weight / sum(p) for weight in p], [weight / sum(q) for weight in q]


def _leftover(
    answer: Callable[[list[float], list[float]], Any], case: tuple[list[float], list[float]]
) -> str | None:
    p, q = case
    if np.allclose(p, q):  # nothing is ever rejected
        return None
    returned = np.asarray(answer(list(p), list(q)), float)
    call = f"for p = {_written(p)} and q = {_written(q)} it returned {_written(np.atleast_1d(returned))}"
    if returned.shape != (len(p),):
        return f"{call}; a probability for each of the {len(p)} tokens is asked for"
    if (returned < -CLOSE).any():
        return f"{call}. No probability is negative"
    enough = [n for n in range(len(p)) if p[n] <= q[n] and returned[n] > CLOSE]
    if enough:
        n = enough[0]
        how_often = "more often than" if q[n] > p[n] + CLOSE else "as often as"
        return (
            f"{call}. Token {n} is drafted with probability {q[n]:.3g}, which is {how_often} the target "
            f"wants it, {p[n]:.3g}: it has come often enough, and must not come again here"
        )
    if abs(returned.sum() - 1) > CLOSE:
        return f"{call}, which adds up to {returned.sum():.3g}"
    if np.allclose(returned, leftover(p, q), atol=CLOSE):
        return None
    return f"{call}. Keep with probability min(1, p/q), else draw from this: together it must come to p"


def _tokens(answer: Callable[[float, int], Any], case: tuple[int, int]) -> str | None:
    alpha, gamma = case[0] / 10, case[1]
    returned = answer(alpha, gamma)
    if abs(returned - tokens_a_round(alpha, gamma)) < CLOSE:
        return None
    call = f"for α = {alpha:g} and γ = {gamma} it returned {returned:.4g}. "
    if gamma == 0:
        return call + "Without a draft, a round brings one token, the target's own"
    if alpha == 1:
        return call + "All drafted tokens are kept, and the target adds its own"
    if alpha == 0:
        return call + "No drafted token is ever kept; the target's own is left"
    return (
        call + "A drafted token counts only if those before it were kept; and each round ends with one more"
    )


def _pays(answer: Callable[[float, float], Any], case: tuple[int, int]) -> str | None:
    alpha, cost = case[0] / 10, case[1] / 10
    returned = answer(alpha, cost)
    call = f"for α = {alpha:g} and a drafted token that costs {cost:g} of a pass it returned {returned!r}"
    if (
        isinstance(returned, bool)
        or not isinstance(returned, int | np.integer)
        or not 0 <= returned <= LONGEST
    ):
        return f"{call}; a whole number from 0 to {LONGEST} is asked for"
    speeds = [speed_up(alpha, gamma, cost) for gamma in range(LONGEST + 1)]
    if speeds[returned] >= max(speeds) - CLOSE:
        return None
    way = "shorter" if int(np.argmax(speeds)) < returned else "longer"
    return f"{call}: {speeds[returned]:.3g} tokens in the time of one pass. A {way} draft brings more"


def _written(values: Any) -> str:
    return "[" + ", ".join(f"{value:.3g}" for value in values) + "]"


EXERCISES = (
    Exercise(
        "02.1",
        "Keep it?",
        takes="a function of (p, q, u)",
        cases=st.tuples(st.integers(0, 10), st.integers(1, 10), st.integers(0, 9)),
        fault=_accept,
    ),
    Exercise("02.2", "How nearly was it kept?", takes="a number", cases=(None,), fault=_nearly),
    Exercise(
        "02.3", "What is left over", takes="a function of (p, q)", cases=_two_distributions(), fault=_leftover
    ),
    Exercise(
        "02.4",
        "Tokens a round",
        takes="a function of (alpha, gamma)",
        cases=st.tuples(st.integers(0, 10), st.integers(0, LONGEST)),
        fault=_tokens,
    ),
    Exercise(
        "02.5",
        "How far ahead?",
        takes="a function of (alpha, cost)",
        cases=st.tuples(st.integers(0, 10), st.integers(0, 10)),
        fault=_pays,
    ),
)
