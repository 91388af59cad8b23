"""A draft of the target's own tokenizer, its vocabulary padded otherwise: lossless, and never beyond it."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from moespac_nb.decoder.drafts import ModelDraft
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.sampling import GREEDY, Sampling
from moespac_nb.decoder.speculative import decode
from moespac_nb.utils.exceptions import MoespacError
from tools.support import tiny_models as tiny

TOKENS = 240  # that the tokenizer knows
SAMPLE = Sampling("sample", temperature=1.0)


def resized(model, vocabulary: int, loud: float = 3.0, seed: int = 5):
    """The same model with another number of ids; what is added is random, and likely."""
    other = (tiny.moe if hasattr(model.config, "num_experts") else tiny.dense)(vocabulary=vocabulary)
    kept = min(vocabulary, model.config.vocab_size)
    state = dict(model.state_dict())
    for name in ("model.embed_tokens.weight", "lm_head.weight"):
        grown = (
            torch.randn(other.state_dict()[name].shape, generator=torch.Generator().manual_seed(seed)) * loud
        )
        grown[:kept] = state[name][:kept]
        state[name] = grown
    other.load_state_dict(state)
    return other


def tokenizer(tokens: int = TOKENS) -> SimpleNamespace:
    vocabulary = {f"<{number}>": number for number in range(tokens)}
    return SimpleNamespace(
        get_vocab=lambda: vocabulary, eos_token_id=None, decode=lambda ids, **_: " ".join(map(str, ids))
    )


def named(model, tokens: int = TOKENS):
    model.tokenizer = tokenizer(tokens)
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
        decoding = decode(target, prompt(seed), draft=draft, gamma=gamma, max_new_tokens=30, stop_ids=())
        accepted += sum(step.accepted for step in decoding)
        assert decoding.new_ids == tiny.generated(target, prompt(seed), 30, eos_token_id=None)
        assert all((step.drafted < TOKENS).all() for step in decoding.steps)
    assert accepted


def test_a_sampled_text_can_be_judged_again_and_no_stranger_is_drafted(sized):
    target, draft = sized
    decoding = decode(
        target, prompt(0), draft=draft, gamma=4, sampling=SAMPLE, max_new_tokens=60, stop_ids=()
    )
    for step in decoding:
        assert (step.drafted < TOKENS).all()
        kept = step.uniforms < step.target_probs / step.draft_probs
        assert step.accepted == int(np.cumprod(kept).sum())


def test_a_sampled_text_has_the_targets_distribution():
    """The first token, over many seeds, where the draft is another model altogether."""
    target, draft = named(resized(tiny.pair()[0], 256)), named(resized(tiny.dense(), 320))
    sampling = Sampling("sample", temperature=2.0, top_k=8)
    from moespac_nb.decoder.sampling import probabilities

    expected = probabilities(target(torch.tensor([prompt(0)])).logits[0, -1].detach(), sampling)
    counted = torch.zeros(256)
    for seed in range(300):
        decoding = decode(
            target,
            prompt(0),
            draft=draft,
            gamma=1,
            sampling=sampling,
            seed=seed,
            max_new_tokens=2,
            stop_ids=(),
        )
        next(decoding)
        counted[decoding.new_ids[0]] += 1 / 300
    assert float((counted - expected).abs().sum()) / 2 < 0.12


def test_a_dense_trace_can_be_recorded_with_it():
    target, draft = named(resized(tiny.pair()[0], 256)), named(resized(tiny.pair()[1], 320))
    trace = record(target, prompt(1), draft=draft, dense=3, max_new_tokens=12, stop_ids=())
    assert trace.committed_ids.tolist() == tiny.generated(target, prompt(1), 12, eos_token_id=None)


def test_a_token_that_only_the_target_has_silences_the_draft():
    target, draft = named(resized(tiny.pair()[0], 320)), named(resized(tiny.pair()[1], 256))
    decoding = decode(target, [5, 300, 7], draft=draft, gamma=4, max_new_tokens=12, stop_ids=())
    steps = list(decoding)
    assert [step.gamma for step in steps] == [0] * 12
    assert decoding.new_ids == tiny.generated(target, [5, 300, 7], 12, eos_token_id=None)


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
    with pytest.raises(
        MoespacError, match="different tokenizers: '<239>' is 239 in one and None in the other"
    ):
        decode(target, [5, 6], draft=draft)
    with pytest.raises(MoespacError, match=r"vocabulary of 256, draft .* of 320; .*as model\.tokenizer"):
        decode(target, [5, 6], draft=resized(tiny.pair()[1], 320))
