"""Callbacks hear every step in order; several nest as `with` blocks do."""

from __future__ import annotations

from typing import Any

import pytest

from moespac_nb.decoder.callbacks import DecodeCallback, combine_callbacks
from moespac_nb.decoder.speculative import decode
from tests.helpers.decodes import refused
from tools.support import tiny_models as tiny

HOOKS = [name for name in vars(DecodeCallback) if name.startswith("on_")]
BEFORE_A_PASS = {"on_prefill_start", "on_step_start", "on_draft_token", "on_draft_end"}


class Recorder(DecodeCallback):
    def __init__(self, name: str, heard: list[tuple[str, str]]) -> None:
        for hook in HOOKS:
            setattr(self, hook, lambda *_, hook=hook: heard.append((hook, name)))


@pytest.mark.parametrize("hook", HOOKS)
def test_the_last_callback_is_closest_to_the_passes(hook: str) -> None:
    heard: list[tuple[str, str]] = []
    both = combine_callbacks([Recorder("outer", heard), Recorder("inner", heard)])
    arguments = [] if hook in ("on_prompt_read", "on_draft_end", "on_abort") else [None]
    getattr(both, hook)(*arguments)
    order = ["outer", "inner"] if hook in BEFORE_A_PASS else ["inner", "outer"]
    assert heard == [(hook, name) for name in order]


def test_a_decode_calls_one_callback_or_several() -> None:
    target, draft = tiny.pair()
    alone: list[tuple[str, str]] = []
    both: list[tuple[str, str]] = []
    options: dict[str, Any] = {"draft": draft, "gamma": 3, "max_new_tokens": 6, "stop_ids": ()}
    list(decode(target, [5, 6, 7], callbacks=Recorder("a", alone), **options))
    list(decode(target, [5, 6, 7], callbacks=[Recorder("a", both), Recorder("b", both)], **options))
    assert [entry for entry in both if entry[1] == "a"] == alone
    assert [hook for hook, name in both if name == "b"] == [hook for hook, _ in alone]
    assert {hook for hook, _ in alone} == set(HOOKS) - {"on_abort"}


def test_every_callback_hears_of_an_abort_even_if_one_raises() -> None:
    heard: list[tuple[str, str]] = []

    class Fails(DecodeCallback):
        def on_abort(self) -> None:
            raise OSError("enough")

    both = combine_callbacks([Recorder("outer", heard), Fails()])
    with pytest.raises(OSError, match="enough"):
        both.on_abort()
    assert heard == [("on_abort", "outer")]


@pytest.mark.parametrize("wrong", [print, [print], None, "x"])
def test_anything_but_callbacks_is_refused(wrong: Any) -> None:
    with refused(r"callbacks is .*; expected: a DecodeCallback, or a list of them"):
        decode(tiny.pair()[0], [5, 6, 7], callbacks=wrong)
