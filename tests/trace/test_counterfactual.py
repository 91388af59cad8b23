"""A draft that errs less: every window is put together of what was recorded, and a real one agrees."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb import MoespacError, Trace, record
from moespac_nb.decoder.drafts import Proposal
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.transforms.counterfactual import improve_draft
from tests.helpers.traces.steps import text
from tests.helpers.traces.strategies import one_text, several
from tools.support import tiny_models as tiny

DENSE_TRACES = st.builds(
    several,
    seeds=st.lists(st.integers(0, 10**6), min_size=1, max_size=3, unique=True),
    gamma_max=st.sampled_from([1, 3]),
    sampled=st.booleans(),
    extras=st.booleans(),
    steps=st.integers(1, 9),
)


def accepted(trace: Trace, gamma: int) -> float:
    rounds = list(trace.rounds(gamma))
    return sum(step.accepted for step in rounds) / max(1, sum(step.gamma for step in rounds))


@given(trace=DENSE_TRACES, share=st.floats(0, 1), seed=st.integers(0, 99))
def test_the_text_stays_and_every_position_was_recorded(trace: Trace, share: float, seed: int) -> None:
    better = improve_draft(trace, share, seed)
    assert np.array_equal(better.committed_ids, trace.committed_ids)
    assert (better.accepted >= trace.accepted).all()
    assert set(better.channels) <= {"next_gate"}
    recorded = {(int(token), row.tobytes()) for token, row in zip(trace.window, trace.experts, strict=True)}
    assert {
        (int(token), row.tobytes()) for token, row in zip(better.window, better.experts, strict=True)
    } <= recorded


@given(trace=DENSE_TRACES)
def test_with_no_mistake_forgiven_the_windows_are_those_recorded(trace: Trace) -> None:
    better = improve_draft(trace, 0)
    for name in ("gamma", "accepted", "window", "experts", "gate_weights", "draft_probs", "target_ids"):
        assert np.array_equal(getattr(better, name), getattr(trace, name)), name
    assert np.array_equal(better.uniforms, trace.uniforms, equal_nan=True)


@given(trace=DENSE_TRACES)
def test_with_all_forgiven_every_window_is_the_texts_own(trace: Trace) -> None:
    better = improve_draft(trace, 1.0)
    assert np.array_equal(better.accepted, better.gamma)
    for n, step in enumerate(better):
        assert np.array_equal(step.drafted, trace.committed_ids[n : n + step.gamma])


def test_a_larger_share_forgives_the_same_and_more() -> None:
    trace = several([1, 2, 3], gamma_max=3, sampled=True, extras=False, steps=30)
    seen = [improve_draft(trace, share) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    for less, more in pairwise(seen):
        assert (more.accepted >= less.accepted).all()
    shares = [accepted(one, 3) for one in seen]
    assert shares == sorted(shares)
    assert shares[0] < shares[2] < shares[-1] == 1.0
    assert np.array_equal(seen[2].window, improve_draft(trace, 0.5).window)
    assert not np.array_equal(seen[2].window, improve_draft(trace, 0.5, seed=1).window)


def test_all_windows_agree_about_which_mistakes_are_forgiven() -> None:
    trace = text([], [([[[0]], [[1]], [[2]], [[3]]], 0)] * 60, gamma_max=3)  # a draft that is never right
    better = improve_draft(trace, 0.5)
    assert set(better.accepted.tolist()) == {0, 1, 2, 3}
    for row in np.flatnonzero(better.accepted < better.gamma).tolist():
        errs_at = row + int(better.accepted[row])
        for later in range(row, errs_at + 1):
            assert later + better.accepted[later] == errs_at


def test_of_a_token_that_makes_a_mistake_good_no_probability_is_claimed() -> None:
    trace = several([1, 2, 3], gamma_max=3, sampled=True, extras=False, steps=9)
    better = improve_draft(trace, 1.0)
    erred = np.flatnonzero(trace.accepted < better.gamma)
    at = better.starts["drafted"][erred] + trace.accepted[erred]
    assert set(better.draft_probs[at]) == set(better.target_probs[at]) == {1.0}
    assert set(better.uniforms[at]) == {0.0}


class Knowing:
    """A draft that has read the text to its end."""

    def __init__(self, text: list[int]) -> None:
        self.text = text

    def prefill(self, ids: Any) -> None:
        pass

    def propose(self, ids: Any, uniforms: np.ndarray, sampling: Any, vocabulary: int) -> Proposal:
        new = self.text[len(ids) : len(ids) + len(uniforms)]
        return Proposal(
            torch.tensor(new, dtype=torch.long),
            torch.nn.functional.one_hot(torch.tensor(new), vocabulary).float(),
        )


def test_a_real_draft_that_never_errs_has_the_same_windows() -> None:
    model, draft = tiny.pair()
    prompt = [5, 9, 33, 12]
    options: dict[str, Any] = {"max_new_tokens": 14, "stop_ids": ()}
    trace = record(model, prompt, draft=draft, dense=4, **options)
    assert accepted(trace, 4) < 1
    text = [*prompt, *trace.committed_ids.tolist()]
    real = record(model, prompt, draft=Knowing(text), gamma=4, **options)
    rounds = list(improve_draft(trace, 1.0).rounds(4))
    assert len(rounds) == len(real)
    for step, own in zip(rounds, real, strict=True):
        assert np.array_equal(step.window, own.window)
        assert np.array_equal(step.emitted, own.emitted)
        assert np.array_equal(step.experts, own.experts)
        assert step.gate_weights == pytest.approx(own.gate_weights, abs=1e-5)


def test_it_can_be_replayed_with_any_draft_length() -> None:
    trace = several([1, 2], gamma_max=3, sampled=False, extras=False, steps=20)
    better = improve_draft(trace, 0.5)
    for gamma in (0, 2, 3):
        assert replay(better, "recency", "50%", gamma=gamma).tokens == len(trace.committed_ids)
    plain = [replay(each, "recency", "50%", gamma=0).tps_modelled for each in (trace, better)]
    assert plain[0] == plain[1]  # nothing is drafted, nothing is forgiven


@pytest.mark.parametrize("share", [-0.1, 1.1, float("nan"), "half", None, True])
def test_what_is_no_share_is_refused(share: Any) -> None:
    with pytest.raises(MoespacError, match=r"^fix_fraction is .*; expected: a number from 0, at most 1$"):
        improve_draft(one_text(1, gamma_max=3), share)


def test_what_is_not_dense_is_refused() -> None:
    with pytest.raises(MoespacError, match="not dense; expected: one of record"):
        improve_draft(one_text(1), 0.5)
