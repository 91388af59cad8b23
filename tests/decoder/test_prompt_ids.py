"""A prompt is taken as transformers gives it; whatever is no single text is refused by a sentence."""

from __future__ import annotations

from collections import UserDict
from copy import deepcopy

import numpy as np
import pytest
import torch
from tokenizers.processors import TemplateProcessing

from moespac_nb.decoder.prompt_ids import prompt_ids
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.loading import load_pair
from tests.helpers.decodes import decoded, own_text, refused

TEMPLATE = (
    "{{ '<|start|>' }}{% for m in messages %}"
    "{% if m['role'] == 'oracle' %}{{ raise_exception('no oracles') }}{% endif %}"
    "{{ m['role'] }}: {{ m['content'] }}\n"
    "{% endfor %}{% if add_generation_prompt %}assistant:{% endif %}"
)
MESSAGES = [{"role": "user", "content": "Add 1 and 2."}]


@pytest.fixture(scope="module")
def target():
    return load_pair(verify=False)[0]


@pytest.fixture
def chatty(target):
    """The bundled tokenizer with a chat template, and with a token that it puts before every text."""
    tokenizer = deepcopy(target.tokenizer)
    tokenizer.add_special_tokens({"bos_token": "<|pad|>"})
    begin = tokenizer.bos_token_id
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", begin)]
    )
    tokenizer.chat_template = TEMPLATE.replace("<|start|>", "<|pad|>")
    return tokenizer


def test_what_a_tokenizer_gives_is_what_the_text_gives(target):
    text = "Problem: Add 12, 30, 7.\nSolution:"
    ids = target.tokenizer(text)["input_ids"]
    encoded = target.tokenizer(text, return_tensors="pt")
    for prompt in (
        text,
        target.tokenizer(text),
        target.tokenizer([text]),
        encoded,
        dict(encoded),
        UserDict(encoded),
        target.tokenizer(text, return_tensors="np"),
        encoded.input_ids,
        encoded.input_ids[0],
        list(encoded.input_ids[0]),
        np.array(ids),
        np.array([ids], np.int32),
        tuple(ids),
        [ids],
        [np.array(ids)],
        [np.int64(token) for token in ids],
    ):
        assert prompt_ids(target, prompt, target.tokenizer) == ids
        assert decode(target, prompt).prompt_ids == ids


def test_messages_go_through_the_template_and_begin_once(target, chatty):
    rendered = chatty.apply_chat_template(MESSAGES, add_generation_prompt=True, tokenize=False)
    ids = prompt_ids(target, MESSAGES, chatty)
    assert chatty.decode(ids) == rendered == "<|pad|>user: Add 1 and 2.\nassistant:"
    assert ids.count(chatty.bos_token_id) == 1
    options = {"add_generation_prompt": True, "return_dict": True, "return_tensors": "pt"}
    as_given = chatty.apply_chat_template(MESSAGES, **options)
    assert prompt_ids(target, as_given, chatty) == ids
    assert prompt_ids(target, rendered, chatty) == ids  # the text of it, of which the tokenizer makes two
    assert chatty(rendered)["input_ids"] != ids
    plain = chatty("Hello")["input_ids"]
    assert plain[0] == chatty.bos_token_id
    assert prompt_ids(target, "Hello", chatty) == plain


def test_a_chat_decodes(target, chatty):
    decoding = decoded(target, MESSAGES, tokenizer=chatty, max_new_tokens=4)
    assert decoding.new_ids == own_text(target, decoding.prompt_ids, 4)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (None, r"the prompt is None; expected: text, one sequence of token ids, messages"),
        (5, "the prompt is 5; expected: text"),
        (5.0, "the prompt is 5.0; expected"),
        (b"Hello", "the prompt is b'Hello'; expected"),
        ({5, 6}, r"the prompt is \{5, 6\}; expected"),
        ([5.9, 6.2], r"the prompt holds 5.9; expected"),
        ([True, False], "the prompt holds True; expected"),
        (["Hello", "you"], "the prompt holds 'Hello'; expected"),
        ([5, None], "the prompt holds None; expected"),
        (torch.tensor([[5, 6], [7, 8]]), "the prompt is a batch of 2; expected: one at a time"),
        ([[5, 6], [7]], "the prompt is a batch of 2; expected: one at a time"),
        (np.zeros((3, 2), int), "the prompt is a batch of 3"),
        (np.zeros((0, 2), int), "the prompt is a batch of 0"),
        (np.zeros((1, 1, 2), int), "the prompt holds .*; expected"),
        (torch.tensor([1.5, 2.0]), "the prompt holds 1.5; expected"),
        (torch.tensor([True]), "the prompt holds True; expected"),
        (torch.tensor(7), "the prompt is .*; expected"),
        (np.array(7), "the prompt is .*; expected"),
        (np.array(["a"]), "the prompt holds 'a'; expected"),
        ({}, "the prompt has nothing; expected"),
        ({"role": "user", "content": "Hi"}, "the prompt has role, content; .*put a single message in a list"),
        (
            {"input_ids": [5], "pixel_values": 1},
            "the prompt has pixel_values beside its input_ids; expected: text",
        ),
        (
            {"input_ids": [5, 6], "attention_mask": [0, 1]},
            "attention_mask leaves tokens out; expected: .*padding",
        ),
        ({"input_ids": [[5, 6], [7, 8]]}, "batch of 2"),
        ({"input_ids": []}, "the prompt is empty"),
        (
            [{"role": "user"}],
            r"the prompt holds \{'role': 'user'\}; expected: messages with role and content",
        ),
        ([{"role": "user", "content": "Hi"}, 5], "the prompt holds .*; expected"),
        (MESSAGES, "the prompt is a list of messages, but the tokenizer has no chat template; expected"),
        (torch.tensor([], dtype=torch.int64), "the prompt is empty"),
        ([-1], "the prompt holds token id -1; expected: token ids from 0 to 4095"),
    ],
)
def test_what_is_no_prompt_is_refused(target, prompt, said):
    with refused(said):
        prompt_ids(target, prompt, target.tokenizer)


def test_messages_without_a_tokenizer_or_not_for_the_template(target, chatty):
    with refused("but there is no tokenizer; expected: a model made for chats"):
        prompt_ids(target, MESSAGES)
    with refused("chat template does not take these messages: no oracles"):
        prompt_ids(target, [{"role": "oracle", "content": "Hm"}], chatty)
