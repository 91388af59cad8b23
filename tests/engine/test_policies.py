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
from moespac_nb.policies import POLICIES, Planner, PolicyContext, compose_policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.schema import Channel
from moespac_nb.trace.step import MoEShape, Prefill, Step
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.checked_device import COSTS
from tests.helpers.steps import step
from tools.support.synthetic_trace import made_up

GEOMETRY = MoEShape(2, 4, 1)


def planner(name: str, slots: int = 4, expert_usage: np.ndarray | None = None, gamma: int = 1) -> Planner:
    engine = Engine(VirtualDevice(), 2, 4, slots, COSTS)
    return get_policy(name).planner(PolicyContext(GEOMETRY, COSTS, gamma, engine.slots, expert_usage))


def seen(*positions: tuple[int, int]) -> Step:
    """A window whose positions chose these experts of layers 0 and 1."""
    return step(0, 0, [[[first], [second]] for first, second in positions], accepted=0)


def prompt(*positions: tuple[int, int]) -> Prefill:
    experts = np.array([[[first], [second]] for first, second in positions], np.int16).reshape(-1, 2, 1)
    return Prefill(np.arange(len(experts)), experts, np.ones(experts.shape, np.float32), 0.0)


def test_recency_keeps_by_the_last_use_and_wants_the_last_window() -> None:
    one = planner("recency")
    one.on_verify(seen((0, 1), (2, 1)))
    order = one.on_verify(seen((3, 1)))
    assert order.scores.tolist() == [[1, 0, 1, 2], [0, 2, 0, 0]]
    assert order.wanted.tolist() == [[False, False, False, True], [False, True, False, False]]


def test_a_prompt_s_end_stands_for_the_window_before_the_first() -> None:
    for name in ("recency", "spac-paper", "spac-joint"):
        order = planner(name, gamma=1).on_prefill(prompt((0, 0), (1, 1), (2, 2)))
        assert (order.scores[:, 1:3] >= order.scores[:, [0, 3]]).all()
        assert planner(name).on_prefill(prompt()) is None
    scores = planner("recency", gamma=1).on_prefill(prompt((0, 0), (1, 1), (2, 2))).scores
    assert scores.tolist() == [[0, 1, 1, 0]] * 2


def test_static_hot_follows_other_texts_and_never_changes_its_mind() -> None:
    one = planner("static-hot", expert_usage=np.array([[9, 3, 0, 1], [0, 0, 6, 0]]))
    order = one.on_prefill(prompt((0, 0)))
    assert order.scores.tolist() == pytest.approx(np.array([[9, 3, 0, 1], [0, 0, 6, 0]]) / 9)
    assert order.wanted.sum() == 4
    assert one.on_verify(seen((1, 1))) is None


def test_on_demand_orders_by_each_use_and_copies_nothing_ahead() -> None:
    one = planner("on-demand")
    assert one.on_verify(seen((0, 0))) is None
    assert [one.on_use(0), one.on_use(1), one.on_use(0)] == [1, 2, 3]
    assert get_policy("on-demand").miss == "load"


def test_the_oracle_wants_what_the_next_window_uses_and_nothing_it_does_not() -> None:
    one = planner("next-window-oracle")
    order = one.on_verify(seen((0, 0)), seen((3, 2), (1, 2)))
    assert order.wanted.tolist() == [[False, True, False, True], [False, False, True, False]]
    assert order.scores[order.wanted].min() > order.scores[~order.wanted].max()
    assert one.on_verify(seen((0, 0)), None) is None


def test_the_oracle_keeps_the_rest_by_how_often_it_has_been_used() -> None:
    one = planner("next-window-oracle")
    for window in [(0, 0)] * 3 + [(1, 1)]:
        order = one.on_verify(seen(window), seen((2, 2)))
    often, once, never = order.scores[0, [0, 1, 3]]
    assert order.scores[0, 2] >= 1 > often > once > never == 0


@pytest.mark.parametrize(
    ("name", "formulation"), [("spac-paper", "per-layer-difference"), ("spac-joint", "joint")]
)
def test_the_spac_policies_are_the_printed_rule_and_the_balancer_s_thresholds(
    name: str, formulation: str
) -> None:
    """The parts, put together by hand, over a few windows."""
    rng = np.random.default_rng(0)
    one = planner(name, slots=3, gamma=2)
    rule, balancer = make_estimator("paper", 2, 4, K=4, gamma=2), Balancer(2, 4, formulation=formulation)
    for _ in range(12):
        window = seen(*(tuple(pair) for pair in rng.integers(0, 4, (3, 2))))
        balancer.observe(rule.s, window.counts)
        s = rule.update(window.counts)
        tau = balancer.thresholds(
            s, np.zeros((2, 4), bool), slots=3, times=LaneTimes.of(COSTS, 2), pairs=3
        ).tau
        order = one.on_verify(window)
        assert (order.scores == s).all()
        assert (order.wanted == (s >= tau[:, None])).all()


def test_the_balancer_is_told_of_every_position_of_a_window(monkeypatch: pytest.MonkeyPatch) -> None:
    told, own = {}, Balancer.thresholds

    def listened(self, utility, resident, **known):
        told.update(known)
        return own(self, utility, resident, **known)

    monkeypatch.setattr(Balancer, "thresholds", listened)
    planner("spac-joint", slots=3, gamma=2).on_verify(seen((0, 1), (1, 2), (2, 3)))
    assert told == {"pairs": 3, "slots": 3, "times": LaneTimes.of(COSTS, 2)}


def test_a_composed_policy_may_have_any_sensor_rule_threshold_and_miss() -> None:
    mine = compose_policy(
        "mine", sensor="committed-counts", rule="level", admission=2, miss="cheaper", K=5, up=1
    )
    assert "committed-counts × level × τ = 2 × cheaper" in mine.about
    engine = Engine(VirtualDevice(), 2, 4, 4, COSTS)
    one = mine.planner(PolicyContext(GEOMETRY, COSTS, 1, engine.slots))
    for _ in range(2):
        order = one.on_verify(seen((0, 1), (3, 3)))  # only the first position was kept
    assert order.scores.tolist() == [[1, 0, 0, 0], [0, 1, 0, 0]]
    assert not order.wanted.any()


def test_a_sensor_that_needs_the_draft_is_asked_when_it_stands() -> None:
    table = compose_policy("table", sensor="token-table", rule="last-count", admission=1)
    one = Scheduler(VirtualDevice(), COSTS, table, GEOMETRY, 8)
    for _ in range(3):
        one.on_step_start(0)
        one.on_draft_token(0)
        one.on_draft_end()
        for layer in range(2):
            one.layer(layer, [2], [2])
        one.on_verify(seen((2, 2), (2, 2)))
    assert one.engine.counters.ready + one.engine.counters.late > 0


@pytest.mark.parametrize("sensor", ["draft-gates", "next-gate"])
def test_recorded_channels_foretell_and_the_engine_uses_it(sensor: str) -> None:
    """Gates that pick what the target's routers will: then most of it is copied before it is needed."""
    trace = made_up(MoEShape(4, 16, 2), gamma=4, steps=20, seed=3)
    told = replace(
        trace,
        channels={
            "draft-gates": Channel(
                "drafted", np.delete(trace.experts, trace.starts["verified"][:-1], axis=0)
            ),
            "next-gate": Channel("verified", trace.experts),
        },
    )
    follows = compose_policy("follows", sensor=sensor, rule="last-count", admission=1)
    # A copy takes a twentieth of a layer.
    quick = replace(COSTS, link_bytes_per_s=100 / 0.05)
    hits = replay(told, follows, "40%", costs=quick).hit_rate
    assert hits > replay(told, "recency", "40%", costs=quick).hit_rate
    assert hits > (0.6 if sensor == "next-gate" else 0.8)  # of layer 0 the one knows nothing
    with pytest.raises(MoespacError, match="that channel"):
        replay(trace, follows, "40%", costs=quick)


def test_thinking_costs_what_the_parts_are_calibrated_to() -> None:
    assert planner("cpu-only").plan_s() == 0
    assert planner("spac-joint").plan_s() > COSTS.plan_s
    no_balancer = compose_policy("no balancer", admission=1)
    setting = PolicyContext(GEOMETRY, COSTS, 1, Engine(VirtualDevice(), 2, 4, 4, COSTS).slots)
    assert 0 < no_balancer.planner(setting).plan_s() < 1e-3


@pytest.mark.parametrize("name", sorted(POLICIES))
def test_every_policy_says_what_it_is(name: str) -> None:
    one = get_policy(name)
    assert one.name == name
    assert one.about
    assert one.miss in MISSES
    assert get_policy(one) is one
    assert one.missing("load").miss == "load"


def test_who_reads_the_future_says_so_and_is_refused_where_there_is_none() -> None:
    assert [name for name, one in POLICIES.items() if one.reads_future] == ["next-window-oracle"]
    with pytest.raises(MoespacError, match="reads the future"):
        get_policy("next-window-oracle", live=True)
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
def test_parts_that_there_are_not_are_refused_with_the_nearest(options: dict, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        compose_policy("mine", **options)


def test_an_unknown_policy_gets_the_nearest_name() -> None:
    with pytest.raises(MoespacError, match="did you mean 'spac-joint'"):
        get_policy("spac-joined")
