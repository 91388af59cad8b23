"""Routing read from a running model is what its experts were called with, in every supported architecture."""

from __future__ import annotations

from contextlib import ExitStack

import numpy as np
import pytest
import torch

from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.routing import Routing, observe
from moespac_nb.trace.step import MoEShape
from tests.helpers.decodes import decoded, own_text, refused
from tools.support import tiny_models as tiny
from tools.support.tiny_moe import ARCHITECTURES, model_and_draft


@pytest.fixture(scope="module", params=ARCHITECTURES)
def architecture(request):
    """A model, its draft and its shape."""
    return *model_and_draft(request.param), ARCHITECTURES[request.param][1]


def test_geometry(architecture):
    model, _, shape = architecture
    assert inspect_model(model).shape == shape


def test_recorded_experts_rebuild_what_the_layer_computed(architecture):
    model, _, shape = architecture
    calls = []
    with ExitStack() as hooks:
        for module in inspect_model(model).experts:
            hook = lambda _module, args, output: calls.append((args[0], output))  # noqa: E731
            hooks.enter_context(module.register_forward_hook(hook))
        experts, weights = observe(model, range(2, 14))
    assert experts.shape == weights.shape == (12, shape.layers, shape.top_k)
    assert (experts.dtype, weights.dtype) == (np.int16, np.float32)
    assert all(len(set(chosen)) == shape.top_k for chosen in experts.reshape(-1, shape.top_k).tolist())
    for layer, module in enumerate(inspect_model(model).experts):
        chosen = torch.from_numpy(experts[:, layer]).long()
        with torch.inference_mode():
            again = module(calls[layer][0], chosen, torch.from_numpy(weights[:, layer]))
        assert torch.allclose(again, calls[layer][1], rtol=1e-4, atol=1e-4)


def test_speculation_is_lossless_and_records_a_plain_routing(architecture):
    model, draft, _ = architecture
    prompt = list(range(2, 22))  # longer than the sliding window of 8
    decoding = decoded(model, prompt, draft=draft, gamma=4, max_new_tokens=24)
    assert decoding.new_ids == own_text(model, prompt, 24)
    accepted = {step.accepted for step in decoding.steps}
    assert accepted - {0}, "nothing was ever accepted: the test shows nothing"
    plain, _ = observe(model, decoding.ids[:-1])
    experts = [decoding.prefill.experts, *(step.experts[: len(step.emitted)] for step in decoding.steps)]
    assert np.array_equal(np.sort(np.concatenate(experts), axis=-1), np.sort(plain, axis=-1))


def test_a_dense_model_has_no_routing_and_decodes_all_the_same():
    model = tiny.dense()
    assert inspect_model(model).shape == MoEShape(layers=0, experts=0, top_k=0)
    step = next(decode(model, [5, 6, 7], draft=tiny.dense(seed=3), gamma=3))
    assert step.experts.shape == (4, 0, 0)
    assert step.counts.shape == (0, 0)


def test_each_take_returns_what_came_since_the_last():
    model, _ = tiny.pair()
    ids = torch.tensor([[3, 4, 5]])
    with Routing(inspect_model(model)) as routing, torch.inference_mode():
        model(ids)
        first, _ = routing.take(3)
        empty, _ = routing.take(0)
        model(ids)
        second, _ = routing.take(3)
    assert np.array_equal(first, second)
    assert empty.shape == (0, 4, 4)


def interrupted_while_recording(model):
    with Routing(inspect_model(model)):
        assert tiny.hook_count(model) == 4
        raise KeyboardInterrupt


def test_hooks_are_gone_after_the_block_however_it_ends():
    model, _ = tiny.pair()
    with pytest.raises(KeyboardInterrupt):
        interrupted_while_recording(model)
    assert tiny.hook_count(model) == 0


@pytest.mark.parametrize("length", [0, tiny.CONTEXT + 1])
def test_a_text_that_does_not_fit_is_refused(length):
    with refused(f"{length} tokens.*1 to {tiny.CONTEXT}"):
        observe(tiny.pair()[0], [5] * length)
