"""A draft of the target's own tokenizer, its vocabulary padded otherwise: lossless, and never beyond it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moespac_nb.decoder.drafts import ModelDraft
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.sampling import GREEDY, Sampling, probabilities
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import decoded, distance, first_token_shares, own_text, refused
from tools.support import tiny_models as tiny

TOKENS = 240  # that the tokenizer knows
SAMPLE = Sampling("sample", temperature=1.0)


def resized(model, vocabulary: int, loud: float = 3.0):
    """The same model with another number of ids; what is added is random, and likely."""
    other = (tiny.moe if hasattr(model.config, "num_experts") else tiny.dense)(vocabulary=vocabulary)
    kept = min(vocabulary, model.config.vocab_size)
    state = dict(model.state_dict())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        shape = other.state_dict()[name].shape
        grown = torch.randn(shape, generator=torch.Generator().manual_seed(5)) * loud
        grown[:kept] = state[name][:kept]
        state[name] = grown
    other.load_state_dict(state)
    return other


def named(model, tokens: int = TOKENS):
    vocabulary = {f"<{number}>": number for number in range(tokens)}
    model.tokenizer = SimpleNamespace(
        get_vocab=lambda: vocabulary, eos_token_id=None, decode=lambda ids, **_: " ".join(map(str, ids))
    )
    return model


PADDED = {"larger": (256, 320), "smaller": (320, 256), "bare": (256, TOKENS), "equal": (256, 256)}


@pytest.fixture(scope="module", params=PADDED)
def sized(request):
    """A target and a draft much like it, by their sizes."""
    (target, draft), (ours, theirs) = tiny.pair(), PADDED[request.param]
    # As it is after training: the target never emits its padding, or no draft could read on.
    return named(resized(target, ours, loud=0.01)), named(resized(draft, theirs))


def prompt(seed: int) -> list[int]:
    return torch.randint(2, TOKENS, (12,), generator=torch.Generator().manual_seed(seed)).tolist()


@pytest.mark.parametrize("gamma", [1, 4, 8])
def test_greedy_text_is_the_targets_own(sized, gamma):
    target, draft = sized
    accepted = 0
    for seed in range(3):
        decoding = decoded(target, prompt(seed), draft=draft, gamma=gamma, max_new_tokens=30)
        accepted += sum(step.accepted for step in decoding.steps)
        assert decoding.new_ids == own_text(target, prompt(seed), 30)
        assert all((step.drafted < TOKENS).all() for step in decoding.steps)
    assert accepted


def test_a_sampled_text_can_be_judged_again(sized):
    target, draft = sized
    for step in decoded(target, prompt(0), draft=draft, gamma=4, sampling=SAMPLE, max_new_tokens=60).steps:
        assert (step.drafted < TOKENS).all()
        kept = step.uniforms < step.target_probs / step.draft_probs
        assert step.accepted == int(np.cumprod(kept).sum())


def test_a_sampled_text_has_the_targets_distribution():
    """Of the first token, where the draft is another model altogether."""
    target, draft = named(resized(tiny.pair()[0], 256)), named(resized(tiny.dense(), 320))
    sampling = Sampling("sample", temperature=2.0, top_k=8)
    expected = probabilities(target(torch.tensor([prompt(0)])).logits[0, -1].detach(), sampling)
    shares = first_token_shares(target, prompt(0), 300, 256, draft=draft, sampling=sampling)
    assert distance(shares, expected) < 0.12


def test_a_dense_trace_can_be_recorded_with_it():
    target, draft = named(resized(tiny.pair()[0], 256)), named(resized(tiny.pair()[1], 320))
    trace = record(target, prompt(1), draft=draft, dense=3, max_new_tokens=12, stop_ids=())
    assert trace.committed_ids.tolist() == own_text(target, prompt(1), 12)


def test_a_token_that_only_the_target_has_silences_the_draft():
    target, draft = named(resized(tiny.pair()[0], 320)), named(resized(tiny.pair()[1], 256))
    decoding = decoded(target, [5, 300, 7], draft=draft, gamma=4, max_new_tokens=12)
    assert [step.gamma for step in decoding.steps] == [0] * 12
    assert decoding.new_ids == own_text(target, [5, 300, 7], 12)


def test_its_distribution_has_the_targets_ids_and_adds_up():
    draft = ModelDraft(named(resized(tiny.pair()[1], 320)))
    for vocabulary in (256, 400):
        proposal = draft.propose(prompt(0), np.full(4, 0.999), SAMPLE, vocabulary)
        assert proposal.probs.shape == (4, vocabulary)
        assert torch.allclose(proposal.probs.sum(-1), torch.ones(4), atol=1e-5)
        assert not proposal.probs[:, TOKENS:].any()
        assert draft.propose(prompt(0), np.zeros(4), GREEDY, vocabulary).ids.max() < TOKENS


def test_other_tokenizers_are_refused_whatever_their_sizes():
    target, draft = named(resized(tiny.pair()[0], 256)), named(resized(tiny.pair()[1], 320), TOKENS - 1)
    with refused("different tokenizers: '<239>' is 239 in one and None in the other"):
        decode(target, [5, 6], draft=draft)
    with refused(r"vocabulary of 256, draft .* of 320; .*as model\.tokenizer"):
        decode(target, [5, 6], draft=resized(tiny.pair()[1], 320))
