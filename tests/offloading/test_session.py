"""Experts in slots: the same text under any budget, counts that add up, and a model that comes back whole."""

from __future__ import annotations

from itertools import chain
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import moespac_nb
from moespac_nb.decoder.speculative import decode
from moespac_nb.engine.placement import Counters
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.loading import load_pair
from moespac_nb.offloading.session import offload
from moespac_nb.utils.exceptions import InvalidInputError, MoespacError
from tests.helpers.interrupts import InterruptAtLine, Watched, lines_of
from tests.helpers.offload_cases import PACKAGE, running
from tools.support import tiny_models as tiny
from tools.support.tiny_moe import (
    ARCHITECTURES,
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

on_gpt_oss = pytest.mark.parametrize("name", ["gpt_oss"])


@pytest.mark.parametrize("gamma", [0, 4])
@pytest.mark.parametrize("budget", ["1 slot", "3 slots", "10%", "25%", "100%"])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_greedy_text_is_the_plain_models_under_any_budget(model, draft, name, budget, gamma):
    if budget.endswith(("slot", "slots")):
        budget = int(budget.split()[0]) * expert_bytes(model)
    for policy in ("on-demand", "spac-joint"):
        with offload(model, budget, policy=policy) as run:
            decoding = decoded(run.decode, draft, gamma)
        assert decoding.new_ids == plain_text(name)
        if policy == "on-demand":
            assert run._driver.scheduler.decode.counters.cpu_pairs == 0  # all from slots
            assert budget != "100%" or run.counters.ready > 0
    if gamma:
        assert decoding.summary()["acceptance_rate"] > 0.2  # windows are truly verified from slots


@on_gpt_oss
def test_the_models_own_generate_runs_from_slots(model):
    plain = tiny.generated(model, PROMPT, TOKENS, eos_token_id=None)
    with offload(model, "25%") as run:
        assert tiny.generated(model, PROMPT, TOKENS, eos_token_id=None) == plain
    assert run.counters.miss > 0


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
    assert run.counters.miss > 0
    assert not any(weight.is_meta for weight in model.parameters())


def test_sampled_text_is_the_same_for_the_same_seed(model, draft):
    options = {"sampling": moespac_nb.Sampling("sample", temperature=1.0), "seed": 5}
    plain = decoded(plainly(model), draft, **options)
    with offload(model, "25%") as run:
        assert decoded(run.decode, draft, **options).new_ids == plain.new_ids


EVENTS = st.lists(
    st.tuples(st.integers(0, 2), st.lists(st.lists(st.integers(0, 7), min_size=2, max_size=2), max_size=6)),
    max_size=12,
)


@settings(max_examples=60)
@given(st.integers(1, 24), st.sampled_from(["on-demand", "recency", "cpu-only"]), EVENTS)
def test_any_routing_in_any_order_is_computed_and_counted(slots, policy, events):
    model, _ = model_and_draft(QWEN)
    experts = inspect_model(model).experts
    hidden, gates = torch.randn(6, 32), torch.rand(6, 2)
    inputs = [
        (layer, hidden[: len(ids)], torch.tensor(ids, dtype=torch.long).view(-1, 2), gates[: len(ids)])
        for layer, ids in events
    ]
    with torch.no_grad():
        plain = [experts[layer](*args) for layer, *args in inputs]
        with offload(model, slots * expert_bytes(model), policy=policy) as run:
            ours = [experts[layer](*args) for layer, *args in inputs]
    assert all(torch.equal(a, b) for a, b in zip(ours, plain, strict=True))
    counts = run.counters
    distinct = sum(len(set(chain.from_iterable(ids))) for _, ids in events)
    assert counts.requested == distinct
    assert counts.pairs == sum(2 * len(ids) for _, ids in events)
    assert run._driver.scheduler.decode.counters == Counters()  # none of this was a decode


def test_a_snapshot_of_the_counts_stays_as_it_was(model, draft):
    with offload(model, "25%") as run:
        start = run.counters
        decoded(run.decode, draft)
        end = run.counters
    assert start == Counters()
    assert end == run.counters != start


@on_gpt_oss
def test_the_budget_is_kept_and_the_experts_are_out_of_the_model(model):
    size = expert_bytes(model)
    with offload(model, "30%") as run:
        experts = torch.nn.ModuleList(inspect_model(model).experts)
        names = {name.split(".")[-1] for name, _ in experts.named_parameters()}
        assert names == {"gate_up_proj", "gate_up_proj_bias", "down_proj", "down_proj_bias"}
        assert all(weight.is_meta for weight in experts.parameters())
        assert run.expert_bytes == size
        assert run.budget_bytes == int(0.3 * 24 * size)
        assert run.slots == 7
        held = sum(slot_tensor.nbytes for slot_tensor in run._store.slots.values())
        assert held == run.slots * size <= run.budget_bytes
        assert inspect_model(model).shape == ARCHITECTURES["gpt_oss"][1]  # routing is read as ever


def test_more_than_all_experts_is_said_where_it_was_asked_for(model):
    with pytest.warns(UserWarning, match="budget is '1GiB'.* all 24 experts") as warned:
        run = offload(model, "1GiB")
    run.close()
    assert run.slots == 24
    assert run.budget_bytes == 24 * run.expert_bytes
    assert [warning.filename for warning in warned] == [__file__]


class Stop(Exception):  # noqa: N818
    pass


@pytest.mark.parametrize("error", [Stop, KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize("name", [QWEN, "gpt_oss"])
def test_an_error_in_a_forward_leaves_a_whole_model_and_no_slots(model, draft, name, error):
    untouched = Untouched(model)
    calls = 0

    def fail(self, gate_up):
        nonlocal calls
        calls += 1
        if calls == 20:
            raise error
        return own(self, gate_up)

    slots: list[Any] = []

    def decode_offloaded():
        with offload(model, "25%") as run:
            slots.extend(storages(run))
            decoded(run.decode, draft)

    kind = type(inspect_model(model).experts[0])
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


def test_a_decoding_left_half_way_goes_on_with_the_plain_model(model, draft):
    with offload(model, "25%") as run:
        slots = storages(run)
        decoding = begun(run.decode, draft)
        for _step in decoding:
            break
    counts = run.counters
    assert all(slot.expired() for slot in slots)
    list(decoding)
    assert decoding.new_ids == plain_text(QWEN)
    assert run.counters == counts


def test_a_closed_run_says_so_and_stays_closed(model):
    run = offload(model, "25%")
    run.close()
    run.close()
    assert not any(weight.is_meta for weight in model.parameters())
    with pytest.raises(MoespacError, match="this run is closed"):
        run.decode(PROMPT)
    with offload(model, "50%") as again:
        assert again.slots == 12


def test_a_model_is_offloaded_once_at_a_time(model, draft):
    with offload(model, "25%") as run:
        for same in (model, model.model):
            with pytest.raises(MoespacError, match="offloaded already"):
                offload(same, "50%")
        assert decoded(run.decode, draft).new_ids == plain_text(QWEN)


def test_two_models_may_be_offloaded_side_by_side(model):
    other, other_draft = model_and_draft("mixtral")
    untouched = Untouched(model), Untouched(other)
    first, second = offload(model, "25%"), offload(other, "25%")
    assert decoded(second.decode, other_draft).new_ids == plain_text("mixtral")
    first.close()
    assert decoded(second.decode, other_draft).new_ids == plain_text("mixtral")
    second.close()
    for each in untouched:
        each.check()


def test_the_run_may_begin_and_end_in_any_grad_mode(model, draft):
    with torch.inference_mode():
        run = offload(model, "25%")
    assert decoded(run.decode, draft).new_ids == plain_text(QWEN)
    assert tiny.generated(model, PROMPT, TOKENS, eos_token_id=None) == plain_text(QWEN)
    with torch.inference_mode():
        run.close()


def test_training_through_slots_is_refused(model):
    with offload(model, "100%"):
        logits = model(torch.tensor([PROMPT])).logits
        with pytest.raises(MoespacError, match="cannot be trained"):
            logits.sum().backward()
    model.zero_grad()


OPENING = (
    "__init__",
    "share_cores",
    "_move_the_rest",
    "move",
    "checked_modules",
    "expert_parameters",
    "resize",
)
CLOSING = ("_restore", "put_back", "close", "free")


def lines_in(functions: tuple[str, ...]) -> Watched:
    """The lines of these functions of the package, but for the one that sees to it that all is put back."""
    return lambda code: (
        code.co_filename.startswith(str(PACKAGE))
        and code.co_name in functions
        and code.co_qualname != "Run.close"
    )


@pytest.mark.parametrize("functions", [OPENING, CLOSING])
@on_gpt_oss
def test_an_interrupt_in_opening_or_closing_leaves_a_whole_model(model, functions):
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


def test_after_an_interrupt_at_any_line_experts_compute_right(model):
    experts = inspect_model(model).experts
    hidden, gates = torch.randn(2, 32), torch.rand(2, 2)
    routing = [(0, [[0, 1], [2, 1]]), (1, [[0, 1], [5, 6]]), (0, [[1, 2], [2, 3]]), (1, [[6, 0], [0, 6]])]

    def compute():
        return [experts[layer](hidden, torch.tensor(ids), gates) for layer, ids in routing]

    with torch.inference_mode():
        plain, interrupts = compute(), 0
        budget = 3 * expert_bytes(model)
        with offload(model, budget, policy="on-demand") as run:
            lines = lines_of(running, compute)
            for nth in range(1, lines, 17):
                for _ in range(2):
                    try:
                        with InterruptAtLine(running, nth):
                            compute()
                    except KeyboardInterrupt:
                        interrupts += 1
                    again = compute()
                    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(again, plain, strict=True))
                run.resize(expert_bytes(model) * (1 + nth % 4))
    assert interrupts > 100


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_an_interrupted_decoding_goes_on_from_slots(model, draft, share):
    options = {"draft": draft, "gamma": 4, "max_new_tokens": TOKENS, "stop_ids": ()}
    with offload(model, "25%") as run:
        lines = lines_of(running, lambda: list(run.decode(PROMPT, **options)))
    with offload(model, "25%") as run:
        decoding = run.decode(PROMPT, **options)
        with pytest.raises(KeyboardInterrupt), InterruptAtLine(running, int(share * lines)):
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
        (OwnWay(), "OwnWay cannot be offloaded: ModuleList does not go through"),
        (torch.nn.ModuleList([tiny.moe(layers=1), model_and_draft(QWEN)[0]]), "layers have 8, 16 experts"),
        (tiny.moe(layers=1).to("meta"), "experts on meta; expected: on the CPU"),
    ],
    ids=["not a model", "dense", "one module each", "unequal", "not on the CPU"],
)
def test_a_model_that_cannot_be_offloaded_is_refused(model, message):
    with pytest.raises(MoespacError, match=message):
        offload(model, "50%")


@pytest.mark.parametrize("device", ["virtual", "host"])
def test_windows_are_on_the_timelines_clock_and_outlive_the_run(model, draft, device: str) -> None:
    with offload(model, "50%", device=device) as run:
        assert run.windows_s == ()
        decoded(run.decode, draft)
        decoded(run.decode, draft)
    spans = run.windows_s
    assert len(spans) == run.summary()["windows"] > 2
    flat = [time for span in spans for time in span]
    assert flat == sorted(flat)
    drafted = [op for op in run.timeline if op.label == "draft"]
    assert all(any(begin <= op.start and op.end <= end for begin, end in spans) for op in drafted)
    took = sum(end - begin for begin, end in spans)
    assert run.summary()[f"tokens_per_second_{run.label}"] == pytest.approx(run.summary()["tokens"] / took)


def test_the_parts_add_up_to_the_windows_where_time_is_real(model, draft):
    with offload(model, "50%", policy="on-demand", device="host", costs=None) as run:
        decoding = begun(run.decode, draft, max_new_tokens=40)
        list(decoding)
    parts, windows_s = run._driver.scheduler.decode.parts, run._driver.seconds
    assert parts.total_s == pytest.approx(windows_s, rel=0.02)
    assert all(part > 0 for part in (parts.draft_s, parts.dense_s, parts.experts_s, parts.planning_s))
    within = [op for op in run.timeline if any(a <= op.start and op.end <= b for a, b in run.windows_s)]
    drafted = sum(op.end - op.start for op in within if op.lane == "draft")
    dense = [op.end - op.start for op in within if op.label.endswith("dense") or op.label == "head"]
    assert 0 < drafted <= parts.draft_s
    assert 0 < sum(dense) <= parts.dense_s
    # What is in no lane is bookkeeping around the operations, never the model at work.
    assert drafted + sum(dense) > 0.5 * (parts.draft_s + parts.dense_s)
    assert len(dense) == len(decoding.steps) * (len(inspect_model(model).experts) + 1)


def test_a_budget_that_is_the_devices_pays_for_the_draft() -> None:
    target, _ = load_pair()
    options = {"budget": "50%", "policy": "on-demand", "model_spec": "qwen3-30b-a3b"}
    with offload(target, **options) as run:
        slots = run.slots
    with offload(target, accounting="device-equal", **options) as run:
        assert 0 < run.slots < slots
    with offload(target, "50%", policy="on-demand", accounting="device-equal") as run:  # its own draft
        assert run.slots < 256


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"accounting": "device"}, "accounting is 'device'; expected: slots-equal, device-equal"),
        (
            {"accounting": "device-equal", "model_spec": "mixtral-8x7b", "budget": "2%"},
            "the draft takes [0-9]+ bytes",
        ),
    ],
)
def test_an_accounting_that_cannot_be_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        offload(load_pair()[0], **{"budget": "25%", "policy": "on-demand", **options})


def test_a_draft_of_unknown_size_cannot_be_charged(model: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"the bytes of a draft for .* are not known"):
        offload(model, "50%", policy="on-demand", accounting="device-equal")
