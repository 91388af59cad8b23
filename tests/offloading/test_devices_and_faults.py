"""Offloaded decoding and its scheduler: the replay's own timeline, any policy, device, fault and budget."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb.decoder.channels import Channels
from moespac_nb.decoder.recording import trace_of
from moespac_nb.decoder.sampling import GREEDY, Sampling
from moespac_nb.engine.devices import VirtualDevice
from moespac_nb.engine.devices.host import HostDevice
from moespac_nb.models.inspection import inspect_model
from moespac_nb.offloading.session import offload
from moespac_nb.policies import POLICIES, Policy, compose_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.interrupts import InterruptAtLine
from tests.helpers.offload_cases import CARD, SLOW_CPU, OnStandIn, running
from tools.support.tiny_moe import (
    PROMPT,
    QWEN,
    TOKENS,
    Untouched,
    begun,
    decoded,
    expert_bytes,
    model_and_draft,
    plain_text,
    plainly,
    storages,
)

LIVE = sorted(name for name, policy in POLICIES.items() if not policy.reads_future)
SHAPE = inspect_model(model_and_draft(QWEN)[0]).shape
PROFILE = np.random.default_rng(0).random((SHAPE.layers, SHAPE.experts))
SAMPLE = Sampling("sample", temperature=1.0)
OWN = [
    compose_policy("drafted", sensor="token-table", rule="last-count", admission=1, miss="cheaper"),
    compose_policy("ahead", sensor="next-gate", rule="last-count", admission=1, miss="load"),
]


@pytest.mark.parametrize("budget", ["5%", "25%", "100%"])
@pytest.mark.parametrize("sampling", [GREEDY, SAMPLE], ids=["greedy", "sampled"])
@pytest.mark.parametrize("played", [*LIVE, *OWN], ids=lambda played: getattr(played, "name", played))
def test_a_modelled_decode_has_the_timeline_of_its_replay(model, draft, played, sampling, budget):
    on = {"costs": CARD, "expert_usage": PROFILE}
    with offload(model, budget, policy=played, gamma=4, **on) as run:
        decoding = run.decode(
            PROMPT, draft=draft, sampling=sampling, max_new_tokens=2 * TOKENS, stop_ids=(), seed=3
        )
        with Channels(decoding, scores=False, names=["next-gate"]) as channels:
            for step in decoding:
                channels.take(step)
    trace = channels.beside(trace_of(decoding))
    result = replay(trace, played, budget, **on)
    assert run.timeline == result.timeline
    summary = run.summary()
    assert summary["tokens_per_second_modelled"] == pytest.approx(result.tps_modelled)
    assert summary["stall_share_modelled"] == pytest.approx(result.stall_share)
    figures = "tokens windows hit_rate late_rate cpu_share bytes_per_token wasted_bytes prefill_bytes slots"
    for name in [*figures.split(), "budget_bytes"]:
        assert summary[name] == getattr(result, name), name
    assert run._driver.scheduler.decode.counters == result.counters
    assert run._driver.scheduler.prefill.counters.bytes == result.prefill_bytes
    assert {ran.lane for ran in run.timeline} >= {"draft", "gpu"}


class Listening:
    """Notes the time on the device after each thing the engine is told."""

    def __init__(self, run: Any) -> None:
        self.told: list[tuple[str, float]] = []
        for name in ("on_step_start", "on_draft_token", "on_draft_end", "on_verify"):
            setattr(run._driver, name, partial(self._tell, name, getattr(run._driver, name), run.device))

    def _tell(self, name: str, tell: Callable[..., None], device: Any, *args: Any) -> None:
        tell(*args)
        self.told.append((name, device.now()))


def test_a_model_s_drafted_tokens_are_told_one_by_one_as_they_come(model, draft):
    own = type(draft).forward
    with offload(model, "25%", costs=CARD) as run, pytest.MonkeyPatch.context() as patch:
        listening = Listening(run)

        def forward(self, *args, **kwargs):
            listening.told.append(("draft runs", 0.0))
            return own(self, *args, **kwargs)

        decoding = begun(run.decode, draft, gamma=3, max_new_tokens=4)
        patch.setattr(draft, "forward", partial(forward, draft))
        next(decoding)
    names = [name for name, _ in listening.told]
    assert names[names.index("on_step_start") :] == [
        "on_step_start", *3 * ["draft runs", "on_draft_token"], "on_draft_end", "on_verify",
    ]  # fmt: skip
    assert listening.told[-1][1] == run.device.now()


@pytest.mark.parametrize("device", ["virtual", "host"])
@pytest.mark.parametrize("played", LIVE)
@pytest.mark.parametrize("name", [QWEN, "gpt_oss"])
def test_greedy_text_is_the_plain_models_whatever_the_policy(model, draft, name, played, device):
    for budget in ("5%", "10%", "30%", "100%"):
        with offload(
            model, budget, policy=played, device=device, costs=SLOW_CPU, expert_usage=PROFILE, gamma=4
        ) as run:
            assert decoded(run.decode, draft).new_ids == plain_text(name)
        assert (run.counters.copies > 0) == (played != "cpu-only")
        assert run.summary()["device"] == device


class FailingHost(HostDevice):
    """A host whose copies fail at random."""

    def __init__(self, fails: Callable[[str, str], bool]) -> None:
        super().__init__()
        self.fails = fails

    def submit(self, lane, seconds, run=None, after=(), label="", size_bytes=0, **options):
        if lane == "link" and self.fails(lane, label):
            run = self.fail
        return super().submit(lane, seconds, run, after, label, size_bytes, **options)

    @staticmethod
    def fail() -> None:
        raise OSError("the copy was lost")


def failing(seed: int, share: float) -> Callable[[str, str], bool]:
    rng = np.random.default_rng(seed)
    return lambda lane, _label: lane == "link" and rng.random() < share


def decoded_through_everything(
    name: str, played: str | Policy, device: Any, slots: int, gamma: int, events: list[tuple[int, int]]
) -> Any:
    """A decode with interrupts at lines and changes of budget at steps: its decoding and its run."""
    model, draft = model_and_draft(name)
    size = SLOW_CPU.expert_bytes if device.kind == "virtual" else expert_bytes(model)
    events = list(events)
    with offload(
        model, slots * size, policy=played, device=device, costs=SLOW_CPU, expert_usage=PROFILE, gamma=4
    ) as run:
        decoding = begun(run.decode, draft, gamma)
        while decoding.finish_reason in (None, "interrupted"):
            line, slots = events.pop() if events else (None, run.slots or 1)
            try:
                with InterruptAtLine(running, line):
                    next(decoding)
                    run.resize(slots * size)
            except KeyboardInterrupt:
                assert line is not None
    return decoding, run


EVENTS = st.lists(
    st.tuples(st.none() | st.integers(1, 3000), st.integers(1, SHAPE.layers * SHAPE.experts)), max_size=6
)


def check_that_nothing_changes_a_token(name, played, host, slots, gamma, events, seed, share):
    model, _ = model_and_draft(name)
    untouched = Untouched(model)
    fails = failing(seed, share)
    device = FailingHost(fails) if host else VirtualDevice(fails)
    decoding, run = decoded_through_everything(name, played, device, slots, gamma, events)
    assert decoding.new_ids == plain_text(name)
    assert {ran.lane for ran in run.timeline if ran.failed} <= {"link", "gpu"}  # and what waited for a copy
    assert share or not run.counters.failed_copies
    untouched.check()


ANYTHING = given(
    name=st.sampled_from([QWEN, "gpt_oss"]),
    played=st.sampled_from([*LIVE, *OWN]),
    host=st.booleans(),
    slots=st.integers(1, SHAPE.layers * SHAPE.experts),
    gamma=st.integers(0, 5),
    events=EVENTS,
    seed=st.integers(0, 99),
    share=st.sampled_from([0.0, 0.1, 0.5, 1.0]),
)
test_nothing_changes_a_token = settings(max_examples=40)(ANYTHING(check_that_nothing_changes_a_token))
test_nothing_changes_a_token_many_times = pytest.mark.full(
    settings(max_examples=1000)(ANYTHING(check_that_nothing_changes_a_token))
)


@pytest.mark.parametrize("device", ["virtual", "host"])
def test_a_smaller_budget_frees_memory_and_keeps_what_it_can(model, draft, device):
    size = expert_bytes(model)
    with offload(model, 12 * size, policy="on-demand", device=device) as run:
        options = {"draft": draft, "gamma": 4, "max_new_tokens": TOKENS, "stop_ids": ()}
        decoding = run.decode(PROMPT, **options)
        next(decoding)
        slots = run._driver.scheduler.engine.slots
        old, held = storages(run), set(slots.owner)
        for count in (5, 20):
            before = set(slots.owner)
            run.resize(count * size)
            assert run.slots == slots.count() == len(slots.state) == count
            assert run.budget_bytes == count * size
            assert sum(tensor.nbytes for tensor in run._store.slots.values()) == count * size
            assert set(slots.owner) - {-1} <= before
            for slot, key in enumerate(slots.owner):
                if key >= 0:
                    layer, expert = divmod(key, SHAPE.experts)
                    for name, weight in run._store.layers[layer].items():
                        assert torch.equal(run._store.slots[name][slot], weight[expert])
        assert len(held - {-1}) == 12
        assert len(set(slots.owner) - {-1}) == 5
        assert all(storage.expired() for storage in old)
        list(decoding)
    assert decoding.new_ids == plain_text(QWEN)


def test_a_policy_without_slots_takes_no_memory(model):
    with offload(model, "25%", policy="cpu-only") as run:
        run.resize("50%")
        assert run.slots == 0
        assert all(tensor.nbytes == 0 for tensor in run._store.slots.values())


def test_an_interrupt_starts_the_policy_anew_and_keeps_counts(model, draft):
    with offload(model, "25%", policy="on-demand") as run:
        decoding = begun(run.decode, draft)
        next(decoding)
        scheduler, counted = run._driver.scheduler, run.counters
        with pytest.raises(KeyboardInterrupt), InterruptAtLine(running, 200):
            next(decoding)
        list(decoding)
        assert run._driver.scheduler is not scheduler
        assert run.counters.copies > counted.copies
    assert decoding.new_ids == plain_text(QWEN)


@pytest.mark.parametrize("device", ["virtual", "host"])
def test_when_a_run_ends_its_threads_and_its_memory_are_gone(model, draft, device):
    threads = {thread.name for thread in threading.enumerate()}
    with offload(model, "25%", device=device) as run:
        slots = storages(run)
        doubles = [weakref.ref(module.forward) for module in inspect_model(model).experts]
        decoded(run.decode, draft)
        started = {thread.name for thread in threading.enumerate()} - threads
        assert any("moespac" in name for name in started) == (device == "host")
    assert {thread.name for thread in threading.enumerate()} == threads
    assert all(slot.expired() for slot in slots)
    gc.collect()
    assert all(double() is None for double in doubles)
    assert run.timeline
    with offload(model, "25%", device=device) as again:
        assert decoded(again.decode, draft).new_ids == plain_text(QWEN)


@pytest.mark.parametrize(("own", "each"), [(4, 2), (3, 1), (1, 1)])
def test_lanes_that_compute_at_the_same_time_share_torch_s_threads(model, own, each):
    threads: dict[str, int] = {}
    before = torch.get_num_threads()
    torch.set_num_threads(own)
    try:
        with offload(model, "25%", device="host") as run:
            for lane in ("gpu", "cpu"):
                ask = partial(threads.__setitem__, lane)
                run.device.wait(run.device.submit(lane, 0.0, lambda ask=ask: ask(torch.get_num_threads())))
        assert threads == {"gpu": each, "cpu": each}
        assert torch.get_num_threads() == own
    finally:
        torch.set_num_threads(before)


def test_times_say_what_they_are(model, draft):
    for device, label, other in (("virtual", "modelled", "measured"), ("host", "measured", "modelled")):
        with offload(model, "25%", device=device) as run:
            decoding = decoded(run.decode, draft)
        summary = run.summary()
        assert run.label == label
        assert summary["tokens"] == len(decoding.new_ids)
        assert summary["windows"] == len(decoding.steps)
        assert summary[f"tokens_per_second_{label}"] > 0
        assert not any(name.endswith(other) for name in summary)


def test_a_slower_link_makes_copies_late(model, draft):
    ends = {}
    for rate in (1e6, 1e9):
        with offload(model, "25%", policy="on-demand", device="host", link_bytes_per_s=rate) as run:
            decoded(run.decode, draft)
        copies = [ran.end - ran.start for ran in run.timeline if ran.lane == "link"]
        ends[rate] = min(copies)
        assert ends[rate] >= run.costs.copy_s()
    assert ends[1e6] > 5e-3 > run.costs.copy_s()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "next-window-oracle"}, "reads the future, which a live decode does not have"),
        ({"policy": "recncy"}, "policy is 'recncy'.*did you mean 'recency'"),
        (
            {"policy": compose_policy("x", sensor="draft-gates")},
            "'draft-gates', which a live decode does not",
        ),
        ({"policy": "static-hot"}, "'static-hot' needs to know how often .* brings no such counts"),
        (
            {"expert_usage": np.ones((1, 2))},
            r"expert_usage has shape \(1, 2\); expected: the model's 3 layers",
        ),
        ({"device": "gpu"}, "device is 'gpu'; expected: virtual, host, cuda"),
        ({"device": "cuda"}, "the device is cuda, but torch"),
        ({"machine": "rtx409"}, "machine is 'rtx409'"),
        ({"model_spec": "qwen"}, "model is 'qwen'"),
        ({"link_bytes_per_s": -1.0}, "link_bytes_per_s is -1.0; expected: a number above 0"),
        ({"link_bytes_per_s": "16GB/s"}, "link_bytes_per_s is '16GB/s'; expected: a number above 0"),
        ({"link_bytes_per_s": True}, "link_bytes_per_s is True; expected: a number above 0"),
        ({"in_flight": 0}, "in_flight is 0"),
        ({"in_flight": "4"}, "in_flight is '4'; expected: a whole number"),
        ({"in_flight": 1.5}, "in_flight is 1.5; expected: a whole number"),
        ({"in_flight": True}, "in_flight is True; expected: a whole number"),
        ({"gamma": "8"}, "gamma is '8'; expected: a whole number"),
        *(({"budget": budget}, "budget is") for budget in ("0%", "lots", 5, "0.1%")),
    ],
)
def test_wrong_arguments_are_refused_and_change_nothing(model, options, message):
    if options.get("device") == "cuda" and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(MoespacError, match=message):
        offload(model, **({"budget": "25%"} | options))


@pytest.mark.parametrize("played", ["on-demand", "recency", "spac-joint"])
@pytest.mark.parametrize("name", [QWEN, "gpt_oss"])
def test_on_a_stand_in_for_a_gpu_the_text_is_the_plain_models(model, draft, name, played):
    for slots in (1, 6):
        device = OnStandIn()
        budget = slots * expert_bytes(model)
        with offload(model, budget, policy=played, device=device, costs=SLOW_CPU, gamma=4) as run:
            decoding = run.decode(PROMPT, draft=draft, max_new_tokens=TOKENS, stop_ids=())
            next(decoding)
            run.resize(3 * expert_bytes(model))
            list(decoding)
        assert decoding.new_ids == plain_text(name)
        assert run.summary()["tokens_per_second_measured"] > 0
        assert any(entry[0] == "copies" and entry[1] == "launch" for entry in device.fake.log)


def test_logits_from_slots_are_the_plain_models_in_threads_too():
    for name in (QWEN, "gpt_oss"):
        model, _ = model_and_draft(name)
        ids = torch.arange(40)[None] % 64
        with torch.inference_mode():
            plain = model(ids).logits
            for device in ("virtual", "host"):
                with offload(model, "25%", device=device, policy="on-demand") as run:
                    assert torch.equal(model(ids).logits, plain)
                    assert torch.equal(model(ids).logits, plain)
                assert run.counters.loaded > run.slots


def test_a_decoding_begun_before_the_run_goes_on_from_slots(model, draft):
    decoding = begun(plainly(model), draft)
    next(decoding)
    with offload(model, "25%", policy="on-demand") as run:
        list(decoding)
        assert run.counters.miss > 0
        assert run.summary()["windows"] == 0
    assert decoding.new_ids == plain_text(QWEN)
