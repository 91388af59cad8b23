"""What each policy makes of what it sees, by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from moespac_nb.balancer import Balancer, LaneTimes
from moespac_nb.engine.devices import VirtualDevice
from moespac_nb.engine.engine import Engine
from moespac_nb.engine.placement import MISSES
from moespac_nb.engine.scheduler import Scheduler
from moespac_nb.estimator.utility import make_estimator
from moespac_nb.policies import POLICIES, Planner, Policy, PolicyContext, compose_policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.schema import Channel
from moespac_nb.trace.step import MoEShape, Prefill, Step
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS
from tests.helpers.traces.steps import step
from tools.support.synthetic_trace import made_up

GEOMETRY = MoEShape(2, 4, 1)


def planner(
    name: str | Policy, slots: int = 4, expert_usage: np.ndarray | None = None, gamma: int = 1
) -> Planner:
    engine = Engine(VirtualDevice(), 2, 4, slots, COSTS)
    return get_policy(name).planner(PolicyContext(GEOMETRY, COSTS, gamma, engine.slots, expert_usage))


def seen(*positions: tuple[int, int]) -> Step:
    """A window whose positions chose these experts of layers 0 and 1."""
    return step(0, 0, [[[first], [second]] for first, second in positions], accepted=0)


def prompt(*positions: tuple[int, int]) -> Prefill:
    experts = np.array([[[first], [second]] for first, second in positions], np.int16).reshape(-1, 2, 1)
    return Prefill(np.arange(len(experts)), experts, np.ones(experts.shape, np.float32), 0.0)


def test_recency_keeps_by_last_use_and_wants_the_last_window() -> None:
    recency = planner("recency")
    recency.on_verify(seen((0, 1), (2, 1)))
    plan = recency.on_verify(seen((3, 1)))
    assert plan.scores.tolist() == [[1, 0, 1, 2], [0, 2, 0, 0]]
    assert plan.wanted.tolist() == [[False, False, False, True], [False, True, False, False]]


@pytest.mark.parametrize("name", ["recency", "spac-paper", "spac-joint"])
def test_a_prompts_end_stands_for_the_window_before_the_first(name: str) -> None:
    scores = planner(name, gamma=1).on_prefill(prompt((0, 0), (1, 1), (2, 2))).scores
    assert (scores[:, 1:3] >= scores[:, [0, 3]]).all()
    assert planner(name).on_prefill(prompt()) is None
    if name == "recency":
        assert scores.tolist() == [[0, 1, 1, 0]] * 2


def test_static_hot_follows_other_texts_for_good() -> None:
    usage = np.array([[9, 3, 0, 1], [0, 0, 6, 0]])
    static = planner("static-hot", expert_usage=usage)
    plan = static.on_prefill(prompt((0, 0)))
    assert plan.scores.tolist() == pytest.approx(usage / 9)
    assert plan.wanted.sum() == 4
    assert static.on_verify(seen((1, 1))) is None


def test_on_demand_scores_by_each_use_and_copies_nothing_ahead() -> None:
    on_demand = planner("on-demand")
    assert on_demand.on_verify(seen((0, 0))) is None
    assert [on_demand.on_use(layer) for layer in (0, 1, 0)] == [1, 2, 3]
    assert get_policy("on-demand").miss == "load"


def test_the_oracle_wants_what_the_next_window_uses_alone() -> None:
    oracle = planner("next-window-oracle")
    plan = oracle.on_verify(seen((0, 0)), seen((3, 2), (1, 2)))
    assert plan.wanted.tolist() == [[False, True, False, True], [False, False, True, False]]
    assert plan.scores[plan.wanted].min() > plan.scores[~plan.wanted].max()
    assert oracle.on_verify(seen((0, 0)), None) is None


def test_the_oracle_keeps_the_rest_by_how_often_it_was_used() -> None:
    oracle = planner("next-window-oracle")
    for window in [(0, 0)] * 3 + [(1, 1)]:
        plan = oracle.on_verify(seen(window), seen((2, 2)))
    often, once, never = plan.scores[0, [0, 1, 3]]
    assert plan.scores[0, 2] >= 1 > often > once > never == 0


@pytest.mark.parametrize(
    ("name", "formulation"), [("spac-paper", "per-layer-difference"), ("spac-joint", "joint")]
)
def test_spac_is_the_printed_rule_and_the_balancers_thresholds(name: str, formulation: str) -> None:
    """The parts, put together by hand, over a few windows."""
    rng = np.random.default_rng(0)
    spac = planner(name, slots=3, gamma=2)
    rule, balancer = make_estimator("paper", 2, 4, K=4, gamma=2), Balancer(2, 4, formulation=formulation)
    for _ in range(12):
        window = seen(*(tuple(pair) for pair in rng.integers(0, 4, (3, 2))))
        balancer.observe(rule.s, window.counts)
        s = rule.update(window.counts)
        times = LaneTimes.of(COSTS, 2)
        tau = balancer.thresholds(s, np.zeros((2, 4), bool), slots=3, times=times, pairs=3).tau
        plan = spac.on_verify(window)
        assert (plan.scores == s).all()
        assert (plan.wanted == (s >= tau[:, None])).all()


def test_the_balancer_is_told_of_every_position(monkeypatch: pytest.MonkeyPatch) -> None:
    options, own = {}, Balancer.thresholds

    def noted(self, utility, resident, **given):
        options.update(given)
        return own(self, utility, resident, **given)

    monkeypatch.setattr(Balancer, "thresholds", noted)
    planner("spac-joint", slots=3, gamma=2).on_verify(seen((0, 1), (1, 2), (2, 3)))
    assert options == {"pairs": 3, "slots": 3, "times": LaneTimes.of(COSTS, 2)}


def test_a_composed_policy_may_have_any_parts() -> None:
    mine = compose_policy(
        "mine", sensor="committed-counts", rule="level", admission=2, miss="cheaper", K=5, up=1
    )
    assert "committed-counts × level × τ = 2 × cheaper" in mine.about
    composed = planner(mine)
    for _ in range(2):
        plan = composed.on_verify(seen((0, 1), (3, 3)))  # only the first position was kept
    assert plan.scores.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert not plan.wanted.any()


def test_a_sensor_that_needs_the_draft_is_asked_when_it_stands() -> None:
    table = compose_policy("table", sensor="token-table", rule="last-count", admission=1)
    scheduler = Scheduler(VirtualDevice(), COSTS, table, GEOMETRY, 8)
    for _ in range(3):
        scheduler.on_step_start(0)
        scheduler.on_draft_token(0)
        scheduler.on_draft_end()
        for layer in range(2):
            scheduler.layer(layer, [2], [2])
        scheduler.on_verify(seen((2, 2), (2, 2)))
    assert scheduler.engine.counters.ready + scheduler.engine.counters.late > 0


@pytest.mark.parametrize("sensor", ["draft-gates", "next-gate"])
def test_recorded_channels_predict_and_the_engine_follows(sensor: str) -> None:
    """Gates that pick what the target's routers will: then most of it is copied before it is needed."""
    trace = made_up(MoEShape(4, 16, 2), gamma=4, steps=20, seed=3)
    drafted = np.delete(trace.experts, trace.starts["verified"][:-1], axis=0)
    channels = {"draft-gates": Channel("drafted", drafted), "next-gate": Channel("verified", trace.experts)}
    recorded = replace(trace, channels=channels)
    follows = compose_policy("follows", sensor=sensor, rule="last-count", admission=1)
    # A copy takes a twentieth of a layer.
    quick = replace(COSTS, link_bytes_per_s=100 / 0.05)
    hits = replay(recorded, follows, "40%", costs=quick).hit_rate
    assert hits > replay(recorded, "recency", "40%", costs=quick).hit_rate
    assert hits > (0.6 if sensor == "next-gate" else 0.8)  # of layer 0 the one knows nothing
    with pytest.raises(MoespacError, match="that channel"):
        replay(trace, follows, "40%", costs=quick)


def test_planning_costs_what_the_parts_are_calibrated_to() -> None:
    assert planner("cpu-only").planning_s() == 0
    assert planner("spac-joint").planning_s() > COSTS.planning_s
    assert 0 < planner(compose_policy("no balancer", admission=1)).planning_s() < 1e-3


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_says_what_it_is(name: str) -> None:
    policy = get_policy(name)
    assert policy.name == name
    assert policy.about
    assert policy.miss in MISSES
    assert get_policy(policy) is policy
    assert policy.missing("load").miss == "load"
    assert policy.reads_future == (name == "next-window-oracle")


@pytest.mark.parametrize("oracle", ["next-window-oracle", POLICIES["next-window-oracle"]], ids=type)
def test_a_policy_that_reads_the_future_is_refused_live(oracle: str | Policy) -> None:
    with pytest.raises(MoespacError, match="reads the future"):
        get_policy(oracle, live=True)
    assert get_policy("recency", live=True).name == "recency"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sensor": "verify-count"}, "did you mean 'verify-counts'"),
        ({"rule": "papers"}, "did you mean 'paper'"),
        ({"admission": "jointly"}, "did you mean 'joint'"),
        ({"admission": 5}, "τ from 1 to K = 4"),
        ({"admission": 0}, "τ from 1"),
    ],
)
def test_unknown_parts_are_refused_with_the_nearest(options: dict, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        compose_policy("mine", **options)


def test_an_unknown_policy_gets_the_nearest_name() -> None:
    with pytest.raises(MoespacError, match="did you mean 'spac-joint'"):
        get_policy("spac-joined")
