"""Several threads on one model, plain or offloaded: each has its own text, routing and counts."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from moespac_nb.decoder.callbacks import DecodeCallback
from moespac_nb.decoder.recording import record
from moespac_nb.decoder.speculative import decode
from moespac_nb.offloading.session import offload, offloaded
from moespac_nb.trace.schema import same
from tests.helpers.interrupts import InterruptAtLine, lines_of
from tests.helpers.offload_cases import SLOW_CPU, running
from tools.support import tiny_models as tiny
from tools.support.tiny_moe import (
    QWEN,
    TOKENS,
    Untouched,
    begun,
    decoded,
    plain_text,
    plainly,
)

PROMPTS = [[5, 9, 33, 12, 7, 7, 60], [2, 3, 4], [44, 45, 46, 47, 48], [60, 1, 60, 1, 60]]
DEVICES = ["virtual", "host"]
PLAYED = ["on-demand", "spac-joint", "recency"]


@pytest.fixture(autouse=True)
def _threads_change_often() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def at_once(*work: Callable[[], Any]) -> list[Any]:
    """What each returns, or raises, all of them begun at the same moment in threads of their own."""
    found: list[Any] = [None] * len(work)
    gate = threading.Barrier(len(work))

    def one(i: int) -> None:
        gate.wait()
        try:
            found[i] = work[i]()
        except BaseException as error:
            found[i] = error

    threads = [threading.Thread(target=one, args=(i,), daemon=True) for i in range(len(work))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    return found


def generates(model: Any, prompt: list[int]) -> Callable[[], list[int]]:
    return lambda: tiny.generated(model, prompt, TOKENS, eos_token_id=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("played", PLAYED)
def test_generate_in_four_threads_gives_each_its_own_text(model, played, device):
    own = [generates(model, prompt)() for prompt in PROMPTS]
    with offload(model, "10%", policy=played, device=device, costs=SLOW_CPU) as run:
        assert at_once(*(generates(model, prompt) for prompt in PROMPTS)) == own
        apart = run._driver.scheduler.other.counters
        assert run.counters == apart
        assert apart.copies > 0 or played != "on-demand"  # others learn from decodes alone


def routed(model: Any, draft: Any, prompt: list[int]) -> Callable[[], Any]:
    def work() -> Any:
        decoding = decode(model, prompt, draft=draft, gamma=3, max_new_tokens=2 * TOKENS, stop_ids=())
        return [(step.emitted.tolist(), step.experts.tolist()) for step in decoding]

    return work


def test_decodes_in_threads_have_the_routing_of_their_own(model, draft):
    works = [routed(model, draft, prompt) for prompt in PROMPTS]
    alone = [work() for work in works]
    for _ in range(3):
        assert at_once(*works) == alone


def test_a_trace_recorded_beside_a_thread_holds_its_own_passes():
    model, _ = tiny.pair()
    options = {"gamma": 3, "max_new_tokens": 16, "stop_ids": (), "scores": True}
    sensors = {"channels": ["next-gate", "draft-gates"], "draft": model}
    works = [lambda p=prompt: record(model, p, **options, **sensors) for prompt in PROMPTS]
    alone = [work() for work in works]
    for ours, whole in zip(at_once(*works), alone, strict=True):
        assert same(ours, timeless(whole, ours))


def timeless(trace: Any, other: Any) -> Any:
    return replace(trace, **{name: getattr(other, name) for name in ("draft_ms", "verify_ms", "prefill_ms")})


class Between(DecodeCallback):
    """Does something else, in a thread or in this one, whenever it is told of one thing."""

    def __init__(self, moment: str, work: Callable[[], Any], elsewhere: bool) -> None:
        self.done: list[Any] = []
        setattr(self, moment, lambda *_told: self.done.extend(at_once(work) if elsewhere else [work()]))


MOMENTS = [
    "on_prefill_start",
    "on_prefill_end",
    "on_step_start",
    "on_draft_token",
    "on_draft_end",
    "on_verify",
]


@pytest.mark.parametrize("elsewhere", [True, False], ids=["another thread", "the same thread"])
@pytest.mark.parametrize("moment", MOMENTS)
def test_what_runs_in_the_middle_of_a_decode_is_counted_apart(
    model: Any, draft: Any, moment: str, elsewhere: bool
) -> None:
    own = generates(model, PROMPTS[1])()
    with offload(model, "25%", policy="on-demand", costs=SLOW_CPU) as run:
        decoded(run.decode, draft)
    alone = run._driver.scheduler
    with offload(model, "25%", policy="on-demand", costs=SLOW_CPU) as run:
        between = Between(moment, generates(model, PROMPTS[1]), elsewhere)
        decoding = decoded(run.decode, draft, callbacks=between)
    counted = run._driver.scheduler
    assert decoding.new_ids == plain_text(QWEN)
    assert between.done
    assert all(text == own for text in between.done)
    for ours, theirs in ((counted.decode, alone.decode), (counted.prefill, alone.prefill)):
        assert ours.counters.requested == theirs.counters.requested
        assert ours.counters.pairs == theirs.counters.pairs > 0
        assert ours.parts.dense_s == pytest.approx(theirs.parts.dense_s)
        assert ours.parts.draft_s == pytest.approx(theirs.parts.draft_s)
    assert counted.other.counters.requested > 0
    assert run.summary()["tokens"] == len(decoding.new_ids)
    assert run.summary()["windows"] == len(decoding.steps)


def cut(_scheduler: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize("what", ["a text of its own", "a pass that is cut"])
def test_a_thread_that_comes_just_before_a_pass_takes_nothing(model: Any, draft: Any, what: str) -> None:
    own, me = generates(model, PROMPTS[1])(), threading.get_ident()

    def comes_before(*_: Any) -> None:
        if threading.get_ident() != me:
            return
        if what == "a text of its own":
            assert at_once(generates(model, PROMPTS[1])) == [own]
        else:
            [error] = at_once(lambda: run._driver._call(cut))
            assert isinstance(error, KeyboardInterrupt)

    with offload(model, "25%", policy="on-demand", costs=SLOW_CPU) as run:
        hook = model.register_forward_pre_hook(comes_before)
        decoding = decoded(run.decode, draft)
        hook.remove()
    counted = run._driver.scheduler
    assert decoding.new_ids == plain_text(QWEN)
    assert counted.prefill.counters.pairs == decoding.prefill.experts.size
    assert counted.decode.counters.pairs == sum(step.experts.size for step in decoding.steps)
    assert counted.other.counters.pairs > 0 or what == "a pass that is cut"
    assert run.summary()["tokens"] == len(decoding.new_ids)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("played", PLAYED)
def test_decodes_of_one_run_in_threads_have_a_round_each(
    model: Any, draft: Any, played: str, device: str
) -> None:
    options = {"draft": draft, "gamma": 3, "max_new_tokens": TOKENS, "stop_ids": ()}
    own = [decode(model, prompt, **options) for prompt in PROMPTS[:3]]
    steps = sum(len(list(decoding)) for decoding in own)
    with offload(model, "25%", policy=played, device=device, costs=SLOW_CPU) as run:
        decodings = [run.decode(prompt, **options) for prompt in PROMPTS[:3]]
        found = at_once(*(lambda one=one: list(one) for one in decodings), generates(model, PROMPTS[3]))
    assert [decoding.new_ids for decoding in decodings] == [decoding.new_ids for decoding in own]
    assert found[3] == generates(model, PROMPTS[3])()
    summary = run.summary()
    assert (summary["windows"], summary["tokens"]) == (steps, 3 * TOKENS)
    flat = [time for span in run.windows_s for time in span]
    assert flat == sorted(flat)  # one after another


def test_threads_that_share_one_decoding_have_a_step_each(model, draft):
    decoding = begun(plainly(model), draft, gamma=2, max_new_tokens=40)
    steps = [step for each in at_once(*3 * [lambda: list(decoding)]) for step in each]
    assert sorted(step.index for step in steps) == list(range(len(decoding.steps)))
    assert decoding.new_ids == decoded(plainly(model), draft, gamma=2, max_new_tokens=40).new_ids


def test_after_an_interrupt_at_any_line_another_thread_goes_on(model, draft):
    own = generates(model, PROMPTS[1])()

    def started() -> Any:
        return begun(run.decode, draft, gamma=3, max_new_tokens=4)

    def watched(code: Any) -> bool:
        return running(code) or code.co_filename.endswith(("stand_in.py", "decoding.py", "callbacks.py"))

    with offload(model, "25%", policy="on-demand", costs=SLOW_CPU) as run:
        lines, interrupts = lines_of(watched, lambda: list(started())), 0
        for nth in range(1, lines, lines // 25):
            decoding = started()
            with (
                suppress(KeyboardInterrupt),
                InterruptAtLine(watched, nth),
            ):  # with warm slots there are fewer
                list(decoding)
            interrupts += decoding.finish_reason in (None, "interrupted")
            assert at_once(generates(model, PROMPTS[1])) == [own]
            list(decoding)
            assert decoding.new_ids == plain_text(QWEN)[:4]
    assert interrupts > 15


def test_an_error_in_one_thread_leaves_the_others_their_turn(model):
    own = generates(model, PROMPTS[1])()
    me = threading.get_ident()

    def fails(*_: Any) -> None:
        if threading.get_ident() != me:
            raise OSError("lost")

    with offload(model, "10%", policy="on-demand", costs=SLOW_CPU):
        hook = model.model.layers[1].register_forward_pre_hook(fails)
        found = at_once(*2 * [generates(model, PROMPTS[0])])
        assert [type(each) for each in found] == [OSError, OSError]
        assert generates(model, PROMPTS[1])() == own
        hook.remove()


@pytest.mark.parametrize("change", ["close", "resize", "offload anew"])
def test_a_run_that_ends_or_changes_waits_for_other_threads_passes(model, change):
    own = [generates(model, prompt)() for prompt in PROMPTS]
    untouched = Untouched(model)
    for _ in range(3):
        run = offload(model, "10%", policy="on-demand", costs=SLOW_CPU)

        def changed(run: Any = run) -> None:
            while not run.counters.miss:
                pass
            if change == "offload anew":
                offload(model, "30%", policy="on-demand", costs=SLOW_CPU)
            else:
                run.resize("50%") if change == "resize" else run.close()

        assert at_once(*(generates(model, prompt) for prompt in PROMPTS), changed) == [*own, None]
        if now := offloaded(model):
            now.close()
        assert not run.is_open
        untouched.check()
