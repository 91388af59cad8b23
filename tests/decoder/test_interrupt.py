"""An interrupt, wherever it falls, leaves whole text, no hook, a usable model and a decoding that goes on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import transformers

import moespac_nb
from moespac_nb.decoder.sampling import GREEDY, Sampling
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import decoded, own_text
from tests.helpers.interrupts import InterruptAtLine, lines_of
from tools.support import tiny_models as tiny

PROMPT = [5, 9, 33, 120, 7, 7, 64]
TOKENS = 9
SAMPLE = Sampling("sample", temperature=1.0)
WATCHED = str(Path(moespac_nb.__file__).parent), transformers.cache_utils.__file__
UNDOING = "_all_or_nothing"  # what puts things back is not interrupted a second time


OPTIONS = {"gamma": 3, "max_new_tokens": TOKENS, "seed": 4, "stop_ids": ()}


def started(sampling: Sampling = GREEDY):
    target, draft = tiny.pair()
    return decode(target, PROMPT, draft=draft, sampling=sampling, **OPTIONS)


def finished(sampling: Sampling = GREEDY):
    target, draft = tiny.pair()
    return decoded(target, PROMPT, draft=draft, sampling=sampling, **OPTIONS)


def assert_goes_on_as_if_nothing_had_happened(decoding, whole) -> None:
    assert tiny.hook_count(decoding.model) == 0
    committed = decoding.new_ids
    assert committed == whole.new_ids[: len(committed)]
    list(decoding)
    assert decoding.finish_reason == "length"
    assert decoding.new_ids == whole.new_ids
    assert np.array_equal(decoding.prefill.experts, whole.prefill.experts)
    for step, wanted in zip(decoding.steps, whole.steps, strict=True):
        assert step.window.tolist() == wanted.window.tolist()
        assert np.array_equal(step.experts, wanted.experts)


def interrupt_forward(model, nth: int):
    """Makes the model's nth forward from now end with Ctrl-C after two of its layers."""
    calls = iter(range(1, nth + 1))

    def count(*_):
        if next(calls, 0) == nth:
            raise KeyboardInterrupt

    return model.model.layers[min(2, len(model.model.layers) - 1)].register_forward_pre_hook(count)


@pytest.mark.parametrize("sampling", [GREEDY, SAMPLE], ids=["greedy", "sample"])
@pytest.mark.parametrize(
    ("part", "nth"), [("target", 1), ("target", 3), ("draft", 1), ("draft", 2), ("draft", 6)]
)
def test_interrupted_while_a_model_runs(part, nth, sampling):
    whole = finished(sampling)
    decoding = started(sampling)
    hook = interrupt_forward(tiny.pair()[part == "draft"], nth)
    with hook, pytest.raises(KeyboardInterrupt):
        list(decoding)
    assert decoding.finish_reason == "interrupted"
    assert_goes_on_as_if_nothing_had_happened(decoding, whole)


def test_interrupted_between_steps_by_the_one_who_reads_them():
    decoding = started()
    next(decoding)
    assert decoding.finish_reason is None
    assert_goes_on_as_if_nothing_had_happened(decoding, finished())


def test_a_decoding_thrown_away_leaves_a_usable_model():
    target, _ = tiny.pair()
    decoding = started()
    with interrupt_forward(target, 2), pytest.raises(KeyboardInterrupt):
        list(decoding)
    del decoding
    assert own_text(target, PROMPT, TOKENS) == finished().new_ids


def watched(code) -> bool:
    """The decoder and the library's caches."""
    return code.co_filename.startswith(WATCHED) and code.co_name != UNDOING


def interrupted_at_every(stride: int, first: int = 1) -> int:
    """Interrupts a decoding at one line in `stride`; returns how many lines there are."""
    whole = finished(SAMPLE)
    decoding = started(SAMPLE)
    lines = lines_of(watched, lambda: list(decoding))
    for nth in range(first, lines, stride):
        decoding = started(SAMPLE)
        with pytest.raises(KeyboardInterrupt), InterruptAtLine(watched, nth):
            list(decoding)
        assert_goes_on_as_if_nothing_had_happened(decoding, whole)
    return lines


def test_interrupted_at_any_of_many_lines():
    assert interrupted_at_every(101) > 1000


@pytest.mark.full
@pytest.mark.parametrize("first", range(1, 6))
def test_interrupted_at_any_line(first):
    interrupted_at_every(5, first)
