"""Drafts propose from the committed ids alone; draft lengths follow the last step."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.decoder.drafts import Draft, ModelDraft, NgramDraft
from moespac_nb.decoder.gamma import AdaptiveGamma
from moespac_nb.decoder.sampling import GREEDY, Sampling
from tests.helpers.decodes import refused
from tools.support import tiny_models as tiny

VOCABULARY = 10
SAMPLE = Sampling("sample", 1.0)


def proposed(ids: list[int], gamma: int = 4, **options) -> list[int]:
    return NgramDraft(**options).propose(ids, np.zeros(gamma), GREEDY, VOCABULARY).ids.tolist()


@pytest.mark.parametrize(
    ("ids", "options", "drafted"),
    [
        ([1, 2, 3, 4, 5, 6, 1, 2, 3], {}, [4, 5, 6, 1]),
        ([1, 2, 7, 1, 2, 8, 1, 2], {"gamma": 1}, [8]),  # the latest occurrence counts
        ([1, 2, 3, 9, 3, 8, 1, 2, 3], {"gamma": 1}, [9]),  # a longer match goes before a later one
        ([1, 2, 3, 9, 3, 8, 1, 2, 3], {"gamma": 1, "max_ngram": 1}, [8]),
        ([1, 2, 3, 4], {}, []),  # nothing repeats
        ([1], {}, []),
        ([1, 2, 7, 8, 2], {"min_ngram": 2}, []),
        ([1, 2, 1], {"gamma": 4}, [2, 1]),  # near the end there are fewer tokens
    ],
)
def test_a_text_is_expected_to_go_on_as_before(ids, options, drafted):
    assert proposed(ids, **options) == drafted


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40), st.integers(1, 6))
def test_what_is_proposed_followed_an_equal_ending(ids, gamma):
    drafted = proposed(ids, gamma)
    assert len(drafted) <= gamma
    if drafted:
        text = "".join(map(str, ids))
        assert text[-1] + "".join(map(str, drafted)) in text
    else:
        assert ids[-1] not in ids[:-1]


def test_an_ngram_draft_is_sure_of_itself():
    proposal = NgramDraft().propose([1, 2, 1], np.zeros(4), GREEDY, VOCABULARY)
    assert proposal.probs.shape == (2, VOCABULARY)
    assert proposal.probs.gather(-1, proposal.ids[:, None]).tolist() == [[1.0], [1.0]]


def test_nothing_is_drafted_after_a_stop_token():
    ids = [5, 6, 7, 8]
    free = ModelDraft(tiny.dense()).propose(ids, np.zeros(6), GREEDY, tiny.VOCABULARY).ids.tolist()
    draft = ModelDraft(tiny.dense(), stop_ids={free[2]})
    stopped = draft.propose(ids, np.zeros(6), GREEDY, tiny.VOCABULARY)
    assert stopped.ids.tolist() == free[: free.index(free[2]) + 1]
    assert len(stopped.probs) == len(stopped.ids)


@pytest.mark.parametrize("sizes", [(0, 0), (2, 3), (3, 0)])
def test_ngram_sizes_are_checked(sizes):
    with refused(rf"max_ngram is {sizes[0]}, min_ngram {sizes[1]}"):
        NgramDraft(*sizes)


def test_both_kinds_are_drafts_and_a_model_is_not():
    model = tiny.dense()
    assert isinstance(NgramDraft(), Draft)
    assert isinstance(ModelDraft(model), Draft)
    assert not isinstance(model, Draft)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLE], ids=["greedy", "sample"])
def test_a_model_draft_depends_on_the_ids_alone(sampling):
    model, uniforms = tiny.dense(), np.random.default_rng(0).random(5)
    used = ModelDraft(model)
    ids = list(range(20, 40))
    for other in (ids[:10], [*ids[:12], 99, 98, 97], [1, 2, 3], ids):
        used.propose(other, uniforms, sampling, tiny.VOCABULARY)
    fresh = ModelDraft(model).propose(ids, uniforms, sampling, tiny.VOCABULARY)
    again = used.propose(ids, uniforms, sampling, tiny.VOCABULARY)
    assert again.ids.tolist() == fresh.ids.tolist()
    assert torch.allclose(again.probs, fresh.probs, atol=1e-5)


def test_a_model_draft_reads_no_token_twice():
    model = tiny.dense()
    draft, read = ModelDraft(model), []
    model.register_forward_pre_hook(
        lambda _module, _args, kwargs: read.extend(kwargs["input_ids"][0].tolist()), with_kwargs=True
    )
    draft.prefill([5, 6, 7])
    drafted = draft.propose([5, 6, 7, 8], np.zeros(3), GREEDY, tiny.VOCABULARY).ids.tolist()
    assert read == [5, 6, 7, 8, *drafted[:2]]
    read.clear()
    draft.propose([5, 6, 7, 8, *drafted, 9], np.zeros(1), GREEDY, tiny.VOCABULARY)
    assert read == [drafted[2], 9]  # all accepted: only the last drafted token and the bonus are new
    read.clear()
    draft.propose([5, 6, 7, 8, drafted[0], 200], np.zeros(1), GREEDY, tiny.VOCABULARY)
    assert read == [200]


def test_a_draft_with_a_shorter_context_falls_silent():
    draft = ModelDraft(tiny.dense(context=16))
    ids = list(range(40))
    draft.prefill(ids)
    assert len(draft.propose(ids[:14], np.zeros(8), GREEDY, tiny.VOCABULARY).ids) == 3
    assert len(draft.propose(ids[:17], np.zeros(8), GREEDY, tiny.VOCABULARY).ids) == 0


@pytest.mark.parametrize(
    ("last", "following"), [(None, 2), ((4, 4), 6), ((6, 6), 7), ((5, 4), 4), ((2, 0), 2)]
)
def test_adaptive_gamma_grows_on_full_acceptance_alone(last, following):
    step = last and SimpleNamespace(gamma=last[0], accepted=last[1])
    assert AdaptiveGamma(low=2, high=7).next_gamma(step) == following


@pytest.mark.parametrize("bounds", [(-1, 4), (5, 4)])
def test_adaptive_bounds_are_checked(bounds):
    with refused(f"low is {bounds[0]}, high {bounds[1]}"):
        AdaptiveGamma(*bounds)
