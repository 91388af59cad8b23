"""Balancer explorer without a browser: whose problems it shows, what changes with them, what it answers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_nb.balancer import Demand, Joint, LaneTimes, PerLayer, candidates, solve
from moespac_nb.policies import compose_policy
from moespac_nb.simulation.balancer_log import record_balancer_inputs
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from moespac_widgets import BalancerExplorer
from moespac_widgets.views.balancer_explorer.balancer_explorer import UNITS, changed
from tests.helpers.balancer_instances import instance
from tests.helpers.jupyter.sizes import unpacked
from tools.support.synthetic_trace import made_up

AS_GIVEN = dict.fromkeys(UNITS, 100)


@pytest.fixture(scope="module")
def trace() -> Any:
    return made_up(MoEShape(layers=4, experts=16, top_k=2), gamma=3, steps=12)


def test_a_replays_problems_are_those_its_thresholds_came_from(trace: Any) -> None:
    found = record_balancer_inputs(trace, "spac-joint", "20%")
    assert list(found) == list(range(12))
    assert {table.hot.shape for table in found.values()} == {(4, 4)}
    assert {table.slots for table in found.values()} == {int(64 * 0.2)}
    # What is learned in one window changes what is asked for the next.
    assert len({table.cpu_s.tobytes() for table in found.values()}) > 6


def test_noting_what_a_balancer_is_asked_changes_no_replay(
    trace: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[Any] = []
    monkeypatch.setattr(
        "moespac_nb.simulation.balancer_log.replay", lambda *a, **k: made.append(replay(*a, **k))
    )
    record_balancer_inputs(trace, "spac-joint", "20%")
    assert made[0].counters == replay(trace, "spac-joint", "20%").counters


@pytest.mark.parametrize("name", ["recency", "cpu-only", compose_policy("mine", admission=2)])
def test_a_policy_without_a_balancer_is_refused(trace: Any, name: Any) -> None:
    with pytest.raises(MoespacError, match=r"has no balancer; expected: spac-paper, spac-joint"):
        record_balancer_inputs(trace, name)


@pytest.mark.parametrize("seed", range(8))
def test_changed_times_are_those_of_a_problem_made_with_them(seed: int) -> None:
    rng = np.random.default_rng(seed)
    given = instance(seed)
    percents = dict(zip(UNITS, rng.integers(10, 1000, len(UNITS)).tolist(), strict=True))
    slots = given.slots + int(rng.integers(0, 9))
    part = {unit: percent / 100 for unit, percent in percents.items()}
    t = given.times
    times = LaneTimes(
        gpu_expert_s=part["gpu"] * t.gpu_expert_s, gpu_pair_s=part["gpu"] * t.gpu_pair_s,
        cpu_expert_s=part["cpu"] * t.cpu_expert_s, cpu_pair_s=part["cpu"] * t.cpu_pair_s,
        copy_s=part["copy"] * t.copy_s, draft_window_s=part["draft"] * t.draft_window_s,
        dense_s=part["dense"] * t.dense_s,
    )  # fmt: skip
    demand = Demand.of(given.utility, given.counts, given.levels)
    anew = candidates(given.utility, given.resident, slots, times, demand)
    shown = changed(given.table(), slots, percents)
    for name in ("cpu_s", "gpu_s", "hot", "loads", "room"):
        assert np.allclose(getattr(shown, name), getattr(anew, name), rtol=1e-12)
    assert shown.times == times
    assert solve(Joint(shown), "lagrangian").tau.tolist() == solve(Joint(anew), "lagrangian").tau.tolist()


@pytest.mark.parametrize("kind", [Joint, PerLayer, lambda table: table])
def test_one_problem_is_shown_as_it_is(kind: Any) -> None:
    table = instance(3).table()
    widget = BalancerExplorer(kind(table), layer=2)
    assert widget._limits["step"] == [0, 0]
    assert unpacked(widget._data["hot"]).tolist() == [table.hot.tolist()]
    assert np.allclose(unpacked(widget._data["cpu_s"])[0], table.cpu_s)
    assert np.array_equal(table.slots - unpacked(widget._data["hot_residents"])[0], table.room)
    with pytest.raises(MoespacError, match="budget is for a trace's replay"):
        BalancerExplorer(kind(table), budget="20%")


@pytest.mark.parametrize("seed", range(4))
def test_an_answer_is_the_joint_programmes_own(seed: int) -> None:
    table = instance(seed).table()
    widget = BalancerExplorer(table)
    slots = max(1, table.slots // 2)
    joint = Joint(changed(table, slots, AS_GIVEN | {"copy": 50}))
    for how in ("lagrangian", "pulp"):
        answer = widget.answer_solve(how, step=0, slots=slots, **(AS_GIVEN | {"copy": 50}))
        found = solve(joint, how)
        assert unpacked(answer["tau"]).tolist() == found.tau.tolist()
        assert (answer["how"], answer["feasible"]) == (found.method, found.feasible)


def test_a_page_has_thresholds_for_each_setting(trace: Any) -> None:
    widget = BalancerExplorer(trace, budget="20%", step=3, slots=9)
    solved = widget.page_data()["solved"]
    tau = unpacked(solved["tau"]).reshape(12, len(solved["settings"]), len(solved["slots"]), 4)
    assert solved["settings"][0] == [100] * 5
    assert 9 in solved["slots"]
    setting = solved["settings"].index([100, 100, 400, 100, 100])
    percents = AS_GIVEN | {"copy": 400}
    for window, count in ((0, 0), (7, 3), (11, len(solved["slots"]) - 1)):
        table = changed(widget._tables[window], solved["slots"][count], percents)
        assert tau[window, setting, count].tolist() == solve(Joint(table), "lagrangian").tau.tolist()
    assert widget.page_data()["first"]["optimal"]


def test_what_is_shown_can_be_had_as_a_table_and_has_limits(trace: Any) -> None:
    widget = BalancerExplorer(trace, budget="20%", copy=300, slots=5, step=4)
    table = widget.table()
    assert table.slots == 5
    assert table.times.copy_s == pytest.approx(3 * widget._tables[4].times.copy_s)
    with pytest.raises(MoespacError, match="copy is 5; expected: 10 to 1000"):
        widget.copy = 5
    with pytest.raises(MoespacError, match="formulation is 'jont'"):
        widget.formulation = "jont"
    with pytest.raises(MoespacError, match="given is int; expected: a Trace, or a problem"):
        BalancerExplorer(3)  # type: ignore[arg-type]


def test_too_many_windows_are_thinned(trace: Any) -> None:
    widget = BalancerExplorer(trace, budget="20%", limit_bytes=4 * 16 * 16)
    shown = unpacked(widget._data["kept"])
    assert shown.tolist() == [0, 3, 6, 9]
    assert "one in 3 is shown" in widget._notices[0]
    widget.step = 5
    assert np.array_equal(widget.table().cpu_s, widget._tables[3].cpu_s)


def test_where_no_thresholds_fit_the_highest_are_taken() -> None:
    table = instance(6).table()
    assert table.hot[:, -1].sum() > 1
    answer = BalancerExplorer(table).answer_solve("pulp", step=0, slots=1, **AS_GIVEN)
    assert not answer["feasible"]
    assert unpacked(answer["tau"]).tolist() == [3] * 4
