"""Replays: the same figures each time, that add up, and that move the right way; and their timelines."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from moespac_nb.engine.chrome_trace import chrome_trace, save_chrome_trace
from moespac_nb.engine.devices import LANES, Operation, VirtualDevice
from moespac_nb.engine.scheduler import Scheduler
from moespac_nb.hardware.model import load_model_spec
from moespac_nb.policies import POLICIES, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result, to_csv, to_frame
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.locality import expert_usage
from moespac_nb.trace.step import MoEShape, expert_counts
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS
from tests.helpers.offload_cases import CARD
from tests.helpers.traces.strategies import one_text, several
from tools.support.synthetic_trace import made_up

SHAPE = MoEShape(4, 16, 2)
LOCAL = made_up(SHAPE, gamma=4, steps=40, seed=1)
TWICE = concatenate([LOCAL, LOCAL])
WITH_SLOTS = sorted(set(POLICIES) - {"cpu-only"})
MACHINE = {"costs": None, "machine": "rtx4090", "model": "qwen3-30b-a3b"}
every_policy = pytest.mark.parametrize("name", sorted(POLICIES))


def replayed(name: str, budget: str | int = "25%", trace=LOCAL, **options) -> Result:
    return replay(trace, name, budget, **({"costs": CARD, "expert_usage": LOCAL} | options))


def tps(*args, **options) -> float:
    return replayed(*args, **options).tps_modelled


def lengths(result: Result) -> list[float]:
    return [end - start for start, end in result.windows_s]


def computing_s(result: Result) -> float:
    """When everything but the link was through."""
    return max(op.end for op in result.timeline if op.lane != "link")


@every_policy
def test_a_replay_comes_out_the_same_each_time(name: str) -> None:
    first, second = replayed(name), replayed(name)
    assert first == second
    assert first.timeline == second.timeline


@every_policy
def test_parts_are_all_of_the_time_and_every_request_is_counted(name: str) -> None:
    result = replayed(name)
    counters = result.counters
    assert result.tokens == sum(len(step.emitted) for step in LOCAL)
    assert counters.requested == (LOCAL.counts > 0).sum()
    assert counters.pairs == LOCAL.experts.size
    assert result.prefill_s + result.parts.total_s == pytest.approx(computing_s(result))
    assert result.tps_modelled == pytest.approx(result.tokens / result.parts.total_s)
    assert counters.bytes + result.prefill_bytes == sum(
        op.size_bytes for op in result.timeline if op.lane == "link"
    )
    assert 0 < result.prefill_s < result.ttft_s


def test_windows_follow_each_other_and_are_all_of_the_decoding() -> None:
    result = replayed("recency", "50%", concatenate([one_text(1), one_text(2)]), expert_usage=None)
    assert len(result.windows_s) == result.windows
    assert sum(lengths(result)) == pytest.approx(result.parts.total_s)
    assert all(end <= start for (_, end), (start, _) in pairwise(result.windows_s))
    assert result.windows_s[0][0] > 0  # the prompt was read before
    assert "windows_s" not in result.row()


@pytest.mark.parametrize("name", WITH_SLOTS)
def test_with_room_for_all_and_a_fast_link_nothing_is_missed_twice(name: str) -> None:
    result = replayed(name, "100%", costs=replace(CARD, link_bytes_per_s=1e18, copy_alpha_s=0))
    assert result.counters.evictions == 0
    if name in ("on-demand", "recency", "static-hot", "next-window-oracle"):
        assert result.counters.miss <= np.count_nonzero(LOCAL.counts.any(axis=0))
    if name in ("static-hot", "next-window-oracle"):  # what they know beforehand is there before it is needed
        assert result.hit_rate == 1
        assert result.cpu_share == 0


def test_all_resident_is_what_no_policy_beats() -> None:
    bound = tps("next-window-oracle", "100%", costs=replace(CARD, link_bytes_per_s=1e18, copy_alpha_s=0))
    assert all(tps(name, budget) <= bound for name in POLICIES for budget in ("10%", "50%", "100%"))


def test_the_oracle_is_ahead_of_all_in_the_mean() -> None:
    *traces, other = [made_up(SHAPE, gamma=4, steps=25, seed=seed) for seed in (0, 1, 2, 3, 99)]
    usage = expert_usage(other)
    mean = {
        name: np.mean(
            [tps(name, budget, t, expert_usage=usage) for t in traces for budget in ("15%", "30%", "50%")]
        )
        for name in POLICIES
    }
    oracle = mean.pop("next-window-oracle")
    assert all(oracle > policy for policy in mean.values())


@pytest.mark.parametrize("name", WITH_SLOTS)
def test_a_larger_budget_helps_over_the_range(name: str) -> None:
    speeds = [tps(name, budget) for budget in ("10%", "30%", "60%", "100%")]
    assert np.polyfit(range(4), speeds, 1)[0] > 0
    assert speeds[-1] > speeds[0]


def test_cpu_only_does_not_care_for_the_budget() -> None:
    assert tps("cpu-only", "10%") == tps("cpu-only", "100%")


def test_warm_slots_help_the_second_text_and_cold_ones_start_anew() -> None:
    cold, warm = (replayed("recency", "50%", TWICE, cold=cold) for cold in (True, False))
    once = replayed("recency", "50%")
    assert warm.hit_rate > cold.hit_rate
    assert cold.hit_rate == pytest.approx(once.hit_rate)
    assert cold.counters.miss == 2 * once.counters.miss


@every_policy
def test_in_the_cold_each_text_takes_what_it_takes_alone(name: str) -> None:
    taken_s = lengths(replayed(name, trace=TWICE, cold=True))
    assert taken_s[len(LOCAL) :] == pytest.approx(taken_s[: len(LOCAL)])


@pytest.mark.parametrize("gamma", [0, 1, 2, 3])
def test_a_dense_trace_is_replayed_at_any_draft_length(gamma: int) -> None:
    dense = several([3], gamma_max=3, sampled=False, extras=False, steps=6)
    steps = list(dense.rounds(gamma))
    result = replayed("recency", "50%", dense, gamma=gamma, expert_usage=None)
    assert result.windows == len(steps)
    assert result.tokens == sum(len(step.emitted) for step in steps)
    assert result.counters.pairs == sum(step.experts.size for step in steps)
    assert (result.parts.draft_s == 0) == (gamma == 0)


@pytest.mark.parametrize("name", ["on-demand", "recency", "spac-joint"])
def test_a_decode_and_the_replay_of_its_trace_have_one_timeline(name: str) -> None:
    """What a live decode asks of the scheduler, with work in the lanes, layer by layer."""
    live = Scheduler(
        VirtualDevice(), CARD, get_policy(name), SHAPE, slots=16, gamma=4, copy=lambda layer, expert, slot: 0
    )
    computed: list[int] = []

    def compute(experts: list[int], _slots: list[int] | None = None) -> None:
        computed.extend(experts)

    def run_pass(counts: np.ndarray) -> None:
        for layer, positions in enumerate(counts):
            experts = np.flatnonzero(positions)
            live.layer(layer, experts.tolist(), positions[experts].tolist(), compute, compute)

    prefill = LOCAL.prefill()
    live.on_prefill_start(len(prefill.ids))
    run_pass(expert_counts(prefill.experts, SHAPE.experts))
    live.on_prefill_end(prefill)
    computed.clear()
    for step in LOCAL:
        live.on_step_start(int(step.window[0]))
        for token in step.drafted.tolist():
            live.on_draft_token(token)
        live.on_draft_end()
        run_pass(step.counts)
        live.on_verify(step)
    assert len(computed) == (LOCAL.counts > 0).sum()
    result = replayed(name, 16 * CARD.expert_bytes, expert_usage=None)
    assert result.timeline == live.device.timeline()
    assert result.counters == live.decode.counters


def test_a_machine_and_a_model_stand_for_costs() -> None:
    result = replayed("recency", "17%", **MACHINE)
    assert (result.machine, result.model) == ("rtx4090", "qwen3-30b-a3b")
    assert any("experts a layer" in note for note in result.notes)
    assert result.fits
    assert result.label == "modelled"


@pytest.mark.parametrize("name", ["cpu-only", "on-demand", "recency"])
def test_the_whole_models_speed_is_near_a_replay_of_its_layers(name: str) -> None:
    # 2 layers, top 2 of 8, beside a trace with three times the layers and twice the top k, side by side.
    small, whole = made_up(MoEShape(2, 8, 2), gamma=2, steps=40), MoEShape(6, 16, 4)
    model = replace(load_model_spec("qwen3-30b-a3b"), layers=6, moe_layers=6, experts=16, top_k=4)
    result = replay(small, name, "50%", model=model)
    alike_s = result.parts.draft_s + result.parts.planning_s + result.parts.dense_s
    rest_s = result.parts.experts_s + result.parts.cpu_wait_s + result.parts.link_wait_s
    assert result.tps_whole_model == pytest.approx(result.tokens / (3 * alike_s + 6 * rest_s))
    laid_out = replay(tiled(small, whole), name, "50%", model=model)
    assert laid_out.tps_whole_model == pytest.approx(laid_out.tps_modelled)
    assert result.tps_whole_model == pytest.approx(laid_out.tps_modelled, rel=0.1)
    assert replay(small, name, "50%", costs=CARD).tps_whole_model is None


def tiled(trace: Trace, shape: MoEShape) -> Trace:
    """The same text with each layer's experts beside themselves, and all layers again: of another shape."""
    arrays = {}
    for prefix in ("", "prompt_"):
        experts = getattr(trace, f"{prefix}experts")
        beside = np.concatenate([experts, experts + trace.geometry.experts], 2)
        repeats = (1, shape.layers // trace.geometry.layers, 1)
        arrays[f"{prefix}experts"] = np.tile(beside, repeats).astype(np.int16)
        arrays[f"{prefix}gate_weights"] = np.ones((len(experts), shape.layers, shape.top_k), np.float32)
    return replace(trace, geometry=shape, **arrays)


def test_what_does_not_fit_the_card_is_flagged() -> None:
    assert not replayed("recency", "90%", **MACHINE).fits  # 54 GB of experts on a card of 24
    assert replayed("cpu-only", "90%", **MACHINE).fits  # uses none of it


def test_device_equal_charges_the_draft_to_the_budget() -> None:
    free, charged = (
        replayed("recency", "50%", accounting=name, **MACHINE) for name in ("slots-equal", "device-equal")
    )
    assert charged.slots < free.slots
    assert (free.accounting, charged.accounting) == ("slots-equal", "device-equal")


def test_results_become_rows_and_json(tmp_path) -> None:
    results = [replayed(name) for name in ("cpu-only", "recency")]
    rates = "hit_rate late_rate bytes_per_token wasted_bytes stall_share cpu_share policy_ms_per_step"
    others = "tps_modelled tokens budget_bytes accounting fits label"
    plain = json.loads(json.dumps(results[1].to_dict()))
    assert {*rates.split(), *others.split()} <= plain.keys()
    pandas = pytest.importorskip("pandas")
    frame = to_frame(results)
    assert frame["policy"].tolist() == ["cpu-only", "recency"]
    to_csv(results, tmp_path / "results.csv")
    read = pandas.read_csv(tmp_path / "results.csv")
    assert read["tps_modelled"].tolist() == pytest.approx(frame["tps_modelled"].tolist())
    assert read["miss"].tolist() == [result.counters.miss for result in results]


def test_the_timeline_opens_as_a_chrome_trace(tmp_path) -> None:
    result = replayed("recency")
    save_chrome_trace(result.timeline, tmp_path / "run.json", label="modelled: recency")
    written = json.loads((tmp_path / "run.json").read_text())
    assert written == chrome_trace(result.timeline, "modelled: recency")
    named, ran = ([event for event in written["traceEvents"] if event["ph"] == phase] for phase in ("M", "X"))
    lanes = {event["tid"]: event["args"]["name"] for event in named if event["name"] == "thread_name"}
    assert len(ran) == len(result.timeline)
    assert {lanes[event["tid"]] for event in ran} == {op.lane for op in result.timeline}
    copied = sum(event["args"]["size_bytes"] for event in ran if lanes[event["tid"]] == "link")
    assert copied == result.counters.bytes + result.prefill_bytes
    for lane in LANES:  # one thing at a time in each
        times = [(op.start, op.end) for op in result.timeline if op.lane == lane]
        assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_a_chrome_trace_counts_microseconds() -> None:
    (*_, ran) = chrome_trace([Operation("link", "copy L0 E1", 1.5, 2.25, 100)])["traceEvents"]
    assert (ran["name"], ran["cat"], ran["ts"], ran["dur"]) == ("copy L0 E1", "link", 1.5e6, 0.75e6)


def test_without_a_record_there_is_no_timeline_and_the_same_result() -> None:
    kept, plain = (replayed("recency", timeline=keep) for keep in (True, False))
    assert kept == plain
    assert plain.timeline == []


@pytest.mark.parametrize("texts", [1, 2])
def test_a_prompt_of_one_token_needs_no_prefill(texts: int) -> None:
    traces = (one_text(seed, steps=3) for seed in range(40))
    short = concatenate(texts * [next(trace for trace in traces if trace.text_prompt[0] == 0)])
    costs = replace(COSTS, planning_s=10.0, draft_prefill_s=0.5)
    result = replay(short, "recency", "50%", costs=costs)
    assert result.prefill_bytes == 0
    assert result.prefill_s == 1.0  # what recency plans; nothing is read, by target or draft
    assert result.parts.total_s + texts * result.prefill_s == computing_s(result)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"budget": "0%"}, "budget is '0%'"),
        ({"budget": 5}, "at least one slot"),
        ({"policy": "recancy"}, "did you mean 'recency'"),
        ({"policy": "static-hot"}, "was given no profile"),
        ({"policy": "static-hot", "expert_usage": np.ones((1, 1))}, "expert_usage has shape"),
        ({"accounting": "slots"}, "accounting is 'slots'"),
        ({"accounting": "device-equal"}, "a machine and a model profile"),
        ({"gamma": 2}, "not dense"),
        ({"costs": None, "machine": "rtx4091"}, "did you mean 'rtx4090'"),
        ({"costs": None, "model": "qwen4"}, "model is 'qwen4'"),
    ],
)
def test_wrong_arguments_are_refused(options: dict, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        replay(LOCAL, **({"costs": CARD} | options))


def test_a_trace_without_a_step_has_nothing_to_replay() -> None:
    with pytest.raises(MoespacError, match="the trace holds no step"):
        replay(LOCAL[:0], "recency", "25%", costs=COSTS)
