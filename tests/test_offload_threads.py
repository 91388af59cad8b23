"""Several threads on one model, plain or offloaded: each has its own text, its own routing and its own counts."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tiny
import torch
from interrupts import InterruptAtLine, lines_of
from offloading import PROMPT, QWEN, TOKENS, Untouched, decoded, model_and_draft, plain_text, plainly
from test_offload import running

from moespac_nb.decoding import decode
from moespac_nb.errors import MoespacError
from moespac_nb.listener import Listener
from moespac_nb.offload import offload
from moespac_nb.recording import record
from moespac_nb.routing import observe
from moespac_nb.trace_edit import same

PROMPTS = [[5, 9, 33, 12, 7, 7, 60], [2, 3, 4], [44, 45, 46, 47, 48], [60, 1, 60, 1, 60]]
DEVICES = ["virtual", "host"]
PLAYED = ["on-demand", "spac-joint", "recency"]


@pytest.fixture(autouse=True)
def _threads_change_often(request: pytest.FixtureRequest) -> Any:
    import sys

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
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads), "a thread waits for ever"
    return found


def generates(model: Any, prompt: list[int]) -> Callable[[], list[int]]:
    return lambda: tiny.generated(model, prompt, TOKENS, eos_token_id=None)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("played", PLAYED)
def test_generate_in_four_threads_gives_each_its_own_text(played: str, device: str) -> None:
    model, _ = model_and_draft(QWEN)
    own = [generates(model, prompt)() for prompt in PROMPTS]
    untouched = Untouched(model)
    with offload(model, "10%", policy=played, device=device) as run:
        assert at_once(*(generates(model, prompt) for prompt in PROMPTS)) == own
        apart = run._passes.scheduler.apart.counters
        assert run.counters == apart
        assert apart.miss > 0
    untouched.check()


def routed(model: Any, draft: Any, prompt: list[int]) -> Callable[[], Any]:
    def work() -> Any:
        decoding = decode(model, prompt, draft=draft, gamma=3, max_new_tokens=2 * TOKENS, stop_ids=())
        return [(step.emitted.tolist(), step.experts.tolist()) for step in decoding]

    return work


def test_decodes_in_threads_on_a_plain_model_have_the_routing_of_their_own() -> None:
    model, draft = model_and_draft(QWEN)
    works = [routed(model, draft, prompt) for prompt in PROMPTS]
    alone = [work() for work in works]
    for _ in range(3):
        assert at_once(*works) == alone


def test_a_trace_recorded_beside_another_thread_holds_its_own_passes_alone() -> None:
    model, _ = tiny.pair()
    options = {"gamma": 3, "max_new_tokens": 16, "stop_ids": (), "scores": True}
    sensors = {"sensors": ["next-gate", "draft-gates"], "draft": model}
    works = [lambda p=prompt: record(model, p, **options, **sensors) for prompt in PROMPTS]
    alone = [work() for work in works]
    for ours, whole in zip(at_once(*works), alone, strict=True):
        assert same(ours, timeless(whole, ours))


def timeless(trace: Any, other: Any) -> Any:
    from dataclasses import replace

    names = ("draft_ms", "verify_ms", "prefill_ms")
    return replace(trace, **{name: getattr(other, name) for name in names if hasattr(trace, name)})
