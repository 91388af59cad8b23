"""Exercises of notebook 00: reading a decode, the greedy rule, and recall by hand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.datasets.traces import load_trace
from moespac_nb.estimator.evaluation import recall
from moespac_nb.trace.step import Step
from moespac_nb.trace.trace import Trace

from ..exercise import Exercise

__all__ = ["EXERCISES", "GAMMA", "LAYER", "ROUND", "recorded"]

TEXT = 1  # of the domain's report half: a short one, on which the draft is often wrong
GAMMA = 4
LAYER = 5
ROUND = 3


@cache
def recorded() -> Trace:
    """Load the decode that the questions are asked of: one text, a dense trace."""
    trace = load_trace("mcq", dense=True, half="report")
    return trace[slice(*trace.starts["steps"][TEXT : TEXT + 2])]


@cache
def _rounds(gamma: int) -> list[Step]:
    return list(recorded().rounds(gamma))


def _authors(answer: Sequence[Any], _case: None) -> str | None:
    rounds = _rounds(GAMMA)[: ROUND + 1]
    drafted, accepted = sum(step.gamma for step in rounds), sum(step.accepted for step in rounds)
    grown = sum(len(step.emitted) for step in rounds)
    values = list(answer)
    if values == [accepted, grown - accepted]:
        return None
    if len(values) != 2:
        return f"{values}: asked are two numbers, the draft's tokens and the target's, such as [2, 5]"
    if values == [grown - accepted, accepted]:
        return f"{values}: these are the two numbers in the other order. The draft's comes first"
    if values[0] == drafted:
        return f"{values}: {values[0]} tokens were drafted. Some of them were rejected, and stand in no text"
    if values[0] == accepted:
        return f"{values}: the draft's share is right. Each round ends with something that was not drafted"
    rest = "rounds are counted from 0, and the one on which the stepper opens is among them"
    return f"{values}: {rest}. Accepted tokens bear a tick, and every round adds one token of the target's"


def _accepted(answer: Callable[[list[int], list[int]], Any], case: tuple[int, int]) -> str | None:
    gamma, number = case
    step = _rounds(gamma)[number % len(_rounds(gamma))]
    drafted, choices = step.drafted.tolist(), step.target_ids.tolist()
    returned = answer(list(drafted), list(choices))
    if returned == step.accepted and not isinstance(returned, bool):
        return None
    matches = [n for n in range(step.gamma) if drafted[n] == choices[n]]
    return (
        f"for drafted {drafted} and choices {choices} it returned {returned!r}. They agree at "
        f"{matches or 'no place'}; accepted is what comes before the first place at which they differ"
    )


def _round_view(case: tuple[int, int]) -> dict[str, Any]:
    gamma, number = case
    return {"trace": recorded(), "gamma": gamma, "step": number % len(_rounds(gamma))}


def _askers(answer: Sequence[Any], _case: None) -> str | None:
    step = _rounds(GAMMA)[ROUND]
    values = list(answer)
    strange = [value for value in values if value not in range(step.gamma + 1)]
    if strange:
        return f"{strange[0]!r} is no position of this window: they are numbered from 0 to {step.gamma}"
    if set(values) in _busiest(step, LAYER):
        return None
    for layer in range(step.experts.shape[1]):
        if set(values) in _busiest(step, layer):
            return f"{values} asked for the busiest expert of layer {layer}. Asked is layer {LAYER}"
    return (
        f"{values}: no expert that is busiest in layer {LAYER} was asked for by just these positions. "
        "Choose the cell with the highest number; the tokens that asked for it then bear a diamond"
    )


def _busiest(step: Step, layer: int) -> list[set[int]]:
    """Which positions asked for a layer's busiest expert, or for each of them."""
    counts = step.counts[layer]
    uses = (step.experts[:, layer] == expert for expert in np.flatnonzero(counts == counts.max()))
    return [set(np.flatnonzero(used.any(axis=1)).tolist()) for used in uses]


def _recall(answer: float, _case: None) -> str | None:
    now, following = (step.counts[LAYER] for step in _rounds(GAMMA)[ROUND : ROUND + 2])
    named = np.flatnonzero(now)
    right = float(recall(named[None], following[None])[0])
    if abs(answer - right) < 0.006:
        return None
    hits = round(right * np.count_nonzero(following))
    if abs(answer - hits / len(named)) < 0.006:
        return (
            f"{answer:g} is the share of the named experts that were needed, which is called precision. "
            "Asked is the share of the needed ones that were named"
        )
    if answer == hits:
        return f"{answer:g} experts stand in both lines. Asked is a share: of how many?"
    if not 0 <= answer <= 1:
        return f"{answer:g} is not between 0 and 1. 60 % is written 0.6"
    return f"{answer:g}: how many experts stand in both lines, and how many does the next window ask for?"


EXERCISES = (
    Exercise("00.1", "Who wrote it?", takes="a list of two numbers", cases=(None,), fault=_authors),
    Exercise(
        "00.2",
        "The rule as code",
        takes="a function of (drafted, choices)",
        cases=st.tuples(st.integers(1, 8), st.integers(0, 40)),
        fault=_accepted,
        view=_round_view,
    ),
    Exercise("00.3", "Who asked?", takes="a list of positions", cases=(None,), fault=_askers),
    Exercise("00.4", "Recall by hand", takes="a number", cases=(None,), fault=_recall),
)
