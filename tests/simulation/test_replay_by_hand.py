"""One replay worked out by hand, to the last figure: what a Result reports, what its notes and flags mean.

Costs are those of `checked_device`: a copy takes 2 s, an expert 0.5 s from its slot and 4 s on the CPU lane.
Here a layer's dense part takes 1 s and 1/8 s a position, a token of a prompt 0.5 s of the draft's, and
recency, which plans a tenth of `planning_s`, 1 s a window.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from moespac_nb.engine.placement import Counters
from moespac_nb.engine.scheduler import Scheduler, TimeBreakdown
from moespac_nb.engine.slots import EMPTY
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.simulation.slot_history import slot_history
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.locality import expert_usage
from moespac_nb.trace.trace import Trace
from tests.helpers.checked_device import COSTS
from tests.helpers.small_profiles import MACHINE, MODEL
from tests.helpers.traces.steps import text

BY_HAND = replace(COSTS, dense_position_s=0.125, draft_prefill_s=0.5, planning_s=10.0)
# Two layers of four experts, one a token: [[of layer 0], [of layer 1]] of each position.
FIRST = text(
    [[[0], [0]], [[0], [1]]],
    [([[[0], [0]], [[1], [0]], [[1], [0]]], 1), ([[[0], [0]], [[0], [2]]], 0)],
)
SECOND = text([[[3], [3]]], [([[[3], [3]], [[0], [3]]], 1)])
# 0.00  The first prompt. Layer 0: dense 1.25, then E0 is copied, cheaper than the CPU, until 3.25.
# 3.75  Layer 1: dense until 5, E0 is copied until 7, E1, in the place of L0 E0, until 9.
# 9.50  The head 0.25, the draft reads 1, the policy thinks 1: L0 E0 is wanted again, and beats nobody.
# 11.75 Window 1 of 3 positions. Two tokens are drafted; layer 0: dense 1.375, E0 and E1 on the CPU.
# 22.125 Layer 1: dense until 23.5, E0 from its slot. Head, thinking: L0 E0 and L0 E1 are wanted.
# 25.25 Window 2 of 2. L0 E0 is copied, in the place of L1 E1, which was used, until 27.25; E1 beats nobody.
#       Drafting until 25.75, dense until 27: E0 is late by 0.25, and computed until 27.75.
# 27.75 Layer 1: dense until 29, E0 from its slot beside E2 on the CPU until 33. Head, thinking.
# 34.25 The second prompt. Layer 0: dense 1.125, E3 in the place of L1 E0 from 35.375 until 37.375.
# 37.875 Layer 1: L1 E2, wanted since window 2, takes the place of L0 E3, which nobody has wanted yet; after
#       it, E3 takes that of L0 E0 and is here at 41.875.
# 42.375 The head 0.25, the draft reads 0.5, the policy thinks 1: L0 E3 is wanted.
# 44.125 Window 3 of 2. L0 E3 is copied in the place of L1 E2, which was never used, until 46.125. Drafting
#       until 44.625, dense until 45.875: E3 is late by 0.25, beside E0 on the CPU until 49.875.
# 49.875 Layer 1: dense until 51.125, E3 from its slot. Head, thinking.
# 52.875
WANTED = {
    "policy": "recency",
    "tps_modelled": 5 / 31.25,
    "tps_whole_model": None,  # costs were given, and no model that they are a part of
    "tokens": 5,
    "windows": 3,
    "hit_rate": 3 / 9,
    "late_rate": 2 / 9,
    "bytes_per_token": 200 / 5,
    "wasted_bytes": 100,
    "stall_share": 0.25 / 31.25,
    "cpu_share": 5 / 14,
    "policy_ms_per_step": 1000.0,
    "ttft_s": (25.25 + 18.625) / 2,
    "prefill_s": (11.75 + 9.875) / 2,
    "budget": "25%",
    "budget_bytes": 200,
    "slots": 2,
    "accounting": "slots-equal",
    "fits": True,
    "machine": None,
    "model": None,
    "notes": [],
    "shared_bus": False,
    "gamma": None,
    "cold": False,
    "label": "modelled",
    "prefill_bytes": 600,
    "counters": vars(
        Counters(
            ready=3, late=2, miss=4, loaded=0, pairs=14, cpu_pairs=5, copies=2, bytes=200, wasted_bytes=100,
            evictions=2,
        )
    ),
    "parts": vars(
        TimeBreakdown(
            draft_s=2.0, planning_s=3.0, dense_s=8.5, experts_s=2.0, cpu_wait_s=15.5, link_wait_s=0.25
        )
    ),
}  # fmt: skip


BOTH = concatenate([FIRST, SECOND])


@pytest.fixture(scope="module")
def by_hand() -> Result:
    return replay(BOTH, "recency", "25%", costs=BY_HAND)


@pytest.mark.parametrize("figure", WANTED)
def test_every_figure_is_the_one_worked_out(by_hand: Result, figure: str) -> None:
    assert by_hand.to_dict()[figure] == WANTED[figure]


def test_no_figure_is_left_out(by_hand: Result) -> None:
    assert by_hand.to_dict().keys() == WANTED.keys()
    assert by_hand.windows_s == ((11.75, 25.25), (25.25, 34.25), (44.125, 52.875))


def test_the_copies_and_evictions_are_those_worked_out() -> None:
    seen = slot_history(BOTH, "recency", "25%", costs=BY_HAND)
    started = [
        (move.window, move.slot, move.key, move.old, move.score, move.old_score, move.demand)
        for move in seen.moves
        if not move.came
    ]
    assert started == [  # a key is 4 · layer + expert
        (0, 0, 0, EMPTY, 0, 0, True),
        (0, 1, 4, EMPTY, 0, 0, True),
        (0, 0, 5, 0, 0, 0, True),
        (1, 0, 0, 5, 2, 1, False),
        (2, 1, 3, 4, 0, 3, True),
        (2, 1, 6, 3, 3, 0, False),
        (2, 0, 7, 0, 0, 3, True),
        (2, 1, 3, 6, 4, 3, False),
    ]


def test_a_text_that_ends_within_a_window_has_the_tokens_it_has() -> None:
    rows = [([[[0]], [[1]], [[2]]], 2)] * 4  # all that is drafted is right, beyond the last token too
    result = replay(text([], rows, gamma_max=2), "cpu-only", "50%", costs=BY_HAND, gamma=2)
    assert (result.tokens, result.windows) == (4, 2)


def test_prompts_are_counted_and_timed_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    schedulers: list[Scheduler] = []

    def kept(*args: Any, **options: Any) -> Scheduler:
        assert (options["gamma"], options["in_flight"]) == (2, 4)  # the longest draft, though not the first
        schedulers.append(Scheduler(*args, **options))
        return schedulers[-1]

    monkeypatch.setattr("moespac_nb.simulation.replay.Scheduler", kept)
    replay(concatenate([SECOND, FIRST]), "recency", "25%", costs=BY_HAND)
    replay(BOTH, "recency", "25%", costs=BY_HAND)
    assert schedulers[1].prefill.counters == Counters(
        miss=5, loaded=5, pairs=6, copies=6, bytes=600, evictions=4
    )
    assert schedulers[1].prefill.parts == TimeBreakdown(
        draft_s=1.5, planning_s=2.0, dense_s=5.25, experts_s=2.5, link_wait_s=10.375
    )


@pytest.mark.parametrize(("in_flight", "starts"), [(4, [0, 2, 4, 6]), (1, [0, 5.75])])
def test_copies_in_flight_are_as_many_as_was_said(in_flight: int, starts: list[float]) -> None:
    twice = text([], [([[[0], [0]], [[1], [1]]], 0)] * 2)  # the first window misses four, two a layer
    result = replay(twice, "recency", "100%", costs=BY_HAND, in_flight=in_flight)
    copied = [op.start for op in result.timeline if op.lane == "link"]
    # One by one: E0 is awaited and has come, E1 is on the CPU from 1.75 to 5.75; then layer 1's dense part.
    assert [start - copied[0] for start in copied] == starts


def test_a_profile_counts_positions() -> None:
    assert expert_usage(BOTH).tolist() == [[4, 2, 0, 1], [4, 0, 1, 2]]


def test_a_copy_between_two_layers_belongs_to_the_second() -> None:
    twice = text([], [([[[0], [0]], [[1], [1]]], 0)] * 2)  # as above: the second starts beside layer 1
    seen = slot_history(twice, "recency", "100%", costs=BY_HAND, in_flight=1)
    assert [(move.window, move.moment) for move in seen.moves if not move.came] == [(1, 0), (1, 2)]


DENSE = text([[[0], [0]]], [([[[0], [0]], [[1], [0]]], 0), ([[[0], [0]]], 0)], gamma_max=1)


def on_small(trace: Trace, policy: str = "recency", budget: str = "100%", **options: Any) -> Result:
    machine = replace(MACHINE, **options.pop("of_machine", {}))
    return replay(trace, policy, budget, machine=machine, model=MODEL, **options)


@pytest.mark.parametrize(("context", "layer_s"), [(100, 4.28), (200, 7.48)])
def test_a_pass_reads_the_keys_and_values_of_the_context(context: int, layer_s: float) -> None:
    result = on_small(BOTH, "cpu-only", context=context)
    # Three windows of two layers and a head of 4.2 s; 3 + 2 + 2 positions.
    assert result.parts.dense_s == pytest.approx(3 * (2 * layer_s + 4.2) + 2 * 7 * 2.16)
    assert result.parts.draft_s == pytest.approx(4 * 1.3)
    assert result.notes == ()


@pytest.mark.parametrize(
    ("accounting", "gamma", "context", "charged"),
    [
        ("slots-equal", 1, 100, (8, 4800, True)),
        ("device-equal", 0, 100, (8, 4800, True)),  # without a draft nothing is charged
        ("device-equal", 1, 100, (3, 2300, True)),  # 1000 + 100·12 + 300 of 4800 bytes
        ("device-equal", 1, 200, (1, 1100, True)),
        ("device-equal", 1, 250, (0, 0, False)),  # 500 bytes are left, and no slot
    ],
)
def test_a_draft_is_charged_where_there_is_one_with_its_context(
    accounting: str, gamma: int, context: int, charged: tuple[int, int, bool]
) -> None:
    card = {"memory_bytes": 10**9}
    result = on_small(DENSE, accounting=accounting, gamma=gamma, context=context, of_machine=card)
    assert (result.slots, result.budget_bytes, result.fits) == charged


REST = 1000 + 7360 + 100 * 128 + 156_800  # reserved, dense, keys and values, workspace: see test_fit
DRAFT = 2500


@pytest.mark.parametrize(
    ("policy", "gamma", "room", "fits"),
    [
        ("cpu-only", 1, REST + DRAFT, True),  # it has no slots, but the rest must be there
        ("cpu-only", 1, REST + DRAFT - 1, False),
        ("cpu-only", 0, REST, True),
        ("cpu-only", 0, REST - 1, False),
        ("recency", 1, REST + DRAFT + 1200, True),  # two slots of 600 bytes
        ("recency", 1, REST + DRAFT + 1199, False),
    ],
)
def test_a_card_fits_if_it_holds_the_slots_beside_all_the_rest(
    policy: str, gamma: int, room: int, fits: bool
) -> None:
    result = on_small(DENSE, policy, "25%", gamma=gamma, context=100, of_machine={"memory_bytes": room})
    assert result.fits is fits
    less = {"memory_bytes": room, "host_memory_bytes": 4799}  # all experts take 4800
    assert on_small(DENSE, policy, "25%", gamma=gamma, context=100, of_machine=less).fits is False
