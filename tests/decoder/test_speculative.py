"""The decoder: the target's own text whatever the draft does, and a step that says how it came about."""

from __future__ import annotations

import dataclasses
import gc
import pickle
from itertools import pairwise, zip_longest

import numpy as np
import pytest
import torch

from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.gamma import AdaptiveGamma
from moespac_nb.decoder.sampling import Sampling
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.routing import observe
from tests.helpers.decodes import decoded, own_text, refused
from tools.support import tiny_models as tiny
from tools.support.tiny_models import random_prompt

SAMPLE = Sampling("sample", temperature=1.0)


def drafts() -> dict:
    target, noised = tiny.pair()
    return {
        "often right": noised,
        "hopeless": tiny.dense(),
        "itself": target,
        "ngram": NgramDraft(),
        "none": None,
    }


@pytest.mark.parametrize("draft", drafts())
@pytest.mark.parametrize("gamma", [0, 1, 2, 4, 8])
def test_greedy_text_is_the_targets_own(gamma, draft):
    target, _ = tiny.pair()
    for seed in range(2):
        prompt = random_prompt(seed)
        decoding = decoded(target, prompt, draft=drafts()[draft], gamma=gamma, max_new_tokens=40)
        assert decoding.new_ids == own_text(target, prompt, 40)
        if draft == "itself" and gamma:
            assert all(step.accepted == step.gamma for step in decoding.steps)


@pytest.mark.full
@pytest.mark.parametrize("seed", range(20))
def test_greedy_text_is_the_targets_own_for_many_models(seed):
    target = tiny.moe(seed)
    prompt = random_prompt(seed, length=1 + 5 * seed)
    for draft in (tiny.noised(target), NgramDraft()):
        for gamma in (1, 2, 3, 4, 8, 16, AdaptiveGamma()):
            decoding = decoded(target, prompt, draft=draft, gamma=gamma, max_new_tokens=50)
            assert decoding.new_ids == own_text(target, prompt, 50)


def test_a_prompt_of_one_token_needs_no_prefill():
    target, draft = tiny.pair()
    decoding = decoded(target, [7], draft=draft, gamma=4, max_new_tokens=20)
    assert decoding.new_ids == own_text(target, [7], 20)
    assert decoding.prefill.experts.shape == (0, 4, 4)


def test_a_draft_object_can_serve_one_text_after_another():
    target, _ = tiny.pair()
    draft = NgramDraft()
    for seed in range(3):
        decoding = decoded(target, random_prompt(seed), draft=draft, max_new_tokens=20)
        assert decoding.new_ids == own_text(target, random_prompt(seed), 20)


def test_two_decodings_may_take_turns():
    target, draft = tiny.pair()
    options = {"draft": draft, "gamma": 3, "max_new_tokens": 24, "stop_ids": ()}
    both = [decode(target, random_prompt(seed), **options) for seed in (0, 1)]
    for _ in zip_longest(*both):
        pass
    for seed, decoding in enumerate(both):
        assert decoding.new_ids == own_text(target, random_prompt(seed), 24)


@pytest.fixture(scope="module", params=["greedy", "sample"])
def whole(request):
    target, draft = tiny.pair()
    sampling = Sampling(request.param, temperature=1.0, top_k=50)
    return decoded(target, random_prompt(3), draft=draft, gamma=4, sampling=sampling, max_new_tokens=60)


def test_steps_follow_one_another(whole):
    assert whole.steps == whole.steps
    length = len(whole.prompt_ids)
    for index, step in enumerate(whole.steps):
        assert step.index == index
        assert step.position == length - 1
        assert step.window[0] == whole.ids[length - 1]
        assert step.emitted[: step.accepted].tolist() == step.drafted[: step.accepted].tolist()
        assert len(step.emitted) == step.accepted + 1
        length += len(step.emitted)
    assert length == len(whole.ids) == len(whole.prompt_ids) + 60


def test_the_decision_can_be_made_again_from_the_step(whole):
    for step in whole.steps:
        if whole.sampling.mode == "greedy":
            assert step.uniforms is None
            kept = step.drafted == step.target_ids[:-1]
        else:
            kept = step.uniforms < step.target_probs / step.draft_probs
        assert step.accepted == int(np.cumprod(kept).sum())
        assert step.accepted_mask.tolist() == [i < step.accepted for i in range(step.gamma)]
        assert step.outcome == ("bonus" if step.accepted == step.gamma else "corrected")
    assert {step.outcome for step in whole.steps} == {"bonus", "corrected"}


def test_shapes_and_probabilities(whole):
    for step in whole.steps:
        gamma = step.gamma
        assert step.experts.shape == step.gate_weights.shape == (gamma + 1, 4, 4)
        assert step.draft_top.ids.shape == (gamma, 3)
        assert step.target_top.probs.shape == (gamma + 1, 3)
        assert (step.target_top.ids[:, 0] == step.target_ids).all()
        assert step.draft_probs.shape == step.target_probs.shape == (gamma,)
        assert ((step.draft_probs > 0) & (step.draft_probs <= 1)).all()
        assert ((step.target_probs >= 0) & (step.target_probs <= step.target_top.probs[:-1, 0] + 1e-6)).all()
        assert np.allclose(step.gate_weights.sum(-1), 1, atol=1e-5)
        assert step.draft_ms > 0 or gamma == 0
        assert step.verify_ms > 0


def test_counts_are_positions_per_expert(whole):
    for step in whole.steps:
        assert step.counts.shape == (4, 16)
        assert (step.counts.sum(axis=1) == (step.gamma + 1) * 4).all()
        for layer, expert in ((0, 3), (2, 15), (3, 0)):
            assert step.counts[layer, expert] == (step.experts[:, layer] == expert).sum()


def test_recorded_experts_are_those_of_a_plain_forward(whole):
    plain_experts, plain_weights = observe(whole.model, whole.ids[:-1])
    experts = [whole.prefill.experts, *(step.experts[: len(step.emitted)] for step in whole.steps)]
    weights = [whole.prefill.gate_weights, *(step.gate_weights[: len(step.emitted)] for step in whole.steps)]
    assert np.array_equal(np.concatenate(experts), plain_experts)
    assert np.allclose(np.concatenate(weights), plain_weights, atol=1e-4)


def test_a_step_is_closed_for_writing_and_travels(whole):
    step = whole.steps[0]
    with pytest.raises(dataclasses.FrozenInstanceError):
        step.accepted = 3
    for array in (step.window, step.experts, step.target_top.probs, step.counts):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
    assert np.array_equal(pickle.loads(pickle.dumps(step)).counts, step.counts)


def test_plain_decoding_drafts_nothing():
    target, draft = tiny.pair()
    for options in ({"gamma": 0, "draft": draft}, {"gamma": 4, "draft": None}):
        steps = list(decode(target, random_prompt(0), max_new_tokens=5, stop_ids=(), **options))
        assert [(step.gamma, step.accepted, step.outcome) for step in steps] == [(0, 0, "bonus")] * 5


def test_summary_adds_up(whole):
    summary, steps = whole.summary(), whole.steps
    assert summary["new_tokens"] == 60
    assert summary["steps"] == len(steps)
    assert summary["tokens_per_step"] == 60 / len(steps)
    assert summary["acceptance_rate"] == sum(s.accepted for s in steps) / sum(s.gamma for s in steps)
    seconds = sum(s.draft_ms + s.verify_ms for s in steps) / 1000
    assert summary["tokens_per_second_measured"] == pytest.approx(60 / seconds)


def test_a_summary_counts_what_a_stop_cut():
    target, _ = tiny.pair()
    own = own_text(target, random_prompt(0), 8)
    stop = next(token for token in own[1:] if own.index(token) >= 1)
    decoding = decoded(target, random_prompt(0), draft=target, gamma=8, stop_ids=[stop])
    (step,) = decoding.steps
    assert (step.outcome, step.accepted) == ("cut", len(step.emitted))
    assert decoding.summary()["acceptance_rate"] == 1.0


def test_a_summary_of_nothing_claims_nothing():
    summary = decode(tiny.pair()[0], [5, 6]).summary()
    assert summary["new_tokens"] == summary["steps"] == 0
    assert summary["acceptance_rate"] is summary["tokens_per_step"] is summary["finish_reason"] is None


@pytest.mark.parametrize("draft", drafts())
def test_the_cache_holds_all_committed_tokens_but_the_last(draft):
    options = {"draft": drafts()[draft], "gamma": 5, "max_new_tokens": 30, "stop_ids": ()}
    decoding = decode(tiny.pair()[0], random_prompt(1), **options)
    for _ in decoding:
        arrays = [array for layer in decoding._target._cache.layers for array in (layer.keys, layer.values)]
        assert {array.shape[-2] for array in arrays} == {len(decoding.ids) - 1}


def test_no_token_is_read_twice_unless_it_was_drafted():
    target, draft = tiny.pair()
    read = []
    hook = target.register_forward_pre_hook(
        lambda _module, _args, kwargs: read.append(kwargs["input_ids"].shape[1]), with_kwargs=True
    )
    steps = list(decode(target, random_prompt(0), draft=draft, gamma=4, max_new_tokens=20, stop_ids=()))
    hook.remove()
    assert read == [11, *(step.gamma + 1 for step in steps)]


def test_no_hook_stays_between_steps_or_after_a_decoding():
    target, draft = tiny.pair()
    decoding = decode(target, random_prompt(0), draft=draft, stop_ids=())
    next(decoding)
    assert tiny.hook_count(target) == 0
    del decoding
    gc.collect()
    assert tiny.hook_count(target) == 0


def test_adaptive_gamma_follows_the_steps():
    target, draft = tiny.pair()
    policy = AdaptiveGamma(low=1, high=6)
    decoding = decoded(target, random_prompt(3), draft=draft, gamma=policy, max_new_tokens=60)
    assert decoding.steps[0].gamma == 1
    for last, step in pairwise(decoding.steps[:-4]):
        assert step.gamma == policy.next_gamma(last)
    assert len({step.gamma for step in decoding.steps}) > 2
    assert decoding.new_ids == own_text(target, random_prompt(3), 60)


@pytest.mark.parametrize("length", [1, 2, 9])
def test_it_ends_at_the_length_asked_for(length):
    target, draft = tiny.pair()
    decoding = decoded(target, random_prompt(0), draft=draft, max_new_tokens=length)
    assert len(decoding.new_ids) == length
    assert decoding.finish_reason == "length"
    with pytest.raises(StopIteration):
        next(decoding)


@pytest.mark.parametrize("draft", ["often right", "itself", "none"])
def test_it_ends_after_a_stop_token_as_generate_does(draft):
    target, _ = tiny.pair()
    own = own_text(target, random_prompt(0), 40)
    options = {"draft": drafts()[draft], "gamma": 8, "max_new_tokens": 40}
    for stop in (own[0], own[13], own[20]):
        decoding = decoded(target, random_prompt(0), **options, stop_ids=[stop])
        assert decoding.new_ids == own_text(target, random_prompt(0), 40, eos_token_id=stop)
        assert decoding.new_ids == own[: own.index(stop) + 1]
        assert decoding.finish_reason == "stop"
        if draft == "itself" and own.index(stop) < 8:
            assert decoding.steps[-1].outcome == "cut"


def test_the_models_own_stop_token_is_the_default():
    target = tiny.moe()
    target.generation_config.eos_token_id = own_text(target, random_prompt(0), 9)[5]
    decoding = decoded(target, random_prompt(0), stop_ids=None)
    assert decoding.finish_reason == "stop"
    assert decoding.new_ids == tiny.generated(target, random_prompt(0), 128)


@pytest.mark.parametrize("gamma", [0, 1, 8])
def test_the_context_is_filled_and_never_overrun(gamma):
    target, draft = tiny.pair()
    prompt = random_prompt(0, tiny.CONTEXT - 20)
    decoding = decoded(target, prompt, draft=draft, gamma=gamma)
    assert all(step.position + step.gamma < tiny.CONTEXT for step in decoding.steps)
    assert len(decoding.ids) == tiny.CONTEXT
    assert decoding.finish_reason == "context"
    assert decoding.new_ids == own_text(target, prompt, 20)


def test_a_draft_with_a_shorter_context_only_costs_speed():
    target, _ = tiny.pair()
    draft = tiny.noised(tiny.moe(context=24))
    decoding = decoded(target, random_prompt(0), draft=draft, gamma=4, max_new_tokens=40)
    assert decoding.new_ids == own_text(target, random_prompt(0), 40)
    assert decoding.steps[0].gamma == 4
    assert decoding.steps[-1].gamma == 0


def test_a_seed_makes_the_same_text_again_and_another_another():
    target, draft = tiny.pair()
    options = {"draft": draft, "sampling": SAMPLE, "max_new_tokens": 30}
    texts = [decoded(target, random_prompt(0), seed=seed, **options).new_ids for seed in (5, 5, 6)]
    assert texts[0] == texts[1] != texts[2]


def test_randomness_outside_is_neither_used_nor_disturbed():
    target, draft = tiny.pair()
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    list(decode(target, random_prompt(0), draft=draft, sampling=SAMPLE, max_new_tokens=10))
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"prompt": []}, "prompt is empty.*at least one token"),
        ({"prompt": [5, tiny.VOCABULARY]}, f"token id {tiny.VOCABULARY}.*0 to {tiny.VOCABULARY - 1}"),
        ({"prompt": [-1]}, "token id -1"),
        ({"prompt": [5] * tiny.CONTEXT}, f"{tiny.CONTEXT} tokens.*at most {tiny.CONTEXT - 1}.*shorten"),
        ({"prompt": [5] * 500}, f"500 tokens.*at most {tiny.CONTEXT - 1}"),
        ({"prompt": "text"}, "no tokenizer.*tokenizer="),
        ({"gamma": -1}, "gamma is -1.*from 0"),
        ({"gamma": 2.5}, "gamma is 2.5"),
        ({"gamma": True}, "gamma is True"),
        ({"max_new_tokens": 0}, "max_new_tokens is 0.*from 1"),
        ({"seed": -3}, "seed is -3"),
        ({"draft": "ngram"}, "draft is 'ngram'.*NgramDraft"),
    ],
)
def test_bad_input_is_refused_before_any_work(arguments, said):
    target, _ = tiny.pair()
    calls = []
    hook = target.register_forward_pre_hook(lambda *_: calls.append(1))
    with refused(said):
        decode(target, **{"prompt": [5, 6], **arguments})
    hook.remove()
    assert not calls


def test_a_draft_with_another_vocabulary_is_refused_by_name():
    target, _ = tiny.pair()
    draft = tiny.dense(vocabulary=100)
    target.name_or_path, draft.name_or_path = "big", "small"
    with refused(f"'big'.*{tiny.VOCABULARY}.*'small'.*100.*own tokenizer"):
        decode(target, [5, 6], draft=draft)
