"""Windows of speculative decoding, made of routing that was recorded without a draft. Numpy only.

What is accepted is the text itself, whose routing is recorded. The routing of what would have been rejected
is made of what the text had routed so far, by a model that the trace names.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal, get_args

import numpy as np

from ...utils.exceptions import InvalidInputError
from ...utils.validation import check_choice, check_number, checked_whole
from ..schema import REDACTED
from ..trace import Trace

__all__ = ["REJECTED", "Rejected", "accepted_lengths", "speculate"]

Rejected = Literal["past", "recent", "none"]
REJECTED = get_args(Rejected)
RECENT = 8  # positions, over which the probability of "recent" falls to 1/e


def speculate(
    trace: Trace,
    gamma: int = 8,
    acceptance: float | Sequence[int] | np.ndarray = 0.75,
    rejected: Rejected = "past",
    seed: int = 0,
) -> Trace:
    """Cut the texts of a trace into windows, as if a draft had proposed γ tokens each time.

    The accepted prefix of a window is the text's own, with its recorded routing. A rejected position is
    routed as an earlier position of the same text or its prompt was, each of a window as another one. So what
    a window's counts tell of later tokens, they tell by the accepted prefix alone.

    Parameters
    ----------
    trace : Trace
        Recorded without a draft, or imported. Of a trace with drafts the committed text alone is taken.
    gamma : int, default 8
        Drafted tokens of each window.
    acceptance : float or sequence of int, default 0.75
        The probability that a drafted token is accepted, 0 to 1, each by itself; or accepted lengths to draw
        from, see `accepted_lengths`.
    rejected : {"past", "recent", "none"}
        How rejected positions are routed: as any earlier positions; as earlier positions of which the last 8
        or so are the likely ones; or not at all: drafts then end where they would err.
    seed : int, default 0
        Of what is drawn.

    Returns
    -------
    Trace
        Without a draft's probabilities, scores and sensor channels; ids of rejected tokens are -1. Its notes
        say what was made up.

    Raises
    ------
    InvalidInputError
        If an argument is not as expected, or γ is longer than every text.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = speculate(load_trace("chat", half="report"), gamma=4, acceptance=0.5)
    >>> trace[0].gamma, trace.notes
    (4, ('windows: made, γ = 4, acceptance 0.5, rejected positions past',))
    """
    gamma = checked_whole("gamma", gamma, least=0)
    check_choice("rejected", rejected, REJECTED)
    shares = _shares(acceptance, gamma)
    if not len(trace):
        raise InvalidInputError("the trace has no steps; expected: one at least")
    positions = np.add.reduceat(trace.committed, trace.starts["steps"][:-1])
    if gamma and positions.max(initial=0) <= gamma:
        raise InvalidInputError(
            f"gamma is {gamma} and the longest text has {positions.max(initial=0)} positions; expected: less"
        )
    firsts = np.cumsum(positions) - positions
    parts = []
    for text, (first, count) in enumerate(zip(firsts, positions, strict=True)):
        rng = np.random.default_rng((seed, text))
        read = len(trace.committed_ids) + np.arange(*trace.starts["prompt"][text : text + 2])
        parts.append(_windows(int(first), int(count), read, gamma, shares, rejected, rng))
    opens, accepted, drafted, places = (np.concatenate(part) for part in zip(*parts, strict=True))
    real = places >= 0
    # Where each committed token was read: the rows that hold its routing.
    step = np.repeat(np.arange(len(trace)), trace.committed)
    recorded = trace.starts["verified"][step] + np.arange(len(step)) - trace.starts["committed"][step]
    # A rejected position may be like one of the prompt, whose rows lie behind all others.
    prompt = len(trace.experts) + np.arange(len(trace.prompt_experts))
    rows = np.concatenate([recorded, prompt])[np.where(real, places, ~places)]
    experts = np.concatenate([trace.experts, trace.prompt_experts])[rows]
    weights = None
    if trace.gate_weights is not None and trace.prompt_gate_weights is not None:
        weights = np.concatenate([trace.gate_weights, trace.prompt_gate_weights])[rows]
    following = np.where(real, trace.committed_ids[np.maximum(places, 0)], REDACTED).astype(np.int32)
    steps = np.array([len(part[0]) for part in parts], np.int32)
    text_of_step = np.repeat(np.arange(len(steps)), steps)
    n, greedy = int(drafted.sum()), np.array([info.mode == "greedy" for info in trace.texts])
    of_drafts = np.repeat(text_of_step, drafted)
    how = f"of {np.size(acceptance)} recorded windows" if np.ndim(acceptance) else f"{acceptance:g}"
    note = f"windows: made, γ = {gamma}, acceptance {how}, rejected positions {rejected}"
    return replace(
        trace,
        texts=tuple(
            replace(
                info,
                draft="none, windows are made",
                gamma=str(gamma),
                gamma_max=None,
                seed=seed,
                imported=info.imported or "windows made of a recording",
            )
            for info in trace.texts
        ),
        notes=(*trace.notes, note),
        channels={},
        text_steps=steps,
        step_index=(np.arange(len(text_of_step)) - (np.cumsum(steps) - steps)[text_of_step]).astype(np.int32),
        step_position=(opens - firsts[text_of_step] + trace.text_prompt[text_of_step]).astype(np.int32),
        gamma=drafted.astype(np.int32),
        accepted=accepted.astype(np.int32),
        committed=(accepted + 1).astype(np.int32),
        draft_ms=np.full(len(text_of_step), np.nan),
        verify_ms=np.full(len(text_of_step), np.nan),
        window=np.where(real, trace.window[np.where(real, rows, 0)], REDACTED).astype(np.int32),
        target_ids=following,
        target_top_ids=np.empty((len(rows), 0), np.int32),
        target_top_probs=np.empty((len(rows), 0), np.float32),
        experts=experts,
        gate_weights=weights,
        score_experts=None,
        scores=None,
        draft_probs=np.ones(n, np.float32),
        target_probs=np.ones(n, np.float32),
        uniforms=np.where(greedy[of_drafts], np.nan, 0.0),
        draft_top_ids=np.empty((n, 0), np.int32),
        draft_top_probs=np.empty((n, 0), np.float32),
    )


def accepted_lengths(trace: Trace, gamma: int) -> np.ndarray:
    """Return the accepted length of every window of a dense trace, to draw from.

    Parameters
    ----------
    trace : Trace
        A dense trace.
    gamma : int
        The draft length.

    Returns
    -------
    ndarray
        (windows,) int64, of the windows that drafted γ tokens.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> accepted_lengths(load_trace("chat", dense=True, half="report"), 4)[:5].tolist()
    [2, 1, 0, 0, 4]
    """
    steps = list(trace.rounds(gamma))
    return np.array([step.accepted for step in steps if step.gamma == gamma], np.int64)


def _shares(acceptance: float | Sequence[int] | np.ndarray, gamma: int) -> np.ndarray:
    """Return how likely each accepted length is, (γ+1,)."""
    if isinstance(acceptance, int | float):
        rate = check_number("acceptance", acceptance, least=0, most=1)
        shares = (1 - rate) * rate ** np.arange(gamma + 1.0)
        shares[gamma] = rate**gamma
        return shares
    lengths = np.asarray(acceptance)
    if lengths.ndim != 1 or not len(lengths) or lengths.dtype.kind not in "iu" or lengths.min() < 0:
        raise InvalidInputError(
            f"acceptance is {str(acceptance)[:60]}; expected: a rate from 0 to 1, or accepted lengths, whole "
            "numbers of 0 or more"
        )
    return np.bincount(np.minimum(lengths, gamma), minlength=gamma + 1) / len(lengths)


def _windows(
    start: int,
    count: int,
    prompt: np.ndarray,
    gamma: int,
    shares: np.ndarray,
    rejected: Rejected,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Cut one text, whose committed tokens are those from `start` on, behind those of the prompt.

    Returns of each window the token that opens it, the accepted and the drafted length; and of each position
    the token that was read there. A rejected position has ~token, of the token whose routing it takes.
    """
    draws = rng.choice(gamma + 1, count, p=shares)
    read = np.concatenate([prompt, start + np.arange(count)])  # in the order of the text
    opens: list[int] = []
    accepted: list[int] = []
    drafted: list[int] = []
    places: list[np.ndarray] = []
    at = 0
    while at < count:
        length = min(int(draws[len(opens)]), count - 1 - at)
        wrong = 0 if rejected == "none" else gamma - length
        past = read[: len(prompt) + at] if len(prompt) + at else read[:1]
        age = np.arange(len(past))[::-1]
        chance = np.exp(-age / RECENT) if rejected == "recent" else np.ones(len(past))
        enough = np.count_nonzero(chance) >= wrong  # else a position stands for more than one
        like = rng.choice(past, wrong, replace=not enough, p=chance / chance.sum()) if wrong else past[:0]
        opens.append(start + at)
        accepted.append(length)
        drafted.append(length + wrong)
        places += [read[len(prompt) + at : len(prompt) + at + length + 1], ~like]
        at += length + 1
    return np.array(opens), np.array(accepted), np.array(drafted), np.concatenate(places)
