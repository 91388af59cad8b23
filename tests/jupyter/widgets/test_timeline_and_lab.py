"""The widgets of time, without a browser: what is sent, what is refused, and that sums agree."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_nb.engine.chrome_trace import chrome_trace
from moespac_nb.engine.devices import Operation
from moespac_nb.hardware.machine import load_machine
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.transforms.counterfactual import improve_draft
from moespac_widgets import BudgetLab, Race, Timeline
from moespac_widgets.views.budget_lab.budget_lab import LINKS, MISTAKES, PARTS
from moespac_widgets.views.timeline.timeline import LANES, waits
from tests.helpers.jupyter.sizes import unpacked
from tests.helpers.traces.strategies import one_text
from tools.support.synthetic_trace import made_up

LOCAL = made_up(MoEShape(4, 16, 2), gamma=4, steps=30, seed=1)


def result(name: str = "recency", budget: str = "25%", trace: Any = LOCAL, **options: Any) -> Result:
    return replay(trace, name, budget, **options)


# -- timeline ---------------------------------------------------------------------------------------------


def test_every_operation_is_sent_as_it_ran() -> None:
    results = [result(), result("on-demand")]
    data = Timeline(*results)._data
    for sent, of in zip(data["results"].values(), results, strict=True):
        by_lane = [op for lane in LANES for op in of.timeline if op.lane == lane]
        assert sum(sent["lane_counts"]) == len(by_lane)
        begin, length = (unpacked(sent[name]) * data["tick_s"] for name in ("begin", "length"))
        assert begin == pytest.approx([op.start for op in by_lane], abs=1e-8)
        assert length == pytest.approx([op.end - op.start for op in by_lane], abs=1e-8)
        labels = [data["labels"][int(i)][0] for i in unpacked(sent["what"])]
        assert labels == [op.label for op in by_lane]
        assert [data["sizes"][int(i)] for i in unpacked(sent["size"])] == [
            op.size_bytes * (op.lane == "link") for op in by_lane
        ]


@pytest.mark.parametrize("name", ["recency", "on-demand", "cpu-only", "next-window-oracle"])
@pytest.mark.parametrize("budget", ["5%", "50%"])
def test_waits_for_copies_add_up_to_the_replays(name: str, budget: str) -> None:
    played = result(name, budget)
    opened = played.windows_s[0][0]
    copies = sum(end - max(begin, opened) for what, begin, end in waits(played.timeline)
                 if what == "copy" and end > opened)  # fmt: skip
    assert copies == pytest.approx(played.parts.link_wait_s, abs=1e-9)


def test_waits_are_the_gaps_and_where_the_cpu_lane_is_alone() -> None:
    ran = [Operation("gpu", "L0 dense", 0.0, 1.0), Operation("cpu", "L0 cpu", 0.5, 3.0),
           Operation("link", "copy L0 E0", 0.0, 5.0, 7), Operation("gpu", "L0 gpu", 5.0, 6.0),
           Operation("cpu", "L1 cpu", 6.0, 7.0), Operation("cpu", "L1 cpu", 7.0, 8.0)]  # fmt: skip
    assert waits(ran) == [("cpu", 1.0, 3.0), ("copy", 3.0, 5.0), ("cpu", 6.0, 8.0)]
    assert waits([]) == []


def test_a_long_timeline_shows_whole_windows_and_says_which() -> None:
    played = result()
    whole = len(played.timeline)
    part = Timeline(played, first=10, limit_bytes=11 * (whole // 3))
    notice, scaled = part._notices
    assert "layers with experts: the trace has 4, qwen3-30b-a3b 48" in scaled
    sent = part._data["results"]["0"]
    begins = unpacked(sent["begin"]) * part._data["tick_s"]
    assert 0 < sum(sent["lane_counts"]) <= whole // 3
    assert notice.startswith("Shown: windows 10 to ")
    last = int(notice.split()[4])
    assert begins.min() >= played.windows_s[10][0] - 1e-6
    assert begins.max() <= played.windows_s[last][1] + 1e-6
    assert f"first={last + 1})" in notice
    assert (part.step, part._data["windows"]) == (10, [10, last])
    assert Timeline(played)._notices == [scaled]


def test_results_are_told_apart_by_what_differs_between_them() -> None:
    def called(*results: Result) -> list[str]:
        return [each["name"] for each in Timeline(*results)._data["results"].values()]

    assert called(result()) == ["recency"]
    assert called(result(), result("on-demand")) == ["recency", "on-demand"]
    assert called(result(), result(budget="50%")) == ["recency, 25%", "recency, 50%"]
    assert called(result(), result(machine="t4")) == ["recency, rtx4090", "recency, t4"]
    dense = one_text(2, gamma_max=3, steps=9)
    assert called(result(trace=dense, budget="50%", gamma=1), result(trace=dense, budget="50%")) == [
        "recency, γ = 1", "recency, as recorded"]  # fmt: skip


def test_what_has_no_timeline_is_refused() -> None:
    for given, words in [
        ((), "0 results; expected: one to 4"),
        ((result(),) * 5, "5 results"),
        ((LOCAL,), "a result is Trace"),
        (
            (result(timeline=False),),
            r"'recency' has no timeline; expected: one of replay\(…, timeline=True\)",
        ),
    ]:
        with pytest.raises(MoespacError, match=words):
            Timeline(*given)
    with pytest.raises(MoespacError, match="first is 30; expected: 0 to 29"):
        Timeline(result(), first=30)


def test_all_results_are_saved_for_perfetto_each_as_a_process(tmp_path: Path) -> None:
    results = [result(), result("on-demand")]
    path = Timeline(*results).to_perfetto(tmp_path / "both.json")
    events = json.loads(path.read_text())["traceEvents"]
    for number, of in enumerate(results, 1):
        own = [{**event, "pid": 1} for event in events if event["pid"] == number]
        assert (
            own == json.loads(json.dumps(chrome_trace(of.timeline, f"modelled: {of.policy}")))["traceEvents"]
        )


# -- budget lab -------------------------------------------------------------------------------------------

DENSE = concatenate([one_text(2, gamma_max=3, steps=9), one_text(3, gamma_max=2, steps=6)])
HERE: dict[str, Any] = {"machines": ["rtx4090", "t4"], "models": ["olmoe-1b-7b", "bundled-pair"],
                        "policies": ["recency", "on-demand"], "context": 128}  # fmt: skip


def lab(**options: Any) -> BudgetLab:
    return BudgetLab(DENSE, **{**HERE, "budget": "40%", **options})


def test_what_the_lab_shows_is_what_replay_says() -> None:
    view = lab(gamma=1, link="×½", machine="t4", model="olmoe-1b-7b", policy="on-demand")
    on = load_machine("t4")
    half = replace(on, link_bytes_per_s=on.link_bytes_per_s / 2)
    plain = replay(DENSE, "on-demand", "40%", machine=half, model="olmoe-1b-7b", gamma=1, context=128)
    assert view.result == plain
    row = dict(zip(view._data["figures"], view._data["grid"][view.setting.key]["40"], strict=True))
    assert row["tps_modelled"] == pytest.approx(plain.tps_modelled, rel=1e-5)
    assert row["link_wait_s"] == pytest.approx(plain.parts.link_wait_s, rel=1e-5)
    assert sum(row[name] for name in PARTS) == pytest.approx(row["tokens"] / row["tps_modelled"], rel=1e-4)


def test_only_what_was_recorded_can_be_chosen() -> None:
    assert lab()._limits["gamma"] == ["0", "1", "2"]  # the shorter of two dense traces
    assert lab().gamma == "2"
    assert BudgetLab(one_text(1), budget="50%", **HERE)._limits["gamma"] == ["as recorded"]
    for options, words in [
        ({"gamma": 3}, "gamma is 3; expected: 0, 1, 2, what was recorded"),
        ({"budget": "8%"}, "budget is 8; expected: 9 to 100"),  # one of twelve experts
        ({"machine": "h100"}, "machine is 'h100'; expected: rtx4090, t4"),
        ({"link": "×3"}, "link is '×3'"),
        ({"policy": "static-hot"}, "policy is 'static-hot'; expected: recency, on-demand"),
        ({"machines": ["h200"]}, "h200"),
        ({"accounting": "fair"}, "accounting is 'fair'"),
        ({"context": 10**6}, "what one of the models can read"),
    ]:
        with pytest.raises(MoespacError, match=re.escape(words)):
            lab(**options)


def test_a_policy_that_needs_a_profile_is_offered_with_one() -> None:
    def offered(**options: Any) -> list[str]:
        return BudgetLab(DENSE, budget="40%", machines=["t4"], models=["olmoe-1b-7b"], **options)._limits[
            "policy"
        ]

    assert "static-hot" not in offered()
    assert "static-hot" in offered(expert_usage=DENSE)


def test_each_budget_is_replayed_once_and_checked(monkeypatch: Any) -> None:
    view = lab()
    done: list[int] = []
    plain = BudgetLab._replay
    monkeypatch.setattr(BudgetLab, "_replay", lambda self, setting, budget, timeline=False: (
        done.append(budget), plain(self, setting, budget, timeline))[1])  # fmt: skip
    key = view.setting._replace(gamma="1").key
    first = view.answer_replays(key, [33, 40])
    assert view.answer_replays(key, [40, 33]) == first
    assert done == [33, 40]
    with pytest.raises(MoespacError, match="budget is 101"):
        view.answer_replays(key, [101])
    with pytest.raises(MoespacError, match="machine is 'x'"):
        view.answer_replays(view.setting._replace(machine="x").key, [40])


def test_a_page_has_every_policy_and_each_other_choice() -> None:
    view = lab(gamma=1)
    grid = view.page_data()["grid"]
    now = view.setting
    crossed = {now._replace(policy=p, gamma=g).key for p in ("recency", "on-demand") for g in "012"}
    single = {now._replace(machine="t4").key, now._replace(model="bundled-pair").key}
    single |= {now._replace(link=link).key for link in LINKS if link != "×1"}
    single |= {now._replace(mistakes=left).key for left in MISTAKES if left != "all"}
    assert set(grid) == crossed | single
    assert all("40" in points and "100" in points for points in grid.values())
    json.dumps(view.page_data())


def test_the_lab_replays_the_beginning_of_a_long_trace() -> None:
    view = BudgetLab(LOCAL, events=40, **HERE)
    assert view.result.windows == 10
    assert "Of the trace’s 30 steps the first 10 are replayed" in view._notices[0]
    assert "events=120" in view._notices[0]
    assert BudgetLab(LOCAL, events=120, **HERE)._notices == []


def test_another_policy_is_drawn_beside_from_the_start() -> None:
    view = lab(beside="on-demand")
    assert set(view._data["grid"]) == {view.setting.key, view.setting._replace(policy="on-demand").key}
    with pytest.raises(MoespacError, match="beside is 'lru'; expected: none, recency, on-demand"):
        lab(beside="lru")


def test_what_the_draft_was_worth_is_told_of_each_draft_length() -> None:
    seen = lab()._data["drafted"]
    assert seen["all|0"] == {"windows": len(DENSE), "tokens_a_window": 1.0, "accepted": None}
    for left, fix_fraction in MISTAKES.items():
        steps = list(improve_draft(DENSE, fix_fraction).rounds(2))
        drafted = sum(step.gamma for step in steps)
        assert seen[f"{left}|2"] == {
            "windows": len(steps),
            "tokens_a_window": sum(len(step.emitted) for step in steps) / len(steps),
            "accepted": sum(step.accepted for step in steps) / drafted,
        }
    trace = one_text(1)
    told = BudgetLab(trace, budget="50%", **HERE)._data["drafted"]["all|as recorded"]
    assert told["accepted"] == trace.accepted.sum() / trace.gamma.sum()
    assert told["windows"] == len(trace)


def test_fewer_mistakes_are_a_better_drafts_trace() -> None:
    view = lab(mistakes="¼")
    assert view._limits["mistakes"] == ["all", "¾", "½", "¼", "none"]
    better = improve_draft(DENSE, 0.75)
    assert view.result == replay(better, view.policy, "40%", machine="rtx4090", model="olmoe-1b-7b",
                                 gamma=2, context=128)  # fmt: skip
    assert BudgetLab(one_text(1), budget="50%", **HERE)._limits["mistakes"] == ["all"]
    with pytest.raises(MoespacError, match="mistakes is 'none'; expected: all"):
        BudgetLab(one_text(1), budget="50%", mistakes="none", **HERE)
    with pytest.raises(MoespacError, match="mistakes is 'few'"):
        lab(mistakes="few")


def test_beside_other_views_windows_have_times() -> None:
    view = lab(step=3)
    (row,) = view.answer_replays(view.setting.key, [view.budget]).values()
    spans = view.result.windows_s
    assert row[len(view._data["figures"]) :] == pytest.approx(
        [1e3 * (end - begin) for begin, end in spans], rel=1e-3
    )
    assert view._limits["step"] == [0, len(spans) - 1]
    assert lab()._limits["step"] == [-1, len(spans) - 1]
    with pytest.raises(MoespacError, match="step is 99; expected: 0 to"):
        lab(step=99)


def test_memory_is_planned_with_the_draft_and_without() -> None:
    fits = lab()._data["fits"]
    for draft in (True, False):
        planned = plan_memory("t4", "olmoe-1b-7b", context=128, draft=draft)
        shown = fits[f"t4|olmoe-1b-7b|{'draft' if draft else 'plain'}"]
        assert shown["share"] == planned.share
        assert shown["taken_bytes"] == planned.taken_bytes


# -- race -------------------------------------------------------------------------------------------------


def test_each_runner_has_its_tokens_when_its_replay_has_them() -> None:
    race = Race(LOCAL, ["recency", "on-demand", "cpu-only"], "25%")
    ends = unpacked(race._data["ends"])
    assert [each["policy"] for each in race._data["contestants"]] == [
        "recency", "on-demand", "cpu-only", "next-window-oracle"]  # fmt: skip
    assert [each["ghost"] for each in race._data["contestants"]] == [False, False, False, True]
    for times, of in zip(ends, race.results, strict=True):
        assert (np.diff(times) > 0).all()
        assert times[-1] == pytest.approx(1e6 * of.parts.total_s, abs=1)
        assert times[0] == pytest.approx(1e6 * (of.windows_s[0][1] - of.windows_s[0][0]), abs=1)
    assert unpacked(race._data["emitted"]).sum() == race.results[0].tokens
    assert race._limits["time_us"] == [0, int(ends.max())]
    assert unpacked(race._data["frames"])[-1] == ends.max()


def test_a_dense_trace_races_at_the_draft_length_asked_for() -> None:
    race = Race(DENSE, ["recency", "cpu-only"], "50%", gamma=1, machine="t4")
    assert race.results[0] == replay(DENSE, "recency", "50%", gamma=1, machine="t4", timeline=False)
    steps = list(DENSE.rounds(1))
    assert unpacked(race._data["emitted"]).tolist() == [len(step.emitted) for step in steps]
    assert race._data["pieces"][0] == "".join(f"«{token}»" for token in steps[0].emitted)
    assert unpacked(race._data["text_of"]).max() == 1


def test_the_beginning_of_a_long_trace_is_raced() -> None:
    race = Race(LOCAL, events=40)
    assert race.results[0].windows == 10
    assert race._notices[0].startswith("Of the trace’s 30 steps the first 10 are replayed")
    with pytest.raises(MoespacError, match="events is 0"):
        Race(LOCAL, events=0)


def test_who_cannot_race_is_refused() -> None:
    for given, words in [
        (["recency"], "expected: a list of 2 to 4"),
        ("recency", "expected: a list of 2 to 4"),
        (["recency", "recency"], "each of them once"),
        (["recency", "next-window-oracle"], "reads the future, and is no contestant"),
        (["recency", "lru"], "policy is 'lru'"),
        (["recency", "static-hot"], "was given no profile"),
    ]:
        with pytest.raises(MoespacError, match=words):
            Race(LOCAL, given)
    with pytest.raises(MoespacError, match="time_us is -1"):
        Race(LOCAL, time_us=-1)


# -- live runs --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("device", "label"), [("virtual", "modelled"), ("host", "measured")])
def test_a_live_run_is_shown_with_its_windows(device: str, label: str, tmp_path: Path) -> None:
    from moespac_nb.offloading.session import offload
    from tools.support.tiny_moe import QWEN, decoded, model_and_draft

    model, draft = model_and_draft(QWEN)
    with offload(model, "50%", device=device, policy="recency") as run:
        with pytest.raises(MoespacError, match="'recency' has decoded no window; expected: after run"):
            Timeline(run)
        decoded(run.decode, draft)
        early = Timeline(run)
        decoded(run.decode, draft)
    view = Timeline(run, result())
    sent = view._data["results"]["0"]
    assert sent["name"] == f"recency, 50%, γ = 8, {device} device"
    assert (sent["about"]["label"], sent["about"]["live"]) == (label, True)
    windows = unpacked(sent["windows"]).reshape(-1, 2) * view._data["tick_s"]
    assert windows == pytest.approx(np.array(run.windows_s), abs=1e-6)
    assert len(unpacked(early._data["results"]["0"]["windows"])) < 2 * len(windows)
    assert sum(sent["lane_counts"]) == len(run.timeline)
    events = json.loads(view.to_perfetto(tmp_path / "run.json").read_text())["traceEvents"]
    assert events[0]["args"]["name"].startswith(f"{label}: recency")
