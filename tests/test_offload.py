"""Experts in slots: the same text under any budget, counts that add up, and a model that comes back whole."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Iterable
from functools import cache
from itertools import chain
from typing import Any

import pytest
import tiny
import torch
import transformers
from hypothesis import given, settings
from hypothesis import strategies as st
from interrupts import InterruptAtLine, Watched, lines_of
from test_routing import ARCHITECTURES, SIZES
from torch.multiprocessing.reductions import StorageWeakRef

import moespac_nb
from moespac_nb.decoding import decode
from moespac_nb.errors import MoespacError
from moespac_nb.offload import Counters, offload
from moespac_nb.routing import expert_modules, geometry

PROMPT = [5, 9, 33, 12, 7, 7, 60]
TOKENS = 12
QWEN = "qwen3_moe"


@cache
def model_and_draft(name: str) -> tuple[Any, Any]:
    options, _ = ARCHITECTURES[name]
    config = transformers.AutoConfig.for_model(name, **SIZES, **options)
    model = tiny._sharpened(transformers.AutoModelForCausalLM.from_config(config), seed=3)
    return model, tiny.noised(model)


def expert_bytes(model: Any) -> int:
    module = expert_modules(model)[0]
    return sum(weight[0].nbytes for weight in module.parameters())


def decoded(decode_with: Any, draft: Any, gamma: int = 4, **options: Any) -> Any:
    options = {"max_new_tokens": TOKENS, "stop_ids": ()} | options
    decoding = decode_with(PROMPT, draft=draft, gamma=gamma, **options)
    list(decoding)
    return decoding


def plainly(model: Any) -> Any:
    return lambda prompt, **options: decode(model, prompt, **options)


@cache
def plain_text(name: str) -> list[int]:
    model, draft = model_and_draft(name)
    return decoded(plainly(model), draft).new_ids


class Untouched:
    """Everything an offload could change in a model: names, objects, places in memory, bytes, forwards."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.before = self._look()
        self.bytes = {name: weight.detach().clone() for name, weight in model.state_dict().items()}

    def _look(self) -> list[Any]:
        parameters = [
            (name, id(weight), weight.data_ptr(), weight.requires_grad, weight.device, weight.shape)
            for name, weight in self.model.named_parameters()
        ]
        modules = [(name, id(module), sorted(vars(module))) for name, module in self.model.named_modules()]
        return [parameters, modules, self.model.config._experts_implementation, tiny.hook_count(self.model)]

    def check(self) -> None:
        assert self._look() == self.before
        for name, weight in self.model.state_dict().items():
            assert torch.equal(weight, self.bytes[name])


@pytest.mark.parametrize("gamma", [0, 4])
@pytest.mark.parametrize("budget", ["1 slot", "3 slots", "10%", "25%", "100%"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_text_is_the_plain_models_under_any_budget(name, budget, gamma):
    model, draft = model_and_draft(name)
    if budget.endswith(("slot", "slots")):
        budget = int(budget.split()[0]) * expert_bytes(model)
    untouched = Untouched(model)
    with offload(model, budget) as run:
        decoding = decoded(run.decode, draft, gamma)
    assert decoding.new_ids == plain_text(name)
    untouched.check()
    if gamma:
        assert decoding.summary()["acceptance_rate"] > 0.2  # windows are truly verified from slots


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_logits_are_the_plain_models_within_rounding(name, implementation):
    model, _ = model_and_draft(name)
    before = model.config._experts_implementation
    ids = torch.arange(40)[None] % 64
    model.set_experts_implementation(implementation)
    try:
        with torch.inference_mode():
            plain = model(ids).logits
            for slots in (1, 5, 16):
                with offload(model, slots * expert_bytes(model)) as run:
                    logits = model(ids).logits
                assert run.misses > 0
                assert torch.allclose(logits, plain, rtol=1e-4, atol=1e-5 * float(plain.abs().max()))
        assert model.config._experts_implementation == implementation
    finally:
        model.set_experts_implementation(before)


def test_the_models_own_generate_runs_from_slots():
    model, _ = model_and_draft("gpt_oss")
    plain = tiny.generated(model, PROMPT, TOKENS, eos_token_id=None)
    with offload(model, "25%") as run:
        assert tiny.generated(model, PROMPT, TOKENS, eos_token_id=None) == plain
    assert run.misses > 0


def test_the_three_lines_read_as_written():
    prompt = "Question: 3 + 4 ="
    model, draft = moespac_nb.load_pair()
    plain = decode(model, prompt, max_new_tokens=16)
    list(plain)
    new_ids = []
    with moespac_nb.offload(model, budget="25%") as run:
        for step in run.decode(prompt, draft=draft, max_new_tokens=16):
            new_ids += step.emitted.tolist()
    assert new_ids == plain.new_ids
    assert run.misses > 0
    assert not any(weight.is_meta for weight in model.parameters())


def test_sampled_text_is_the_same_for_the_same_seed():
    model, draft = model_and_draft(QWEN)
    options = {"sampling": moespac_nb.Sampling("sample", temperature=1.0), "seed": 5}
    plain = decoded(plainly(model), draft, **options)
    with offload(model, "25%") as run:
        assert decoded(run.decode, draft, **options).new_ids == plain.new_ids


def lru(slots: int, events: Iterable[tuple[int, list[int]]], size: int) -> Counters:
    """The textbook's least-recently-used cache. Within an event what is cached is used first."""
    cached: OrderedDict[tuple[int, int], None] = OrderedDict()
    hits = misses = evictions = 0
    for layer, experts in events:
        keys = [(layer, expert) for expert in sorted(set(experts))]
        found = [key for key in keys if key in cached]
        hits += len(found)
        misses += len(keys) - len(found)
        for key in found + [key for key in keys if key not in found]:
            cached[key] = None
            cached.move_to_end(key)
            if len(cached) > slots:
                cached.popitem(last=False)
                evictions += 1
    return Counters(hits, misses, evictions, misses * size)


def events_of(decoding: Any) -> list[tuple[int, list[int]]]:
    """A decoding's passes in order, each layer's experts."""
    passes = [decoding.prefill.experts, *(step.experts for step in decoding.steps)]
    return [
        (layer, experts[:, layer].ravel().tolist()) for experts in passes for layer in range(experts.shape[1])
    ]


@pytest.mark.parametrize("gamma", [0, 4])
@pytest.mark.parametrize("slots", [1, 2, 5, 11, 24])
def test_counts_are_those_of_the_recorded_routing(slots, gamma):
    model, draft = model_and_draft(QWEN)
    size = expert_bytes(model)
    with offload(model, slots * size) as run:
        decoding = decoded(run.decode, draft, gamma)
    events = events_of(decoding)
    assert run.counters == lru(slots, events, size)
    assert run.hits + run.misses == sum(len(set(experts)) for _, experts in events)
    assert run.bytes_copied == run.misses * run.expert_bytes
    touched = {(layer, expert) for layer, experts in events for expert in experts}
    assert run.evictions == run.misses - min(slots, len(touched))


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.lists(st.integers(0, 7), min_size=2, max_size=2), max_size=6)),
    max_size=12,
)


@settings(max_examples=150)
@given(st.integers(1, 24), EVENTS)
def test_any_routing_is_computed_right_and_counted_as_least_recently_used(slots, events):
    model, _ = model_and_draft(QWEN)
    experts = expert_modules(model)
    hidden, gates = torch.randn(6, 32), torch.rand(6, 2)
    inputs = [
        (layer, hidden[: len(ids)], torch.tensor(ids, dtype=torch.long).view(-1, 2), gates[: len(ids)])
        for layer, ids in events
    ]
    with torch.no_grad():
        plain = [experts[layer](*args) for layer, *args in inputs]
        with offload(model, slots * expert_bytes(model)) as run:
            ours = [experts[layer](*args) for layer, *args in inputs]
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, plain, strict=True))
    flat = [(layer, list(chain.from_iterable(ids))) for layer, ids in events]
    assert run.counters == lru(slots, flat, expert_bytes(model))


def test_a_snapshot_of_the_counts_stays_as_it_was():
    model, draft = model_and_draft(QWEN)
    with offload(model, "25%") as run:
        start = run.counters
        decoded(run.decode, draft)
        end = run.counters
    assert start == Counters(0, 0, 0, 0)
    assert end == run.counters != start


def test_the_budget_is_kept_and_the_experts_are_out_of_the_model():
    model, _ = model_and_draft("gpt_oss")
    size = expert_bytes(model)
    with offload(model, "30%") as run:
        names = {name for module in expert_modules(model) for name, weight in module.named_parameters()}
        assert names == {"gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias"}
        assert all(weight.is_meta for module in expert_modules(model) for weight in module.parameters())
        assert run.expert_bytes == size
        assert run.budget_bytes == int(0.3 * 24 * size)
        assert run.slots == 7
        held = sum(slot_tensor.nbytes for slot_tensor in run._pool.tensors.values())
        assert held == run.slots * size <= run.budget_bytes
        assert geometry(model) == ARCHITECTURES["gpt_oss"][1]  # routing is read as ever


def test_more_than_all_experts_is_said_where_it_was_asked_for():
    model, _ = model_and_draft(QWEN)
    with pytest.warns(UserWarning, match="budget is '1GiB'.* all 24 experts") as warned:
        run = offload(model, "1GiB")
    run.close()
    assert run.slots == 24
    assert run.budget_bytes == 24 * run.expert_bytes
    assert [warning.filename for warning in warned] == [__file__]


def storages(run: Any) -> list[StorageWeakRef]:
    return [StorageWeakRef(tensor.untyped_storage()) for tensor in run._pool.tensors.values()]


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("name", [QWEN, "gpt_oss"])
def test_an_error_within_a_forward_leaves_a_whole_model_and_no_slots(name, error):
    model, draft = model_and_draft(name)
    untouched = Untouched(model)
    calls = 0

    def fail(self, gate_up):
        nonlocal calls
        calls += 1
        if calls == 20:
            raise error
        return own(self, gate_up)

    slots: list[StorageWeakRef] = []

    def decode_offloaded():
        with offload(model, "25%") as run:
            slots.extend(storages(run))
            decoded(run.decode, draft)

    kind = type(expert_modules(model)[0])
    own = kind._apply_gate
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kind, "_apply_gate", fail)
        with pytest.raises(error) as caught:
            decode_offloaded()
    assert calls == 20
    untouched.check()
    assert slots
    assert all(slot.expired() for slot in slots)
    assert caught.tb is not None  # though the traceback, and with it every frame and the run, is alive
    assert decoded(plainly(model), draft).new_ids == plain_text(name)


def test_a_decoding_left_half_way_goes_on_with_the_plain_model():
    model, draft = model_and_draft(QWEN)
    untouched = Untouched(model)
    with offload(model, "25%") as run:
        slots = storages(run)
        decoding = run.decode(PROMPT, draft=draft, gamma=4, max_new_tokens=TOKENS, stop_ids=())
        for _step in decoding:
            break
    counts = run.counters
    untouched.check()
    assert all(slot.expired() for slot in slots)
    list(decoding)
    assert decoding.new_ids == plain_text(QWEN)
    assert run.counters == counts


def test_a_closed_run_says_so_and_stays_closed():
    model, _ = model_and_draft(QWEN)
    untouched = Untouched(model)
    run = offload(model, "25%")
    run.close()
    run.close()
    untouched.check()
    with pytest.raises(MoespacError, match="this run is closed"):
        run.decode(PROMPT)
    with offload(model, "50%") as again:
        assert again.slots == 12
    untouched.check()


def test_a_model_is_offloaded_once_at_a_time():
    model, draft = model_and_draft(QWEN)
    untouched = Untouched(model)
    with offload(model, "25%") as run:
        for same in (model, model.model):
            with pytest.raises(MoespacError, match="offloaded already"):
                offload(same, "50%")
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)
    untouched.check()


def test_two_models_are_offloaded_side_by_side_and_end_in_any_order():
    model, _ = model_and_draft(QWEN)
    other, other_draft = model_and_draft("mixtral")
    untouched = Untouched(model), Untouched(other)
    first, second = offload(model, "25%"), offload(other, "25%")
    assert decoded(second.decode, other_draft).new_ids == plain_text("mixtral")
    first.close()
    assert decoded(second.decode, other_draft).new_ids == plain_text("mixtral")
    second.close()
    for each in untouched:
        each.check()


def test_the_run_may_begin_and_end_in_any_grad_mode():
    model, draft = model_and_draft(QWEN)
    untouched = Untouched(model)
    with torch.inference_mode():
        run = offload(model, "25%")
    assert decoded(run.decode, draft).new_ids == plain_text(QWEN)
    assert tiny.generated(model, PROMPT, TOKENS, eos_token_id=None) == plain_text(QWEN)
    with torch.inference_mode():
        run.close()
    untouched.check()


def test_training_through_slots_is_refused():
    model, _ = model_and_draft(QWEN)
    with offload(model, "100%"):
        logits = model(torch.tensor([PROMPT])).logits
        with pytest.raises(MoespacError, match="cannot be trained"):
            logits.sum().backward()
    model.zero_grad()


OPENING = ("__init__", "_checked_modules", "_expert_parameters")
RUNNING = ("__call__", "forward", "compute", "bring", "_slot_for", "_copy")
CLOSING = ("_restore", "free")
OFFLOAD = sys.modules["moespac_nb.offload"].__file__


def lines_in(functions: tuple[str, ...]) -> Watched:
    """The lines of these functions of offload.py."""
    return lambda code: code.co_filename == OFFLOAD and code.co_name in functions


@pytest.mark.parametrize("functions", [OPENING, CLOSING])
def test_an_interrupt_at_any_line_of_opening_or_closing_leaves_a_whole_model(functions):
    model, _ = model_and_draft("gpt_oss")
    untouched = Untouched(model)

    def open_and_close():
        with offload(model, "25%"):
            pass

    lines = lines_of(lines_in(functions), open_and_close)
    assert lines > 10
    for nth in range(1, lines + 1):
        with pytest.raises(KeyboardInterrupt), InterruptAtLine(lines_in(functions), nth):
            open_and_close()
        untouched.check()


def test_after_an_interrupt_at_any_line_every_expert_is_still_computed_right():
    model, _ = model_and_draft(QWEN)
    experts = expert_modules(model)
    hidden, gates = torch.randn(2, 32), torch.rand(2, 2)
    routing = [(0, [[0, 1], [2, 1]]), (1, [[0, 1], [5, 6]]), (0, [[1, 2], [2, 3]]), (1, [[6, 0], [0, 6]])]

    def compute():
        return [experts[layer](hidden, torch.tensor(ids), gates) for layer, ids in routing]

    with torch.inference_mode():
        plain = compute()
        budget = 3 * expert_bytes(model)
        with offload(model, budget):
            lines = lines_of(lines_in(RUNNING), compute)
        for nth in range(1, lines + 1):
            with offload(model, budget):
                with pytest.raises(KeyboardInterrupt), InterruptAtLine(lines_in(RUNNING), nth):
                    compute()
                for _ in range(2):
                    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(compute(), plain, strict=True))
    assert lines > 100


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_an_interrupted_decoding_goes_on_from_slots(share):
    model, draft = model_and_draft(QWEN)
    options = {"draft": draft, "gamma": 4, "max_new_tokens": TOKENS, "stop_ids": ()}
    with offload(model, "25%") as run:
        lines = lines_of(lines_in(RUNNING), lambda: list(run.decode(PROMPT, **options)))
    with offload(model, "25%") as run:
        decoding = run.decode(PROMPT, **options)
        with pytest.raises(KeyboardInterrupt), InterruptAtLine(lines_in(RUNNING), int(share * lines)):
            list(decoding)
        list(decoding)
    assert decoding.new_ids == plain_text(QWEN)


class OwnWay(torch.nn.Module):
    """A layer with a router and its experts, one module each, as some models keep them."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = torch.nn.Linear(4, 2)
        self.experts = torch.nn.ModuleList([torch.nn.Linear(4, 4), torch.nn.Linear(4, 4)])


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("a name", "str has no mixture-of-experts layers"),
        (tiny.dense(), "Qwen3ForCausalLM has no mixture-of-experts layers"),
        (OwnWay(), "OwnWay keeps its experts in a way of its own"),
        (torch.nn.ModuleList([tiny.moe(layers=1), model_and_draft(QWEN)[0]]), "experts of 2 sizes"),
        (tiny.moe(layers=1).to("meta"), "experts on meta; accepted: on the CPU"),
    ],
    ids=["not a model", "dense", "one module each", "unequal", "not on the CPU"],
)
def test_a_model_that_cannot_be_offloaded_is_refused_with_the_reason(model, message):
    with pytest.raises(MoespacError, match=message):
        offload(model, "50%")


@pytest.mark.parametrize("budget", ["0%", "lots", 5, "0.1%"])
def test_a_bad_budget_changes_nothing(budget):
    model, _ = model_and_draft(QWEN)
    untouched = Untouched(model)
    with pytest.raises(MoespacError, match="budget is"):
        offload(model, budget)
    untouched.check()
