"""What the model's generation config asks for is obeyed as `generate` obeys it, or refused."""

from __future__ import annotations

from copy import deepcopy
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import (
    LogitsProcessorList,
    NoBadWordsLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    SuppressTokensLogitsProcessor,
    SynthIDTextWatermarkLogitsProcessor,
)

from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.logits import processors_of
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.sampling import Sampling, probabilities
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import decoded, distance, first_token_shares, own_text, refused
from tools.support import tiny_models as tiny
from tools.support.tiny_models import random_prompt

NEW = 28


@pytest.fixture
def pair():
    """Models whose generation config a test may change."""
    return tuple(map(deepcopy, tiny.pair()))


SETTINGS = {
    "repetition_penalty": {"repetition_penalty": 5.0},
    "a weak penalty": {"repetition_penalty": 1.05},
    "a reward": {"repetition_penalty": 0.5},
    "no_repeat_ngram_size": {"no_repeat_ngram_size": 2},
    "suppress_tokens": {"suppress_tokens": list(range(2, 120))},
    "begin_suppress_tokens": {"begin_suppress_tokens": list(range(2, 250))},
    "min_new_tokens": {"min_new_tokens": 20, "eos_token_id": list(range(60))},
    "min_length": {"min_length": 35, "eos_token_id": list(range(60))},
    "bad_words_ids": {"bad_words_ids": [[n] for n in range(2, 90)] + [[100, 101], [7, 200]]},
    "sequence_bias": {"sequence_bias": [[[9], 4.0], [[9, 11], 8.0]]},
    "encoder_repetition_penalty": {"encoder_repetition_penalty": 3.0},
    "encoder_no_repeat_ngram_size": {"encoder_no_repeat_ngram_size": 1},
    "forced_eos_token_id": {"forced_eos_token_id": 7},
    "exponential_decay_length_penalty": {"exponential_decay_length_penalty": (5, 1.2), "eos_token_id": 3},
    "renormalize_logits": {"renormalize_logits": True, "repetition_penalty": 2.0},
    "several": {"repetition_penalty": 1.5, "no_repeat_ngram_size": 3, "suppress_tokens": [5, 6, 7, 8]},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_greedy_text_is_generates_own(pair, name):
    target, draft = pair
    for setting, value in SETTINGS[name].items():
        setattr(target.generation_config, setting, value)
    prompt = random_prompt(1)
    own = tiny.generated(target, prompt, NEW)
    assert own != tiny.generated(tiny.pair()[0], prompt, NEW) or name == "a weak penalty"
    for drafting, gamma in ((None, 0), (draft, 5), (target, 8), (NgramDraft(), 4)):
        decoding = decoded(target, prompt, draft=drafting, gamma=gamma, max_new_tokens=NEW, stop_ids=None)
        assert decoding.new_ids == own
        if drafting is target:  # as its own draft it obeys too, and is always right
            assert all(step.accepted == step.gamma for step in decoding.steps[:-1])


def test_given_processors_take_the_place_of_the_models_own(pair):
    target, draft = pair
    target.generation_config.repetition_penalty = 5.0
    given = [RepetitionPenaltyLogitsProcessor(2.0), SuppressTokensLogitsProcessor(list(range(2, 60)))]
    prompt, options = random_prompt(0), {"draft": draft, "max_new_tokens": NEW}
    own = own_text(target, prompt, NEW, logits_processor=LogitsProcessorList(given))
    for form in (given, tuple(given), LogitsProcessorList(given)):
        decoding = decoded(target, prompt, **options, gamma=4, logits_processor=form)
        assert decoding.new_ids == own
    assert decoding.processors.names == ("RepetitionPenaltyLogitsProcessor", "SuppressTokensLogitsProcessor")
    trace = record(target, prompt, **options, dense=3, stop_ids=(), logits_processor=given)
    assert trace.committed_ids.tolist() == own
    assert trace.texts[0].processors == decoding.processors.names


def test_a_single_function_will_do(pair):
    target, prompt = pair[0], random_prompt(0)
    decoding = decoded(target, prompt, max_new_tokens=5, logits_processor=lambda ids, scores: -scores)
    assert decoding.new_ids[0] == int(target(torch.tensor([prompt])).logits[0, -1].argmin())


def test_rows_of_a_window_are_as_one_position_at_a_time(pair):
    target, _ = pair
    target.generation_config.repetition_penalty = 3.0
    target.generation_config.no_repeat_ngram_size = 2
    processors = processors_of(target, [5, 6, 5], {0}, 9, None)
    text = [5, 6, 5, 9, 5, 6]
    logits = torch.randn(3, tiny.VOCABULARY)
    before = logits.clone()
    together = processors(text, logits)
    assert torch.equal(logits, before)
    for row, end in enumerate((4, 5, 6)):
        assert torch.equal(together[row : row + 1], processors(text[:end], logits[row : row + 1]))
    assert together[1, 6] == -torch.inf  # 5 was followed by 6, and stands before this position again
    assert together[2, 6] != -torch.inf


def test_sampling_keeps_the_processed_distribution(pair):
    target, draft = pair
    prompt, sampling = random_prompt(4), Sampling("sample", temperature=1.5, top_k=6)
    given = [NoBadWordsLogitsProcessor([[n] for n in range(2, 100)]), RepetitionPenaltyLogitsProcessor(3.0)]
    options = {"draft": draft, "sampling": sampling, "logits_processor": given}
    first = target(torch.tensor([prompt])).logits[0, -1:].detach()
    processors = processors_of(target, prompt, (), 1, given)
    expected = probabilities(processors(prompt, first), sampling)[0]
    assert distance(first_token_shares(target, prompt, 300, tiny.VOCABULARY, **options), expected) < 0.12
    assert distance(probabilities(first, sampling)[0], expected) > 0.3


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("num_beams", 4),
        ("penalty_alpha", 0.6),
        ("guidance_scale", 1.5),
        ("dola_layers", "high"),
        ("diversity_penalty", 0.5),
        ("force_words_ids", [[5]]),
        ("token_healing", True),
        ("max_time", 5.0),
    ],
)
def test_what_cannot_be_obeyed_is_refused_by_name(pair, setting, value):
    target, _ = pair
    setattr(target.generation_config, setting, value)
    with refused(f"generation_config has {setting} = .*generation_config.{setting} = None"):
        decode(target, [5, 6])


def test_settings_that_ask_for_nothing_are_no_trouble(pair):
    target, _ = pair
    nothing = {"num_beams": 1, "guidance_scale": 1.0, "repetition_penalty": 1.0, "max_length": 5}
    sampling = {"temperature": 0.6, "top_k": 20, "top_p": 0.95, "do_sample": True}
    for setting, value in (nothing | sampling).items():
        setattr(target.generation_config, setting, value)
    assert decode(target, [5, 6]).processors.functions == ()


def test_a_watermark_with_a_memory_is_refused(pair):
    mark = SynthIDTextWatermarkLogitsProcessor(
        ngram_len=3,
        keys=[1, 2],
        sampling_table_size=8,
        sampling_table_seed=0,
        context_history_size=4,
        device="cpu",
    )
    with refused("SynthIDTextWatermarkLogitsProcessor, which follows from more than"):
        decode(pair[0], [5, 6], logits_processor=[mark])
    with refused("logits_processor holds 5; expected: logits processors"):
        decode(pair[0], [5, 6], logits_processor=[5])
    pair[0].generation_config.watermarking_config = SimpleNamespace()
    with refused("watermarking_config"):
        decode(pair[0], [5, 6])


def test_min_p_is_recorded(pair):
    sampling = Sampling("sample", min_p=0.2)
    trace = record(pair[0], [5, 6, 7], sampling=sampling, gamma=0, max_new_tokens=4)
    assert trace.texts[0].min_p == 0.2
    assert record(pair[0], [5, 6, 7], gamma=0, max_new_tokens=4).texts[0].min_p is None
    assert np.isfinite(trace.target_top_probs).all()
