"""The balancer: what each threshold brings, and formulations proven against each other on small instances."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError
from moespac_nb.balancer import Candidates, Demand, Joint, LaneTimes, PerExpert, PerLayer, candidates, solve
from moespac_nb.hardware.costs import cost_model
from tests.helpers.balancer_instances import instance
from tests.helpers.small_profiles import MACHINE, MODEL

seeds = st.integers(0, 2**32 - 1)
FREE = LaneTimes(gpu_expert_s=0.0, cpu_pair_s=0.0, copy_s=0.0, draft_window_s=0.0)


def table_of(total_s, hot, loads, *, slots: int, copy_s: float = 1.0, draft_s: float = 0.0) -> Candidates:
    """A table written by hand, in whole seconds."""
    times = replace(FREE, copy_s=copy_s, draft_window_s=draft_s)
    total_s, hot, loads = np.array(total_s, float), np.array(hot), np.array(loads)
    room = np.full(hot.shape[1], slots)
    return Candidates(total_s, np.zeros(hot.shape), hot, loads, room, slots, times)


def test_lane_times_of_a_machine_by_hand() -> None:
    times = LaneTimes.of(cost_model(MACHINE, MODEL, context=100), gamma=8)
    gpu = {"gpu_expert_s": 600 / 1000, "gpu_pair_s": 600 / 500}
    cpu = {"cpu_expert_s": 600 / 400, "cpu_pair_s": 600 / 200}
    others = {"copy_s": 0.25 + 600 / 300, "draft_window_s": 8 * 1.3, "dense_s": 4.28 + 9 * 2.16}
    assert vars(times) == pytest.approx(gpu | cpu | others)


# The table


@given(seeds)
def test_the_table_is_what_its_definition_counts(seed: int) -> None:
    given = instance(seed)
    table, times = given.table(), given.times
    for layer in range(4):
        for tau in range(1, 4):
            hot = given.utility[layer] >= tau
            used, counts = given.counts[layer] > 0, given.counts[layer]
            at = layer, tau - 1
            assert table.hot[at] == hot.sum()
            assert table.loads[at] == (hot & ~given.resident[layer]).sum()
            cpu_s = max(counts[~hot].sum() * times.cpu_pair_s, (used & ~hot).sum() * times.cpu_expert_s)
            gpu_s = max(counts[hot].sum() * times.gpu_pair_s, (used & hot).sum() * times.gpu_expert_s)
            assert table.cpu_s[at] == pytest.approx(cpu_s, abs=1e-12)
            assert table.gpu_s[at] == pytest.approx(gpu_s, abs=1e-12)
    for tau in range(1, 4):
        assert table.room[tau - 1] == given.slots - (given.resident & (given.utility >= tau)).sum()


@given(seeds)
def test_a_higher_threshold_moves_work_to_the_cpu_lane(seed: int) -> None:
    table = instance(seed).table()
    assert (np.diff(table.hot, axis=1) <= 0).all()
    assert (np.diff(table.loads, axis=1) <= 0).all()
    assert (np.diff(table.room) >= 0).all()
    assert (np.diff(table.cpu_s, axis=1) >= -1e-12).all()
    assert (np.diff(table.gpu_s, axis=1) <= 1e-12).all()


def test_the_papers_times_are_shares_of_pairs_and_of_experts() -> None:
    times = replace(FREE, cpu_pair_s=2.0, gpu_expert_s=5.0)
    utility = np.array([[2, 1, 0, 0]])
    table = candidates(utility, utility > 1, 2, times, Demand.of(utility, np.array([[6, 3, 0, 1]]), 2))
    assert table.cpu_s.tolist() == [pytest.approx([0.1 * 10 * 2, 0.4 * 10 * 2])]  # r_c·γk·Tu_cpu
    assert table.gpu_s.tolist() == [pytest.approx([2 / 3 * 3 * 5, 1 / 3 * 3 * 5])]  # r_g·b·Tu_gpu
    assert (table.loads.tolist(), table.room.tolist()) == ([[1, 0]], [1, 1])


# Each layer alone


@settings(max_examples=60)
@given(seeds, st.sampled_from(["difference", "max"]))
def test_per_layer_by_pulp_is_the_enumeration(seed: int, objective) -> None:
    problem = PerLayer(instance(seed, layers=2).table(), objective)
    enumerated, solved = solve(problem, "enumerate"), solve(problem, "pulp")
    assert solved.feasible == enumerated.feasible
    assert problem.table.of(problem.cost_s, solved.tau) == pytest.approx(
        problem.table.of(problem.cost_s, enumerated.tau), abs=1e-9
    )


@given(seeds)
def test_by_difference_a_layer_is_never_faster_than_by_max(seed: int) -> None:
    table = instance(seed).table()
    by_max, by_difference = (
        table.of(table.total_s, solve(PerLayer(table, objective), "enumerate").tau)
        for objective in ("max", "difference")
    )
    assert (by_max <= by_difference + 1e-12).all()


def test_balanced_lanes_are_not_the_fastest() -> None:
    table = replace(table_of([[3, 5]], [[2, 1]], [[0, 0]], slots=2), gpu_s=np.array([[1.0, 5.0]]))
    assert solve(PerLayer(table, "difference"), "enumerate").tau.tolist() == [2]  # 5 and 5
    assert solve(PerLayer(table, "max"), "enumerate").tau.tolist() == [1]  # 3 and 1


def test_a_layer_copies_while_drafting_and_in_its_own_time() -> None:
    loads = [[4, 3], [4, 3]]
    table = table_of([[1, 1], [1, 1]], loads, loads, slots=9, draft_s=4.0)  # 2 s a layer, and 1 s
    assert PerLayer(table).breaks_link.tolist() == [[True, False], [True, False]]


def test_with_nothing_feasible_k_and_the_constraint_are_named() -> None:
    late = PerLayer(table_of([[1, 2]], [[4, 3]], [[4, 3]], slots=9))
    full = PerLayer(table_of([[1, 2]], [[4, 3]], [[4, 3]], slots=2, copy_s=0.1))
    for problem, name in ((late, "link at layer 0"), (full, "slots at layer 0")):
        for method in ("enumerate", "pulp"):
            found = solve(problem, method)
            assert (found.tau.tolist(), found.feasible, found.binding) == ([2], False, (name,))
    assert [row["binding"] for row in full.explain()] == [["slots"], ["slots"]]


# All layers together


def check_methods(problem: Joint) -> None:
    """PuLP finds what enumeration finds; the fast path is feasible where they are, and no better."""
    best, solved, fast = (solve(problem, method) for method in ("enumerate", "pulp", "lagrangian"))
    assert best.feasible == solved.feasible == fast.feasible
    if best.feasible:
        assert solved.optimal
        assert problem.violations(solved.tau) == problem.violations(fast.tau) == ()
        assert solved.objective_s == pytest.approx(best.objective_s, abs=1e-9)
        assert fast.objective_s >= best.objective_s - 1e-9
        assert not fast.optimal or fast.objective_s == pytest.approx(best.objective_s)
    else:
        for found in (best, solved, fast):
            assert (found.tau == 3).all()
            assert found.binding == problem.violations(found.tau) != ()


@settings(max_examples=120)
@given(seeds)
def test_joint_by_pulp_is_the_enumeration(seed: int) -> None:
    check_methods(Joint(instance(seed).table()))


@pytest.mark.full
@settings(max_examples=3000)
@given(seeds)
def test_joint_by_pulp_is_the_enumeration_at_length(seed: int) -> None:
    check_methods(Joint(instance(seed, layers=5).table()))


@settings(max_examples=40)
@given(seeds)
def test_more_slots_link_or_drafting_never_cost_time(seed: int) -> None:
    given = instance(seed, layers=3)
    before = solve(Joint(given.table()), "pulp")
    times = given.times
    for better in (
        replace(given, slots=given.slots + 1),
        replace(given, times=replace(times, copy_s=times.copy_s / 2)),
        replace(given, times=replace(times, draft_window_s=times.draft_window_s + 1e-3)),
    ):
        after = solve(Joint(better.table()), "pulp")
        if before.feasible:
            assert after.feasible
            assert after.objective_s <= before.objective_s + 1e-9


@settings(max_examples=40)
@given(seeds)
def test_one_bit_an_expert_bounds_every_choice_by_thresholds(seed: int) -> None:
    given = instance(seed, layers=3, experts=5)
    joint = solve(Joint(given.table()), "enumerate")
    placement = PerExpert(given.counts, given.resident, given.slots, given.times)
    placed = solve(placement)
    assert placed.optimal
    assert placed.hot.sum() <= given.slots
    if joint.feasible:
        assert placed.bound_s <= joint.objective_s + 1e-9
    rows = placement.explain(placed)
    assert sum(max(row["cpu_s"], row["gpu_s"]) for row in rows) <= placed.objective_s + 1e-9


def test_a_copy_cannot_hide_in_time_after_its_layer() -> None:
    # Three seconds are computed and two are copied, but layer 0 begins after one second of drafting.
    early = Joint(table_of([[1, 2], [1, 2]], [[2, 0], [0, 0]], [[2, 0], [0, 0]], slots=9, draft_s=1))
    late = Joint(table_of([[1, 2], [1, 2]], [[0, 0], [2, 0]], [[0, 0], [2, 0]], slots=9, draft_s=1))
    for method in ("pulp", "lagrangian", "enumerate"):
        assert solve(early, method).tau.tolist() == [2, 1]
        assert solve(early, method).binding == ("link by layer 0",)
        assert solve(late, method).tau.tolist() == [1, 1]
        assert solve(late, method).binding == ()


def test_the_fast_path_finds_the_way_out_of_a_slower_layer() -> None:
    # At τ = K layer 1 misses its deadline; layer 0 at τ = 1 takes longer and gives the link its time.
    problem = Joint(table_of([[3, 1], [1, 1]], [[2, 1], [3, 3]], [[0, 0], [3, 3]], slots=5))
    assert problem.violations(np.array([2, 2])) == ("link by layer 1",)
    for method in ("lagrangian", "pulp", "enumerate"):
        found = solve(problem, method)
        assert (found.feasible, found.tau[0]) == (True, 1)
    tighter = Joint(replace(problem.table, slots=4))
    assert not solve(tighter, "lagrangian").feasible
    assert solve(tighter, "pulp").binding == ("link by layer 1",)


def test_slots_are_given_where_they_save_most() -> None:
    problem = Joint(table_of([[1, 9], [5, 9]], [[3, 0], [3, 0]], [[0, 0], [0, 0]], slots=4))
    for method in ("lagrangian", "pulp"):
        found = solve(problem, method)
        assert (found.tau.tolist(), found.binding, found.objective_s) == ([1, 2], ("slots",), 10)


@settings(max_examples=40)
@given(seeds)
def test_an_explanation_says_what_each_switch_would_violate(seed: int) -> None:
    problem = Joint(instance(seed).table())
    found = solve(problem, "lagrangian")
    rows = problem.explain(found.tau)
    assert len(rows) == problem.table.hot.size
    assert [row["tau"] for row in rows if row["chosen"]] == found.tau.tolist()
    if found.feasible:
        allowed = problem.switches(found.tau).allowed.ravel().tolist()
        assert [row["feasible"] for row in rows] == allowed
    assert all(row["feasible"] == (row["binding"] == []) for row in rows)


def test_formulations_print_their_numbers() -> None:
    given = instance(3)
    table = given.table()
    for problem in (Joint(table), PerLayer(table, "difference")):
        assert f"{given.times.copy_s * 1e3:.4g} ms" in str(problem)
        assert "minimise" in str(problem)
    assert f"≤ {given.slots}" in str(Joint(table))
    assert f"≤ {given.slots}" in str(PerExpert(given.counts, given.resident, given.slots, given.times))


# The solver


def big() -> Joint:
    rng = np.random.default_rng(0)
    counts = rng.poisson(0.6, (48, 128))
    utility = np.clip(counts + rng.integers(-1, 2, counts.shape), 0, 5)
    times = LaneTimes(
        gpu_expert_s=1.2e-5, cpu_pair_s=4e-5, cpu_expert_s=1.9e-4, copy_s=4e-4, draft_window_s=0.02
    )
    resident = rng.random(utility.shape) < 0.1
    return Joint(candidates(utility, resident, 1044, times, Demand.of(utility, counts, 5)))


def test_a_time_limit_keeps_the_better_point_without_a_proof() -> None:
    problem = big()
    fast, stopped = solve(problem, "lagrangian"), solve(problem, "pulp", time_limit_s=1e-4)
    assert stopped.feasible
    assert not stopped.optimal
    assert stopped.objective_s <= fast.objective_s
    assert problem.violations(stopped.tau) == ()


def test_placement_stopped_at_once_is_still_a_placement() -> None:
    given = instance(1)
    placed = solve(PerExpert(given.counts, given.resident, given.slots, given.times), time_limit_s=1e-9)
    assert placed.bound_s <= placed.objective_s


def printed(code: str) -> str:
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert run.stderr == ""
    return run.stdout


def test_nothing_is_printed_by_the_solver() -> None:
    code = (
        "import numpy as np\n"
        "from moespac_nb.balancer import *\n"
        "u = np.array([[1, 0]])\n"
        "t = LaneTimes(gpu_expert_s=1, cpu_pair_s=2, copy_s=1, draft_window_s=1)\n"
        "solve(Joint(candidates(u, u > 1, 1, t, Demand.of(u, u, 1))), 'pulp')\n"
    )
    assert printed(code) == ""


FIRST_SOLVES = """
import os, threading, time
import highspy, pulp
from moespac_nb.balancer import highs, solve

class Slow(highspy.Highs):
    order = iter(range(9))
    def __init__(self):
        super().__init__()
        time.sleep(0.05 * (next(self.order) + 1))

highspy.Highs = Slow


def talk():
    for number in range(200):
        os.write(1, b"%d\\n" % number)
        time.sleep(0.002)

def first():
    program = highs.new_program("x")
    program += pulp.LpVariable("a", 1, 2)
    assert highs.solve_program(program) == "optimal"

threads = [threading.Thread(target=work) for work in (talk, first, first, first, first)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print("the end")
"""


def test_first_solves_in_several_threads_lose_no_output() -> None:
    *numbers, end = printed(FIRST_SOLVES).splitlines()
    assert (sorted(map(int, numbers)), end) == ([*range(200)], "the end")


# Bad input

UTILITY = np.array([[0, 1], [2, 0]])
DEMAND = Demand.of(UTILITY, UTILITY, 2)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: replace(FREE, copy_s=-1.0), "copy_s is -1.0; expected"),
        (lambda: replace(FREE, cpu_pair_s=float("nan")), "cpu_pair_s is nan"),
        (lambda: replace(FREE, dense_s=float("inf")), "dense_s is inf"),
        (lambda: Demand.of(UTILITY, UTILITY, 0), "levels is 0"),
        (lambda: Demand.of(UTILITY, UTILITY, 1), "0 to K = 1"),
        (lambda: Demand.of(UTILITY, UTILITY[:1], 2), r"\(1, 2\); expected: the utility's, \(2, 2\)"),
        (lambda: Demand.of(UTILITY * 1.0, UTILITY, 2), "float64 of shape"),
        (lambda: Demand.of(UTILITY, np.full((2, 2), np.nan), 2), "pairs goes from nan"),
        (lambda: replace(DEMAND, cold_share=DEMAND.cold_share + 1), "shares from 0 to 1"),
        (lambda: replace(DEMAND, distinct=DEMAND.distinct[:1]), "distinct has shape"),
        (lambda: candidates(UTILITY, UTILITY, 2, FREE, DEMAND), "resident is int64"),
        (lambda: candidates(UTILITY, UTILITY[:1] > 0, 2, FREE, DEMAND), r"bool of shape \(1, 2\)"),
        (lambda: candidates(UTILITY, UTILITY > 0, 1, FREE, DEMAND), "slots is 1 with 2 experts resident"),
        (lambda: candidates(UTILITY, UTILITY > 9, 0, FREE, DEMAND), "slots is 0"),
        (lambda: candidates(UTILITY[:1], UTILITY[:1] > 0, 9, FREE, DEMAND), "1 layers and the demand 2"),
        (lambda: PerLayer(big().table, "sum"), "'sum'; expected: difference, max"),
        (lambda: solve(big(), "guess"), "method of Joint is 'guess'; expected: pulp, lagrangian, enumerate"),
        (lambda: solve(big(), "enumerate"), "points; expected"),
        (lambda: PerExpert(UTILITY, UTILITY[:1], 1, FREE), "expected: both"),
        (lambda: PerExpert(-UTILITY, UTILITY, 1, FREE), "negative"),
        (lambda: PerExpert(UTILITY, UTILITY, 0, FREE), "slots is 0"),
    ],
)
def test_bad_input_says_what_is_expected(call, message) -> None:
    with pytest.raises(MoespacError, match=message):
        call()
