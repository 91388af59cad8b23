"""Replays: the same figures each time, that add up, and that move the right way; and their timelines."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest

from moespac_nb.engine.chrome_trace import chrome_trace, save_chrome_trace
from moespac_nb.engine.devices import Operation, VirtualDevice
from moespac_nb.engine.scheduler import Scheduler
from moespac_nb.hardware.costs import Costs
from moespac_nb.hardware.model import load_model_spec
from moespac_nb.policies import POLICIES, get_policy
from moespac_nb.simulation.demand import expert_demand
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import to_csv, to_frame
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.locality import expert_usage
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS
from tests.helpers.offload_cases import CARD
from tests.helpers.steps import step
from tests.helpers.trace_strategies import one_text, several
from tools.support.synthetic_trace import made_up

LOCAL = made_up(MoEShape(4, 16, 2), gamma=4, steps=40, seed=1)


COMPETING = sorted(set(POLICIES) - {"next-window-oracle"})


def tps(name: str, budget: str = "25%", trace=LOCAL, costs: Costs = CARD, **options) -> float:
    return replay(trace, name, budget, costs=costs, expert_usage=LOCAL, **options).tps_modelled


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_a_replay_comes_out_the_same_each_time(name: str) -> None:
    first, second = (replay(LOCAL, name, "25%", costs=CARD, expert_usage=LOCAL) for _ in range(2))
    assert first == second
    assert first.timeline == second.timeline


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_the_parts_are_all_of_the_time_and_every_expert_asked_for_is_counted(name: str) -> None:
    result = replay(LOCAL, name, "25%", costs=CARD, expert_usage=LOCAL)
    counters, steps = result.counters, list(LOCAL)
    assert result.tokens == sum(len(step.emitted) for step in steps)
    assert counters.ready + counters.late + counters.miss == (LOCAL.counts > 0).sum()
    assert counters.pairs == LOCAL.experts.size
    whole_s = max(ran.end for ran in result.timeline if ran.lane != "link")
    assert result.prefill_s + result.parts.total_s == pytest.approx(whole_s)
    assert result.tps_modelled == pytest.approx(result.tokens / result.parts.total_s)
    assert result.counters.bytes + result.prefill_bytes == sum(ran.size_bytes for ran in result.timeline)
    assert 0 < result.prefill_s < result.ttft_s


def test_windows_follow_each_other_and_are_all_of_the_decoding() -> None:
    texts = concatenate([one_text(1), one_text(2)])
    result = replay(texts, "recency", "50%", costs=CARD)
    assert len(result.windows_s) == result.windows
    lengths = [end - start for start, end in result.windows_s]
    assert sum(lengths) == pytest.approx(result.parts.total_s)
    assert all(end <= start for (_, end), (start, _) in pairwise(result.windows_s))
    assert result.windows_s[0][0] > 0  # the prompt was read before
    assert "windows_s" not in result.row()


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"cpu-only"}))
def test_with_room_for_all_and_a_fast_link_nothing_is_missed_twice(name: str) -> None:
    fast = replace(CARD, link_bytes_per_s=1e18, copy_alpha_s=0)
    result = replay(LOCAL, name, "100%", costs=fast, expert_usage=LOCAL)
    missed = {(layer, e) for step in LOCAL for layer, e in zip(*np.nonzero(step.counts), strict=True)}
    assert result.counters.evictions == 0
    if name in ("on-demand", "recency", "static-hot", "next-window-oracle"):
        assert result.counters.miss <= len(missed)
    if name in ("static-hot", "next-window-oracle"):  # what they know beforehand is there before it is needed
        assert result.hit_rate == 1
        assert result.cpu_share == 0


def test_all_resident_is_what_no_policy_beats() -> None:
    bound = tps("next-window-oracle", "100%", costs=replace(CARD, link_bytes_per_s=1e18, copy_alpha_s=0))
    assert all(tps(name, budget) <= bound for name in POLICIES for budget in ("10%", "50%", "100%"))


def test_the_oracle_is_ahead_of_all_that_compete_on_the_same_engine_in_the_mean() -> None:
    traces = [made_up(MoEShape(4, 16, 2), gamma=4, steps=25, seed=seed) for seed in range(4)]
    unknown = expert_usage(made_up(MoEShape(4, 16, 2), gamma=4, steps=25, seed=99))

    def mean(name: str) -> float:
        played = (
            replay(trace, name, budget, costs=CARD, expert_usage=unknown)
            for trace in traces
            for budget in ("15%", "30%", "50%")
        )
        return float(np.mean([result.tps_modelled for result in played]))

    oracle = mean("next-window-oracle")
    assert all(oracle > mean(name) for name in COMPETING)


@pytest.mark.parametrize("name", sorted(set(POLICIES) - {"cpu-only"}))
def test_a_larger_budget_helps_over_the_range(name: str) -> None:
    budgets = ["10%", "30%", "60%", "100%"]
    speeds = [tps(name, budget) for budget in budgets]
    assert np.polyfit(range(4), speeds, 1)[0] > 0
    assert speeds[-1] > speeds[0]


def test_cpu_only_does_not_care_for_the_budget() -> None:
    assert tps("cpu-only", "10%") == tps("cpu-only", "100%")


def test_warm_slots_help_the_second_text_and_cold_ones_start_anew() -> None:
    twice = concatenate([LOCAL, LOCAL])
    cold = replay(twice, "recency", "50%", costs=CARD, cold=True)
    warm = replay(twice, "recency", "50%", costs=CARD)
    once = replay(LOCAL, "recency", "50%", costs=CARD)
    assert warm.hit_rate > cold.hit_rate
    assert cold.hit_rate == pytest.approx(once.hit_rate)
    assert cold.counters.miss == 2 * once.counters.miss


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_in_the_cold_each_text_takes_what_it_takes_alone(name: str) -> None:
    cold = replay(concatenate([LOCAL, LOCAL]), name, "25%", costs=CARD, expert_usage=LOCAL, cold=True)
    lengths = [end - start for start, end in cold.windows_s]
    assert lengths[len(LOCAL) :] == pytest.approx(lengths[: len(LOCAL)])


def test_a_dense_trace_is_replayed_at_any_draft_length() -> None:
    dense = several([3], gamma_max=3, sampled=False, extras=False, steps=6)
    for gamma in (0, 1, 2, 3):
        walked = list(dense.rounds(gamma))
        result = replay(dense, "recency", "50%", costs=CARD, gamma=gamma)
        assert result.windows == len(walked)
        assert result.tokens == sum(len(step.emitted) for step in walked)
        assert result.counters.pairs == sum(step.experts.size for step in walked)
    assert replay(dense, "recency", "50%", costs=CARD, gamma=0).parts.draft_s == 0


def test_a_decode_that_computes_and_the_replay_of_its_trace_have_one_timeline() -> None:
    """What a live decode asks of the scheduler, with work in the lanes, layer by layer."""
    for name in ("on-demand", "recency", "spac-joint"):
        device = VirtualDevice()
        live = Scheduler(
            device,
            CARD,
            get_policy(name),
            LOCAL.geometry,
            slots=16,
            gamma=4,
            copy=lambda layer, expert, slot: None,
        )
        computed = 0

        def compute(experts: list[int], slots: list[int] | None = None) -> None:
            nonlocal computed
            computed += len(experts)

        (text,) = expert_demand(LOCAL)
        live.on_prefill_start(len(text.prefill.ids))
        for layer, (experts, positions) in enumerate(text.prompt):
            live.layer(layer, experts, positions, compute, compute)
        live.on_prefill_end(text.prefill)
        computed = 0
        for one in LOCAL:
            live.on_step_start(int(one.window[0]))
            for token in one.drafted.tolist():
                live.on_draft_token(token)
            live.on_draft_end()
            for layer, counts in enumerate(one.counts):
                chosen = np.flatnonzero(counts)
                live.layer(layer, chosen.tolist(), counts[chosen].tolist(), compute, compute)
            live.on_verify(one)
        assert computed == (LOCAL.counts > 0).sum()
        replayed = replay(LOCAL, name, 16 * CARD.expert_bytes, costs=CARD)
        assert replayed.timeline == device.timeline()
        assert replayed.counters == live.decode.counters


def test_a_machine_and_a_model_profile_stand_for_costs_and_say_what_is_scaled() -> None:
    result = replay(LOCAL, "recency", "17%", machine="rtx4090", model="qwen3-30b-a3b")
    assert (result.machine, result.model) == ("rtx4090", "qwen3-30b-a3b")
    assert any("experts a layer" in note for note in result.notes)
    assert result.fits
    assert result.label == "modelled"


def test_the_whole_models_speed_follows_from_the_parts_and_is_close_to_a_replay_of_its_layers() -> None:
    # 2 layers, top 2 of 8, beside a trace with three times the layers and twice the top k, side by side.
    small, whole = made_up(MoEShape(2, 8, 2), gamma=2, steps=40), MoEShape(6, 16, 4)
    model = replace(load_model_spec("qwen3-30b-a3b"), layers=6, moe_layers=6, experts=16, top_k=4)
    for name in ("cpu-only", "on-demand", "recency"):
        result = replay(small, name, "50%", model=model)
        alike_s = result.parts.draft_s + result.parts.plan_s + result.parts.dense_s
        rest_s = result.parts.experts_s + result.parts.cpu_wait_s + result.parts.link_wait_s
        assert result.tps_whole_model == pytest.approx(result.tokens / (3 * alike_s + 6 * rest_s))
        laid_out = replay(tiled(small, whole), name, "50%", model=model)
        assert laid_out.tps_whole_model == pytest.approx(laid_out.tps_modelled)
        assert result.tps_whole_model == pytest.approx(laid_out.tps_modelled, rel=0.1)
    assert replay(small, "recency", "50%", costs=CARD).tps_whole_model is None


def tiled(trace, geometry: MoEShape):
    """The same text with each layer's experts beside themselves, and all layers again: `geometry` large."""
    ours = trace.geometry
    beside = np.concatenate([trace.experts + n * ours.experts for n in range(2)], 2)
    arrays = {"experts": np.tile(beside, (1, geometry.layers // ours.layers, 1)).astype(np.int16)}
    prompt = np.concatenate([trace.prompt_experts + n * ours.experts for n in range(2)], 2)
    arrays["prompt_experts"] = np.tile(prompt, (1, geometry.layers // ours.layers, 1)).astype(np.int16)
    for name in ("gate_weights", "prompt_gate_weights"):
        shape = (len(getattr(trace, name)), geometry.layers, geometry.top_k)
        arrays[name] = np.ones(shape, np.float32)
    return replace(trace, geometry=geometry, **arrays)


def test_what_does_not_fit_the_card_is_flagged() -> None:
    big = {"machine": "rtx4090", "model": "qwen3-30b-a3b"}
    assert not replay(LOCAL, "recency", "90%", **big).fits  # 54 GB of experts on a card of 24
    assert replay(LOCAL, "cpu-only", "90%", **big).fits  # uses none of it


def test_device_equal_charges_the_draft_to_the_budget() -> None:
    options = {"machine": "rtx4090", "model": "qwen3-30b-a3b"}
    free = replay(LOCAL, "recency", "50%", **options)
    charged = replay(LOCAL, "recency", "50%", accounting="device-equal", **options)
    assert charged.slots < free.slots
    assert (free.accounting, charged.accounting) == ("slots-equal", "device-equal")


def test_results_become_rows_and_json(tmp_path) -> None:
    results = [replay(LOCAL, name, "25%", costs=CARD) for name in ("cpu-only", "recency")]
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
    assert read["miss"].tolist() == [one.counters.miss for one in results]


def test_the_timeline_opens_as_a_chrome_trace(tmp_path) -> None:
    result = replay(LOCAL, "recency", "25%", costs=CARD)
    save_chrome_trace(result.timeline, tmp_path / "run.json", label="modelled: recency")
    written = json.loads((tmp_path / "run.json").read_text())
    assert written == chrome_trace(result.timeline, "modelled: recency")
    lanes = {
        one["tid"]: one["args"]["name"] for one in written["traceEvents"] if one["name"] == "thread_name"
    }
    ran = [one for one in written["traceEvents"] if one["ph"] == "X"]
    assert len(ran) == len(result.timeline)
    assert {lanes[one["tid"]] for one in ran} == {ran.lane for ran in result.timeline}
    copied = sum(one["args"]["size_bytes"] for one in ran)
    assert copied == result.counters.bytes + result.prefill_bytes
    for lane in ("gpu", "cpu", "link", "draft"):  # one thing at a time in each
        times = [(one.start, one.end) for one in result.timeline if one.lane == lane]
        assert all(end <= start for (_, end), (start, _) in pairwise(times))


def test_a_chrome_trace_counts_microseconds() -> None:
    (*_, ran) = chrome_trace([Operation("link", "copy L0 E1", 1.5, 2.25, 100)])["traceEvents"]
    assert (ran["name"], ran["cat"], ran["ts"], ran["dur"]) == ("copy L0 E1", "link", 1.5e6, 0.75e6)


def test_without_a_record_there_is_no_timeline_and_the_same_result() -> None:
    kept, plain = (replay(LOCAL, "recency", "25%", costs=CARD, timeline=keep) for keep in (True, False))
    assert kept == plain
    assert plain.timeline == []


def test_a_prompt_of_one_token_needs_no_prefill() -> None:
    traces = [one_text(seed, steps=3) for seed in range(40)]
    short = next(trace for trace in traces if trace.text_prompt[0] == 0)
    for texts in ([short], [short, short]):
        costs = replace(COSTS, plan_s=10.0, draft_prefill_s=0.5)
        result = replay(concatenate(texts), "recency", "50%", costs=costs)
        assert result.prefill_bytes == 0
        assert result.prefill_s == 1.0  # what recency thinks; nothing is read, by target or draft
        whole_s = max(ran.end for ran in result.timeline if ran.lane != "link")
        assert result.parts.total_s + len(texts) * result.prefill_s == whole_s


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
def test_what_is_not_accepted_is_said(options: dict, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        replay(LOCAL, **({"costs": CARD} | options))


def test_a_trace_without_a_step_has_nothing_to_replay() -> None:
    with pytest.raises(MoespacError, match="the trace holds no step"):
        replay(LOCAL[:0], "recency", "25%", costs=COSTS)


def test_a_window_to_come_is_told_to_nobody_who_does_not_say_so() -> None:
    one = Scheduler(VirtualDevice(), CARD, get_policy("recency"), MoEShape(1, 4, 2), 2)
    one.on_step_start(0)
    with pytest.raises(MoespacError, match="was given the window to come"):
        one.on_verify(step(0, 0, [[[0, 1]]], 0), step(1, 1, [[[0, 1]]], 0))
