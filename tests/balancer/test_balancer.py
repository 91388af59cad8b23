"""The balancer as a scheduler meets it: what it learns from window to window, and what it answers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError
from moespac_nb.balancer import Balancer, Demand, Joint, LaneTimes, LevelRates, PerLayer, solve
from moespac_nb.hardware.costs import Costs
from tests.helpers.balancer_instances import instance

UTILITY = np.array([[0, 0, 1, 2]])
COUNTS = np.array([[1, 0, 3, 6]])
TIMES = LaneTimes(gpu_expert_s=1e-4, cpu_pair_s=1e-3, copy_s=1e-3, draft_window_s=4e-3)


def shares(demand: Demand) -> tuple[list[float], list[float]]:
    return demand.cold_share[0].tolist(), demand.hot_share[0].tolist()


def test_before_the_first_window_all_experts_are_alike() -> None:
    demand = LevelRates(layers=1, levels=2).demand(UTILITY, pairs=2)
    assert shares(demand) == (pytest.approx([0.5, 0.75]), pytest.approx([0.5, 0.25]))
    assert (demand.pairs.tolist(), demand.distinct.tolist()) == ([2.0], [2.0])


def test_what_is_seen_again_and_again_is_learned() -> None:
    rates = LevelRates(layers=1, levels=2, warmup=4)
    for window in range(200):
        assert rates.warm == (window >= 4)
        rates.observe(UTILITY, COUNTS)
    demand, truth = rates.demand(UTILITY, pairs=10), Demand.of(UTILITY, COUNTS, 2)
    for name in ("cold_share", "hot_share", "distinct"):
        assert getattr(demand, name) == pytest.approx(getattr(truth, name))


def test_shares_follow_the_experts_of_a_level_now() -> None:
    rates = LevelRates(layers=1, levels=2)
    rates.observe(UTILITY, COUNTS)
    nobody_hot = rates.demand(np.zeros((1, 4), int), pairs=10)
    assert shares(nobody_hot) == ([1.0, 1.0], [0.0, 0.0])


def test_a_longer_window_of_the_same_routing_teaches_the_same() -> None:
    short, long = LevelRates(1, 2), LevelRates(1, 2)
    for _ in range(3):
        short.observe(UTILITY, COUNTS)
        long.observe(UTILITY, 2 * COUNTS)
    assert short.demand(UTILITY, 10).cold_share == pytest.approx(long.demand(UTILITY, 10).cold_share)


def test_the_old_fades_after_the_warm_up() -> None:
    rates = LevelRates(layers=1, levels=2, warmup=2)
    for _ in range(20):
        rates.observe(UTILITY, COUNTS)
    for _ in range(60):
        rates.observe(UTILITY, COUNTS[:, ::-1])
    assert rates.demand(UTILITY, 10).cold_share == pytest.approx(
        Demand.of(UTILITY, COUNTS[:, ::-1], 2).cold_share, abs=1e-6
    )


@settings(max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 12), st.floats(0, 100))
def test_learned_shares_rise_and_fall_with_the_threshold(seed, windows, pairs) -> None:
    rng = np.random.default_rng(seed)
    rates = LevelRates(layers=3, levels=4, warmup=3)
    for _ in range(windows):
        rates.observe(rng.integers(0, 5, (3, 7)), rng.integers(0, 3, (3, 7)) * rng.integers(0, 2))
    demand = rates.demand(rng.integers(0, 5, (3, 7)), pairs)
    assert (np.diff(demand.cold_share, axis=1) >= -1e-12).all()
    assert (np.diff(demand.hot_share, axis=1) <= 1e-12).all()
    assert (demand.distinct <= min(7, pairs) + 1e-9).all()


def ask(balancer: Balancer, seed: int = 5):
    given = instance(seed)
    return balancer.thresholds(given.utility, given.resident, slots=given.slots, times=given.times, pairs=8.0)


def test_pulp_solves_at_the_chosen_interval() -> None:
    balancer = Balancer(layers=4, levels=3, exact_every=3)
    first = {seed: ask(Balancer(4, 3), seed) for seed in range(99)}
    seed = next(seed for seed, found in first.items() if found.feasible and not found.optimal)
    methods = ["pulp", "lagrangian", "lagrangian"] * 2 + ["pulp"]
    assert [ask(balancer, seed).method for _ in methods] == methods
    assert {ask(Balancer(layers=4, levels=3), seed).method for _ in range(3)} == {"lagrangian"}


def test_the_same_windows_get_the_same_thresholds() -> None:
    def run() -> list[list[int]]:
        balancer, given = Balancer(4, 3, exact_every=2), instance(9)
        answers = []
        for seed in range(12):
            answers.append(ask(balancer, seed).tau.tolist())
            balancer.observe(given.utility, instance(seed).counts)
        return answers

    assert run() == run()


@pytest.mark.parametrize(
    ("formulation", "kind", "method"),
    [
        ("joint", Joint, "lagrangian"),
        ("per-layer", PerLayer, "enumerate"),
        ("per-layer-difference", PerLayer, "enumerate"),
    ],
)
def test_the_thresholds_are_those_of_the_problem_shown(formulation, kind, method) -> None:
    given, balancer = instance(5), Balancer(4, 3, formulation=formulation)
    options = {"slots": given.slots, "times": given.times, "pairs": 8.0}
    problem = balancer.problem(given.utility, given.resident, **options)
    assert isinstance(problem, kind)
    found = ask(balancer)
    assert solve(problem, method).tau.tolist() == found.tau.tolist()
    assert [row["tau"] for row in problem.explain(found.tau) if row["chosen"]] == found.tau.tolist()
    assert found.seconds > 0


def test_lane_times_are_those_of_the_costs() -> None:
    costs = Costs(
        expert_bytes=1000, expert_flops=50.0, copy_alpha_s=1.0, link_bytes_per_s=500.0,
        gpu_bytes_per_s=2000.0, gpu_flops_per_s=100.0, cpu_bytes_per_s=250.0, cpu_flops_per_s=10.0,
        dense_s=0.25, dense_position_s=0.5, head_s=0.0, draft_s=2.0, draft_prefill_s=0.0, planning_s=0.0,
    )  # fmt: skip
    assert LaneTimes.of(costs, gamma=3) == LaneTimes(
        gpu_expert_s=0.5, gpu_pair_s=0.5, cpu_expert_s=4.0, cpu_pair_s=5.0, copy_s=3.0, draft_window_s=6.0,
        dense_s=2.25,
    )  # fmt: skip
    with pytest.raises(MoespacError, match="gamma is -1"):
        LaneTimes.of(costs, gamma=-1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Balancer(0, 2), "layers is 0"),
        (lambda: Balancer(2, 0), "levels is 0"),
        (lambda: Balancer(2, 2, warmup=0), "warmup is 0"),
        (lambda: Balancer(2, 2, formulation="per-layr"), "did you mean 'per-layer'"),
        (lambda: Balancer(2, 2, exact_every=-1), "exact_every is -1"),
        (lambda: Balancer(2, 2, time_limit_s=0.0), "time_limit_s is 0.0"),
        (lambda: Balancer(2, 2).observe(UTILITY, COUNTS), "with 2 layers"),
        (lambda: Balancer(1, 2).observe(UTILITY, COUNTS[:, :2]), "expected: both"),
        (lambda: Balancer(1, 2).observe(UTILITY, -COUNTS), "counts go down to -6"),
        (lambda: Balancer(1, 1).observe(UTILITY, COUNTS), "0 to K = 1"),
        (lambda: LevelRates(1, 2).demand(UTILITY, float("nan")), "pairs is nan"),
        (lambda: LevelRates(3, 2).demand(UTILITY, 1.0), "1 layers; expected: 3"),
        (
            lambda: Balancer(1, 2).thresholds(UTILITY, UTILITY > 0, slots=1, times=TIMES, pairs=10),
            "slots is 1",
        ),
    ],
)
def test_bad_input_says_what_is_expected(call, message) -> None:
    with pytest.raises(MoespacError, match=message):
        call()
