"""A text ends where `generate` ends it, by token or by string, whatever was drafted at once."""

from __future__ import annotations

import pytest
import torch

from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.sampling import Sampling
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.loading import load_pair
from tests.helpers.decodes import decoded, own_text, refused
from tools.support import tiny_models as tiny

PROMPT = "Problem: Add 12, 30, 7.\nSolution:"
NEW = 40


@pytest.fixture(scope="module")
def pair():
    return load_pair(verify=False)


def plain(pair, **options):
    return decoded(pair[0], PROMPT, gamma=0, max_new_tokens=NEW, **options)


def strings_of(text: str) -> list[str]:
    """Of every length and place: within a token, over several, at the beginning and at the end."""
    return [text[:1], text[1:4], text[7:8], text[10:21], text[13:17], text[-3:], text[5:40]]


@pytest.fixture(scope="module")
def own_texts(pair) -> dict[str, list[int]]:
    """By stop string, the ids of the target's own text."""
    free, options = plain(pair), {"tokenizer": pair[0].tokenizer}
    return {
        string: own_text(pair[0], free.prompt_ids, NEW, stop_strings=[string], **options)
        for string in strings_of(free.text)
    }


@pytest.mark.parametrize("gamma", [0, 1, 4, 8])
def test_greedy_text_ends_where_generate_ends_it(pair, own_texts, gamma):
    target, draft = pair
    for string, own in own_texts.items():
        for drafting in (draft, target, NgramDraft()):
            options = {"draft": drafting, "gamma": gamma, "max_new_tokens": NEW}
            decoding = decoded(target, PROMPT, stop_strings=string, **options)
            assert decoding.new_ids == own
            assert decoding.finish_reason == "stop"
            assert string in PROMPT + decoding.text


@pytest.mark.parametrize("seed", range(4))
def test_a_sampled_text_ends_at_its_first_stop_string(pair, seed):
    target, _ = pair
    # Its own draft is always right: the window is accepted whole, and the string ends the text within it.
    options = {"draft": target, "sampling": Sampling("sample", 0.9), "seed": seed, "gamma": 4}
    free = decoded(target, PROMPT, max_new_tokens=NEW, **options)
    for string in strings_of(free.text):
        strings = ("no such thing", string)
        decoding = decoded(target, PROMPT, max_new_tokens=NEW, stop_strings=strings, **options)
        ends = [n for n in range(1, NEW + 1) if string in target.tokenizer.decode(free.new_ids[:n])]
        assert decoding.new_ids == free.new_ids[: ends[0]]
        assert decoding.finish_reason == "stop"


def test_the_models_own_stop_strings_are_the_default(pair, monkeypatch):
    target, draft = pair
    string = plain(pair).text[10:14]
    monkeypatch.setattr(target.generation_config, "stop_strings", [string])
    decoding = decoded(target, PROMPT, draft=draft, max_new_tokens=NEW)
    assert decoding.text == plain(pair, stop_strings=string).text
    assert plain(pair, stop_strings=()).finish_reason == "length"


def test_a_dense_trace_ends_there_too_and_says_so(pair):
    target, draft = pair
    string = plain(pair).text[10:21]
    options = {"draft": draft, "dense": 3, "max_new_tokens": NEW, "stop_ids": ()}
    text = record(target, PROMPT, stop_strings=[string], **options).texts[0]
    assert text.text == plain(pair, stop_strings=string).text
    assert (text.finish_reason, text.stop_strings) == ("stop", (string,))


@pytest.mark.parametrize("many", [5, [5], (5,), {5}, torch.tensor([5]), iter([5])])
def test_one_stop_id_needs_no_list(pair, many):
    assert decode(pair[0], PROMPT, stop_ids=many).stops.ids == {5}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"stop_ids": ["\n\n"]}, r"stop_ids holds '\\n\\n'; expected: one token id .*a stop_strings"),
        ({"stop_ids": "\n\n"}, r"stop_ids is '\\n\\n'; expected: .*a stop_strings"),
        ({"stop_ids": 5.5}, "stop_ids is 5.5; expected: one token id"),
        ({"stop_ids": True}, "stop_ids is True; expected"),
        ({"stop_ids": [5.5]}, "stop_ids holds 5.5; expected"),
        ({"stop_ids": 4096}, "stop_ids holds 4096; expected: token ids from 0 to 4095"),
        ({"stop_ids": [-1]}, "stop_ids holds -1; expected"),
        ({"stop_strings": ""}, "stop_strings is ''; expected: a text, or several, none of them empty"),
        ({"stop_strings": ["a", ""]}, r"stop_strings is \['a', ''\]"),
        ({"stop_strings": 5}, "stop_strings is 5; expected"),
        ({"stop_strings": [5]}, r"stop_strings is \[5\]; expected"),
    ],
)
def test_what_cannot_end_a_text_is_refused(pair, options, said):
    with refused(said):
        decode(pair[0], PROMPT, **options)


def test_strings_need_a_tokenizer():
    with refused("stop_strings was given, but there is no tokenizer; pass tokenizer="):
        decode(tiny.pair()[0], [5, 6], stop_strings="x")
