"""Logits that are no numbers end in a sentence, never in an end of text or a token that does not exist."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch

from moespac_nb.decoder.drafts import Proposal
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.sampling import Sampling, probabilities
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import decoded, own_text, refused
from tools.support import tiny_models as tiny

SAMPLE = Sampling("sample", 1.0)
PROMPT = [5, 6, 7, 8]


def with_norm(value: float, dtype: torch.dtype = torch.float32, which: int = 0):
    """A model of the pair whose every logit comes from `value`."""
    model = deepcopy(tiny.pair()[which]).to(dtype)
    with torch.no_grad():
        model.model.norm.weight.fill_(value)
    return model


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLE])
@pytest.mark.parametrize(
    ("value", "dtype", "said"),
    [
        (torch.nan, torch.float32, "are NaN, computed in float32.*expected: weights that are"),
        (torch.inf, torch.float32, "are (NaN|infinite), computed in float32"),
        (6e4, torch.float16, "in float16: no token follows; expected: .*dtype='float32' or bfloat16"),
        (torch.nan, torch.bfloat16, "are NaN, computed in bfloat16.*load it with dtype='float32'$"),
    ],
)
def test_the_targets_are_refused_and_nothing_is_emitted(sampling, value, dtype, said):
    target = with_norm(value, dtype)
    for draft in (None, tiny.pair()[1]):
        decoding = decode(target, PROMPT, draft=draft, sampling=sampling, gamma=3, max_new_tokens=3)
        with refused(f"the target's logits .*{said}"):
            list(decoding)
        assert decoding.new_ids == []
        assert decoding.finish_reason == "interrupted"
        assert tiny.hook_count(target) == 0


def test_overflow_of_one_layer_in_half_precision_is_the_same():
    target = deepcopy(tiny.pair()[0]).half()
    with torch.no_grad():
        target.model.layers[0].mlp.experts.down_proj.mul_(3e4)
    with refused("the target's logits are NaN, computed in float16"):
        list(decode(target, PROMPT, max_new_tokens=3))


@pytest.mark.parametrize("sampling", [Sampling(), SAMPLE])
def test_the_drafts_are_refused_by_its_name(sampling):
    target, draft = tiny.pair()[0], with_norm(float("nan"), torch.bfloat16, which=1)
    for make in (
        lambda: list(decode(target, PROMPT, draft=draft, sampling=sampling, max_new_tokens=3)),
        lambda: record(target, PROMPT, draft=draft, sampling=sampling, dense=2, max_new_tokens=3),
    ):
        with refused("the draft's logits are NaN, computed in bfloat16"):
            make()


@pytest.mark.parametrize("temperature", [1e-40, 1e-300])
def test_a_temperature_that_makes_them_infinite_is_named(temperature):
    target, draft = tiny.pair()
    decoding = decode(target, PROMPT, draft=draft, sampling=Sampling("sample", temperature))
    with refused(f"temperature is {temperature}: logits divided by it overflow.*larger"):
        list(decoding)
    assert decoding.new_ids == []


def test_a_temperature_that_is_cold_enough_is_greedy():
    target, draft = tiny.pair()
    decoding = decoded(target, PROMPT, draft=draft, sampling=Sampling("sample", 1e-30), max_new_tokens=8)
    assert decoding.new_ids == own_text(target, PROMPT, 8)


def test_tokens_may_be_ruled_out_but_not_all_of_them():
    target, _ = tiny.pair()
    logits = torch.tensor([[0.0, -torch.inf, 1.0]])
    assert probabilities(logits, SAMPLE)[0, 1] == 0
    with refused(r"the target's logits are infinite.*logits processors that leave some"):
        list(decode(target, PROMPT, logits_processor=lambda ids, scores: scores - torch.inf))
    nan_for_one = lambda ids, scores: scores.index_fill(1, torch.tensor([9]), torch.nan)  # noqa: E731
    with refused("the target's logits are NaN"):
        list(decode(target, PROMPT, logits_processor=nan_for_one))


def test_a_config_that_removes_what_is_no_number_is_obeyed():
    target = with_norm(float("nan"))
    target.generation_config.remove_invalid_values = True
    decoding = decoded(target, PROMPT, max_new_tokens=3)
    assert decoding.new_ids == own_text(target, PROMPT, 3)


class Stranger:
    """A draft that proposes what it is told to."""

    def __init__(self, ids: list[int], width: int) -> None:
        self.proposal = Proposal(torch.tensor(ids), torch.full((len(ids), width), 1 / width))

    def prefill(self, ids, /) -> None: ...

    def propose(self, ids, uniforms, sampling, vocabulary, /) -> Proposal:
        return self.proposal


@pytest.mark.parametrize(
    ("ids", "width"), [([tiny.VOCABULARY], tiny.VOCABULARY), ([-1], tiny.VOCABULARY), ([5, 6], 40)]
)
def test_a_draft_that_the_target_cannot_read_is_refused(ids, width):
    decoding = decode(tiny.pair()[0], PROMPT, draft=Stranger(ids, width))
    with refused(r"the draft proposed ids .*; expected: ids from 0 to 255, and a row of 256"):
        next(decoding)
    assert decoding.new_ids == []


class Wrapped(torch.nn.Module):
    """Like DataParallel: a module around a module."""

    def __init__(self, module: torch.nn.Module) -> None:
        super().__init__()
        self.module = module


def test_wrapped_models_and_others_are_refused_with_what_to_pass():
    target, draft = tiny.pair()
    for model in (Wrapped(target), torch.nn.DataParallel(target)):
        with refused(r"model is a \w+; .*it wraps one: pass its \.module"):
            decode(model, PROMPT)
    with refused(r"draft is a Wrapped; expected.*its \.module"):
        decode(target, PROMPT, draft=Wrapped(draft))
    for model in (None, "a name", torch.nn.Linear(2, 2)):
        with refused(r"model is a .*; expected: a transformers model"):
            decode(model, PROMPT)
