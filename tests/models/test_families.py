"""Every family decodes, speculates and is offloaded losslessly, or is refused by name and before any work.

The quick ones are those with a way of their own: the others run with --full.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.routing import observe
from moespac_nb.offloading.expert_store import expert_parameters
from moespac_nb.offloading.session import offload
from moespac_nb.policies import compose_policy
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import MoespacError
from tools.support import tiny_models as tiny
from tools.support.families import FAMILIES, SIZES, Family, model_of

PROMPT = [2 + (7 * i) % 11 for i in range(20)]  # repeats itself: an n-gram draft finds something
TOKENS = 16


def those(**wanted: bool) -> list[Any]:
    """The names of families of a kind; all but the quick ones are marked."""

    def fits(family: Family) -> bool:
        return all(getattr(family, name) == value for name, value in wanted.items())

    return [
        pytest.param(name, marks=() if family.quick else pytest.mark.full)
        for name, family in FAMILIES.items()
        if fits(family)
    ]


def built(name: str) -> Any:
    try:
        return model_of(name)
    except ValueError as error:
        if "model identifier" in str(error) or "Unrecognized" in str(error):
            pytest.skip(f"this transformers has no {name}")
        raise


def decoded(decode_with: Any, *args: Any, **options: Any) -> Any:
    decoding = decode_with(*args, PROMPT, max_new_tokens=TOKENS, stop_ids=(), **options)
    list(decoding)
    return decoding


def own_text(model: Any) -> list[int]:
    """Its own `generate`; without a cache the whole text is read anew for each token."""
    return tiny.generated(model, PROMPT, TOKENS, eos_token_id=None)


@pytest.mark.parametrize("name", those())
def test_plain_decoding_is_the_models_own_text(name):
    model = built(name)
    decoding = decoded(decode, model)
    assert decoding.new_ids == own_text(model)
    assert len(set(decoding.new_ids)) > 1, "the text is one token over and over: the test shows nothing"


@pytest.mark.parametrize("name", those(speculates=True))
def test_speculation_is_lossless(name):
    model = built(name)
    own = own_text(model)
    assert decoded(decode, model, draft=NgramDraft(), gamma=4).new_ids == own
    decoding = decoded(decode, model, draft=tiny.noised(model), gamma=4)
    assert decoding.new_ids == own
    accepted = {step.accepted for step in decoding.steps}
    assert accepted - {0}, "nothing was ever accepted"


@pytest.mark.parametrize("name", those(speculates=False))
def test_a_state_that_cannot_be_wound_back_takes_no_draft(name):
    model = built(name)
    for draft, gamma in ((NgramDraft(), 4), (model, 4), (model, 0)):
        with pytest.raises(MoespacError, match=r"state that cannot be wound back.*decoding without a draft"):
            decode(model, PROMPT, draft=draft, gamma=gamma)
    assert decoded(decode, model, draft=NgramDraft(), gamma=0).new_ids == own_text(model)


@pytest.mark.parametrize("name", those(is_read=True))
def test_routing_is_recorded_as_a_plain_forward_has_it(name):
    model = built(name)
    shape = inspect_model(model).shape
    assert shape.experts == SIZES["num_experts"]
    assert shape.top_k == FAMILIES[name].options.get("num_experts_per_tok", 2)
    decoding = decoded(decode, model)
    assert decoding.routing_unread is None
    recorded = np.concatenate([decoding.prefill.experts, *(step.experts for step in decoding.steps)])
    plain, _ = observe(model, decoding.ids[:-1])
    assert recorded.shape == plain.shape == (len(decoding.ids) - 1, shape.layers, shape.top_k)
    assert np.mean(np.sort(recorded, axis=-1) == np.sort(plain, axis=-1)) > 0.9  # but for near ties


@pytest.mark.parametrize("name", those(is_read=True))
@pytest.mark.parametrize("share", [0.1, 0.5])
def test_logits_from_slots_are_the_plain_models(name, share):
    model = built(name)
    shape = inspect_model(model).shape
    one = sum(weight[0].nbytes for weight in expert_parameters(inspect_model(model).experts[0]).values())
    budget = max(2, round(share * shape.layers * shape.experts)) * one
    ids = torch.tensor([PROMPT])
    with torch.inference_mode():
        plain = model(ids).logits
        with offload(model, budget, policy="on-demand") as run:
            model(ids)
            logits = model(ids).logits
            decoding = decoded(run.decode)
    assert run.counters.ready > 0, "no slot was used: the test shows nothing"
    assert torch.allclose(logits, plain, rtol=1e-4, atol=1e-4 * float(plain.abs().max()))
    assert decoding.new_ids == own_text(model)


@pytest.mark.parametrize("name", those(is_read=True, is_asked=True))
def test_gates_are_asked_with_what_their_layer_gives_them(name):
    model = built(name)
    trace = record(model, PROMPT, max_new_tokens=4, stop_ids=(), scores=True, channels=["next-gate"])
    shape = inspect_model(model).shape
    assert trace.channels["next-gate"].values.shape[1:] == (shape.layers, 2 * shape.top_k)
    assert (trace.channels["next-gate"].values[:, 1:] >= 0).all()
    assert (np.diff(trace.scores, axis=-1) <= 0).all()
    policy = compose_policy("ahead", sensor="next-gate", rule="ema", admission=1)
    with offload(model, "50%", policy=policy) as run:
        assert decoded(run.decode).new_ids == own_text(model)


@pytest.mark.parametrize("name", those(is_read=True, is_asked=False))
def test_gates_that_need_more_than_a_state_are_refused_at_once(name):
    model = built(name)
    with pytest.raises(MoespacError, match=r"next-gate.* chooses by more than a state"):
        record(model, PROMPT, max_new_tokens=4, channels=["next-gate"])
    with pytest.raises(MoespacError, match=r"policy 'ahead' .* chooses by more than a state"):
        offload(model, "50%", policy=compose_policy("ahead", sensor="next-gate", rule="ema", admission=1))
    assert tiny.hook_count(model) == 0


@pytest.mark.parametrize("name", those(is_read=False))
def test_experts_that_cannot_be_read_decode_and_are_not_dense(name):
    model = built(name)
    assert inspect_model(model).shape == MoEShape(0, 0, 0)
    assert inspect_model(model).experts == ()
    decoding = decoded(decode, model, draft=NgramDraft(), gamma=3)
    assert decoding.new_ids == own_text(model)
    why = decoding.summary()["routing_unread"]
    assert why
    for refused in (
        lambda: record(model, PROMPT, max_new_tokens=2),
        lambda: record(model, PROMPT, max_new_tokens=2, scores=True),
        lambda: offload(model, "50%"),
        lambda: observe(model, PROMPT),
    ):
        with pytest.raises(MoespacError) as caught:
            refused()
        assert type(model).__name__ in str(caught.value)
        assert why in str(caught.value)
        assert "dense model" not in str(caught.value)


def test_a_dense_model_is_dense():
    decoding = decode(tiny.dense(), PROMPT, max_new_tokens=2)
    assert decoding.routing_unread is None
    assert record(tiny.dense(), PROMPT, max_new_tokens=2).geometry.layers == 0
