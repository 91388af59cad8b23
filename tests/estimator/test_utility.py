"""The estimator: against a reference for one expert at a time, by hand, and where the paper errs."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError
from moespac_nb.estimator.utility import BRANCHES, DOWN, RULES, STAY, UP, Estimator, make_estimator

INERTIAL = ("paper", "paper-real", "level")
SHAPE = (2, 3)


def one_expert(rule: str, counts: list[float], K: int, gamma: int, lam: float, up: float, down: float):
    """The s of one expert after each count: the definitions, once more and plainly."""
    s, before, average, levels = 0, 0.0, 0.0, []
    theta_up = theta_down = {"paper": gamma // 2, "paper-real": max(gamma, 1) / 2}.get(rule, math.nan)
    for f in counts:
        if rule in ("paper", "paper-real"):
            change = f - before
            if change >= theta_up:
                s = min(K, s + 1)
            elif -change >= theta_down:
                s = max(0, s - 1)
            if change > 0:
                theta_up = (1 - lam) * theta_up + lam * change
                theta_up = math.floor(theta_up + 1e-9) if rule == "paper" else theta_up
            elif change < 0:
                theta_down = (1 - lam) * theta_down + lam * -change
                theta_down = math.floor(theta_down + 1e-9) if rule == "paper" else theta_down
        elif rule == "level":
            if f - s >= up:
                s = min(K, s + 1)
            elif f - s <= -down:
                s = max(0, s - 1)
        else:
            average = (1 - lam) * average + lam * f if rule == "ema" else f
            s = min(K, max(0, math.floor(average + 0.5)))
        before = f
        levels.append(s)
    return levels


def made(rule: str, shape: tuple[int, int] = SHAPE, **settings: Any) -> Estimator:
    """With those of the settings that this rule has."""
    own = {"level": {"up", "down"}, "last-count": set()}.get(rule, {"forgetting"})
    options = {name: value for name, value in settings.items() if name in {"K", "gamma"} | own}
    return make_estimator(rule, *shape, **options)


def updated(estimator: Estimator, stream: Iterable[Any]) -> Estimator:
    for f in stream:
        estimator.update(np.atleast_2d(f))
    return estimator


def course(rule: str, counts: list[float], **settings: Any) -> list[int]:
    """The s of one expert after each of these counts."""
    one = made(rule, (1, 1), **settings)
    return [int(one.update(np.array([[f]]))[0, 0]) for f in counts]


STREAMS = st.integers(1, 25).flatmap(
    lambda n: st.lists(st.integers(0, 9), min_size=n * 6, max_size=n * 6).map(
        lambda flat: np.reshape(flat, (n, *SHAPE))
    )
)
# Dyadic shares and halves: reference and estimator round alike, so that no floor falls between them.
SETTINGS = st.fixed_dictionaries(
    {
        "K": st.integers(1, 8),
        "gamma": st.integers(0, 12),
        "forgetting": st.sampled_from([0.0625, 0.125, 0.25, 0.5, 1.0]),
        "up": st.sampled_from([0.5, 1, 2, 3, 5]),
        "down": st.sampled_from([0.5, 1, 2, 3]),
    }
)


@pytest.mark.parametrize("rule", RULES)
@given(stream=STREAMS, chosen=SETTINGS)
@settings(max_examples=60)
def test_every_expert_goes_as_the_definition_says(rule: str, stream: np.ndarray, chosen: dict) -> None:
    one = made(rule, **chosen)
    found = np.array([one.update(f).copy() for f in stream])
    for layer, expert in np.ndindex(SHAPE):
        expected = one_expert(
            rule, stream[:, layer, expert].tolist(), chosen["K"], chosen["gamma"], chosen["forgetting"],
            chosen["up"], chosen["down"],
        )  # fmt: skip
        assert found[:, layer, expert].tolist() == expected


@pytest.mark.parametrize("rule", RULES)
@given(stream=STREAMS, chosen=SETTINGS, real=st.booleans())
@settings(max_examples=60)
def test_utility_is_from_0_to_k_and_inertia_is_one_level(
    rule: str, stream: np.ndarray, chosen: dict, real: bool
) -> None:
    one, last = made(rule, **chosen), np.zeros(SHAPE, int)
    for f in stream * (0.37 if real else 1):
        s = one.update(f).copy()
        assert s.dtype.kind == "i"
        assert 0 <= s.min() <= s.max() <= chosen["K"]
        branch = one.state().branch
        if rule in INERTIAL:
            assert np.array_equal(s, np.clip(last + branch, 0, chosen["K"]))
        else:
            assert np.array_equal(branch, np.sign(s - last))
        last = s


@pytest.mark.parametrize("rule", RULES)
@given(stream=STREAMS, chosen=SETTINGS)
@settings(max_examples=20)
def test_layers_told_one_by_one_and_all_at_once_end_alike(
    rule: str, stream: np.ndarray, chosen: dict
) -> None:
    whole, parts = made(rule, **chosen), made(rule, **chosen)
    for f in stream:
        s = whole.update(f)
        for layer in reversed(range(SHAPE[0])):
            assert np.array_equal(parts.update(f[layer], layer), s[layer])
    for name, array in vars(whole.state()).items():
        assert np.array_equal(array, getattr(parts.state(), name), equal_nan=True), name


@pytest.mark.parametrize("rule", RULES)
def test_the_type_of_the_evidence_does_not_matter(rule: str) -> None:
    stream = np.random.default_rng(0).integers(0, 10, (40, 8, 16))
    ends = {}
    for kind in (np.int64, np.uint8, np.int16, np.float32, np.float64):
        ends[kind] = updated(make_estimator(rule, 8, 16), stream.astype(kind)).s.tolist()
    assert all(end == ends[np.int64] for end in ends.values())


# By hand, γ = 8, K = 4, λ = 0.1: boundaries start at 4.


def test_paper_by_hand() -> None:
    assert course("paper", [5, 9, 9, 5, 0, 0]) == [1, 2, 2, 1, 0, 0]
    one = make_estimator("paper", 1, 1)
    one.update(np.array([[1]]))  # below the boundary of 4, and draws it to ⌊0.9·4 + 0.1·1⌋ = 3
    assert one.state().of(0, 0) == {
        "f": 1.0, "delta": 1.0, "up": 4.0, "down": 4.0, "branch": "stay", "s": 0, "value": 0.0,
        "next_up": 3.0, "next_down": 4.0,
    }  # fmt: skip


def test_paper_real_by_hand() -> None:
    one = make_estimator("paper-real", 1, 1)
    one.update(np.array([[1]]))
    assert one.state().of(0, 0)["next_up"] == pytest.approx(3.7)
    one.update(np.array([[5]]))
    state = one.state().of(0, 0)
    assert (state["branch"], state["s"], state["up"]) == ("up", 1, pytest.approx(3.7))
    assert state["next_up"] == pytest.approx(0.9 * 3.7 + 0.1 * 4)


def test_level_by_hand() -> None:
    assert course("level", [5, 5, 5, 5, 2, 2, 1, 0, 0]) == [1, 2, 3, 3, 2, 2, 1, 0, 0]
    released = {"K": 5, "up": 5, "down": 1}
    assert course("level", [9, 9, 9, 9, 9, 9], **released) == [1, 2, 3, 4, 5, 5]
    assert course("level", [5, 5, 4, 0], **released) == [1, 1, 1, 0]


def test_average_and_last_count_by_hand() -> None:
    assert course("ema", [4, 4, 4, 0], forgetting=0.5) == [2, 3, 4, 2]  # 2, 3, 3.5, 1.75
    assert course("last-count", [3, 9, 0, 2.5, 2.4]) == [3, 4, 0, 3, 2]
    one = make_estimator("ema", 1, 1, forgetting=0.5)
    one.update(np.array([[3]]))
    assert one.value.tolist() == [[1.5]]


@given(f=st.integers(0, 9), K=st.integers(1, 5), up=st.integers(1, 5), down=st.integers(1, 3))
def test_a_steady_count_leaves_the_level_rule_in_its_band(f: int, K: int, up: int, down: int) -> None:
    below = course("level", [f] * 12, K=K, up=up, down=down)[-1]
    above = course("level", [99] * 12 + [f] * 12, K=K, up=up, down=down)[-1]
    assert below == min(max(f - up + 1, 0), K)
    assert above == min(max(f + down - 1, 0), K)


# What is wrong with the algorithm as printed, and what cures it.


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(2, 12))
def test_the_printed_boundaries_only_fall_and_never_below_1(counts: list[int], gamma: int) -> None:
    one = make_estimator("paper", 1, 1, gamma=gamma)
    for f in counts:  # of a window of γ ≤ 8: no change is larger than 9
        one.update(np.array([[f]]))
        state = one.state()
        for now, following in ((state.up, state.next_up), (state.down, state.next_down)):
            assert 1 <= following.item() <= now.item() <= gamma // 2


def boundaries_after(rule: str, counts: list[int]) -> tuple[float, float]:
    state = updated(make_estimator(rule, 1, 1, gamma=8), counts).state().of(0, 0)
    return state["next_up"], state["next_down"]


QUIET, STORMY = [0, 1] * 10, [0, 8] * 40


def test_boundaries_at_1_stay_whatever_the_changes() -> None:
    assert boundaries_after("paper", QUIET) == (1, 1)
    assert boundaries_after("paper", QUIET + STORMY) == (1, 1)


def test_ratchet_is_cured_by_real_boundaries() -> None:
    assert max(boundaries_after("paper-real", QUIET)) < 3
    assert min(boundaries_after("paper-real", QUIET + STORMY)) > 7


@pytest.mark.parametrize("rule", ["paper", "paper-real"])
def test_a_constantly_hot_expert_climbs_once_and_stays(rule: str) -> None:
    assert course(rule, [9] * 50) == [1] * 50


def test_forgotten_heat_is_cured_by_following_the_level() -> None:
    assert course("level", [9] * 50)[-1] == 4
    assert course("level", [9] * 50 + [0] * 4)[-1] == 0


def test_in_short_windows_boundaries_start_at_0_and_all_climb() -> None:
    assert course("paper", [0] * 6, gamma=1) == [1, 2, 3, 4, 4, 4]
    assert course("paper-real", [0] * 6, gamma=1) == [0] * 6


# Reading it.


def test_a_snapshot_stays_as_it_was_and_names_the_branches() -> None:
    one = make_estimator("level", 2, 2, up=1)
    one.update(np.array([[1, 0], [0, 0]]))
    before = one.state()
    one.update(np.zeros((2, 2)))
    assert before.s.tolist() == [[1, 0], [0, 0]]
    assert before.branch.tolist() == [[UP, STAY], [STAY, STAY]]
    assert one.state().of(0, 0)["branch"] == BRANCHES[DOWN] == "down"
    with pytest.raises(ValueError, match="read-only"):
        before.s[0, 0] = 3


def test_rules_without_boundaries_have_none() -> None:
    for rule in ("ema", "last-count"):
        one = make_estimator(rule, 1, 1)
        one.update(np.array([[2]]))
        assert np.isnan([one.state().up, one.state().next_down]).all()


@pytest.mark.parametrize("rule", RULES)
def test_overhead_grows_with_the_model(rule: str) -> None:
    assert 0 < make_estimator(rule, 8, 64).overhead_s < make_estimator(rule, 48, 128).overhead_s < 1e-3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: make_estimator("papr", 1, 1), "rule is 'papr'; expected: .*; did you mean 'paper'?"),
        (lambda: make_estimator("level", 1, 1, upp=2), "upp was given to rule 'level'; .*mean 'up'?"),
        (lambda: make_estimator("last-count", 1, 1, forgetting=0.1), "expected: K, gamma"),
        (lambda: make_estimator("paper", 0, 1), "layers is 0; expected: a whole number from 1"),
        (lambda: make_estimator("paper", 1, 1, K=0), "K is 0"),
        (lambda: make_estimator("paper", 1, 1, K=2.5), "K is 2.5"),
        (lambda: make_estimator("paper", 1, 1, gamma=-1), "gamma is -1"),
        (
            lambda: make_estimator("paper", 1, 1, forgetting=0),
            "forgetting is 0; expected: a number above 0, at most 1",
        ),
        (lambda: make_estimator("ema", 1, 1, forgetting=math.nan), "forgetting is nan"),
        (lambda: make_estimator("level", 1, 1, down=0), "down is 0; expected: a number above 0"),
        (lambda: make_estimator("level", 1, 1, up=math.inf), "up is inf"),
        (lambda: make_estimator("ema", 1, 2).update(np.zeros((2, 1))), r"shape \(2, 1\); expected: \(1, 2\)"),
        (lambda: make_estimator("ema", 2, 2).update(np.zeros(3), 1), r"shape \(3,\); expected: \(2,\)"),
        (lambda: make_estimator("ema", 1, 1).update(np.array([[math.nan]])), "not finite"),
    ],
)
def test_bad_input_says_what_is_expected(call, message) -> None:
    with pytest.raises(MoespacError, match=message):
        call()
