"""Sensors: each worked by hand on one layer of four experts; what they know, when, and what a trace lacks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings

from moespac_nb import MoespacError, Prefill, Trace
from moespac_nb.estimator.sensors import SENSORS, Sensor, make_sensor
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.windows import NEXT_GATE, RoutedTokens, iter_windows, verified_tokens
from tests.helpers.traces.steps import prefill, step
from tests.helpers.traces.strategies import ANY_TRACE, GEOMETRY, one_text, with_channels

FOUR = MoEShape(layers=1, experts=4, top_k=1)
# Three positions: expert 3, expert 0, expert 3 again; the last was rejected.
WINDOW = step(0, 0, [[[3]], [[0]], [[3]]], accepted=1)


def rows(*pairs: tuple[int, int]) -> RoutedTokens:
    """Positions of one layer: token, expert."""
    tokens, experts = zip(*pairs, strict=True)
    return RoutedTokens(np.array(tokens), np.array(experts, np.int16)[:, None, None])


def begun(name: str, *learned: RoutedTokens, read: Prefill | None = None) -> Sensor:
    sensor = make_sensor(name, FOUR, *learned)
    sensor.on_prefill(read or prefill())
    return sensor


@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("verify-counts", [[1, 0, 0, 2]]),
        ("committed-counts", [[1, 0, 0, 1]]),
        ("last-window", [[1, 0, 0, 1]]),
        ("ema-counts", [[0.3, 0, 0, 0.6]]),
        ("frequency", [[1, 0, 0, 2]]),
        ("recency", [[3, 0, 0, 1.5]]),  # expert 0 served the last committed token, expert 3 the one before
    ],
)
def test_what_a_verified_window_says(name: str, evidence: list) -> None:
    one = begun(name)
    assert one.available_at == "verified"
    assert one.on_draft(WINDOW.window) is None
    assert one.on_verify(WINDOW).tolist() == evidence


def test_averages_begin_with_the_prompt_and_forget_the_last_text() -> None:
    window = step(0, 2, [[[0]]], accepted=0)
    for name, first, second in (
        ("ema-counts", [0.7 / 2 + 0.3, 0.7 / 2], [0.7 * 0.65 + 0.3, 0.7 * 0.35]),
        ("frequency", [2 / 3, 1 / 3], [3 / 4, 1 / 4]),
    ):
        one = begun(name, read=prefill([[0]], [[1]]))
        assert one.on_verify(window)[0, :2] == pytest.approx(first)
        assert one.on_verify(window)[0, :2] == pytest.approx(second)
        one.on_prefill(prefill())
        assert one.on_verify(WINDOW)[0, 1] == 0


def test_recency_remembers_the_prompt_and_forgets_the_last_text() -> None:
    one = begun("recency", read=prefill([[1]], [[2]]))
    assert one.on_verify(step(0, 2, [[[0]]], accepted=0)).tolist() == [[1, 1 / 3, 1 / 2, 0]]
    one.on_prefill(prefill())
    assert one.on_verify(step(0, 0, [[[0]]], accepted=0)).tolist() == [[1, 0, 0, 0]]


def test_popularity_is_of_what_it_learned_and_of_nothing_else() -> None:
    one = begun("popularity", rows((7, 0), (7, 0), (8, 1)), rows((9, 0)))
    assert one.on_verify(WINDOW).tolist() == [[2.25, 0.75, 0, 0]]  # three positions, 3 of 4 to expert 0
    assert one.on_verify(WINDOW).tolist() == [[2.25, 0.75, 0, 0]]
    with pytest.raises(MoespacError, match="nothing to go by"):
        begun("popularity")


def test_a_token_goes_where_it_went_an_unknown_one_where_all_did() -> None:
    one = begun("token-table", rows((7, 0), (7, 0), (7, 1), (8, 2)))
    popular = np.array([2.25, 1.25, 1.25, 0.25]) / 5  # 4 positions, and one that went everywhere alike
    assert one.on_draft(np.array([5]))[0] == pytest.approx(popular)
    seen_thrice = (np.array([2, 1, 0, 0]) + popular) / 4
    assert one.on_draft(np.array([7]))[0] == pytest.approx(seen_thrice)
    assert one.on_draft(np.array([7, 5, 7]))[0] == pytest.approx(2 * seen_thrice + popular)


def test_the_table_learns_from_rejected_but_not_redacted_tokens() -> None:
    one = begun("token-table")
    assert one.on_draft(np.array([0]))[0].tolist() == [0.25] * 4
    one.on_verify(replace(WINDOW, window=np.array([-1, 5, 6])))
    assert np.argmax(one.on_draft(np.array([5]))[0]) == 0
    assert np.argmax(one.on_draft(np.array([6]))[0]) == 3
    popular = (np.array([1, 0, 0, 2]) + 0.25) / 4
    assert one.on_draft(np.array([-1]))[0] == pytest.approx(popular)


def test_a_table_learns_in_pieces_what_it_learns_at_once() -> None:
    rng = np.random.default_rng(0)
    many = RoutedTokens(rng.integers(0, 5, 60), rng.integers(0, 4, (60, 1, 1)).astype(np.int16))
    whole = begun("token-table", many)
    parts = begun("token-table")
    for i in range(0, 60, 7):
        parts.fit(RoutedTokens(many.tokens[i : i + 7], many.experts[i : i + 7]))
    for token in range(6):
        assert np.array_equal(whole.on_draft(np.array([token])), parts.on_draft(np.array([token])))


def test_gates_count_as_many_picks_as_a_router_chooses() -> None:
    two = make_sensor("draft-gates", MoEShape(2, 4, 2))
    gates = np.array([[[0, 1, 2, 3], [3, 2, 1, 0]], [[0, 2, 3, 1], [3, 0, 1, 2]]], np.int16)
    assert two.available_at == "drafted"
    assert two.on_draft(np.zeros(3), gates).tolist() == [[2, 1, 1, 0], [1, 0, 1, 2]]
    assert two.on_draft(np.zeros(1), gates[:0]).tolist() == [[0] * 4] * 2  # nothing drafted
    assert two.on_draft(np.zeros(1)).tolist() == [[0] * 4] * 2  # and so no row of the channel to be given


def test_next_gate_speaks_of_one_layer_and_passes_over_none() -> None:
    two = make_sensor("next-gate", MoEShape(2, 4, 2))
    assert two.available_at == "layer"
    assert two.on_layer(1, np.array([[0, 1, 2], [0, 3, 1]], np.int16)).tolist() == [2, 1, 0, 1]
    assert two.on_layer(1, np.array([[-1, -1, -1], [2, -1, 1]], np.int16)).tolist() == [0, 0, 1, 0]


@pytest.mark.parametrize("name", SENSORS)
def test_a_sensor_speaks_at_its_moment_alone_and_costs_time(name: str) -> None:
    trace = with_channels(one_text(3, gamma_max=3, steps=6))
    one = make_sensor(name, GEOMETRY, verified_tokens(trace))
    one.on_prefill(trace.prefill())
    for seen in iter_windows(trace, gamma=2):
        told = {"drafted": one.on_draft(seen.step.window, seen.draft_gates)}
        told["layer"] = one.on_layer(1, seen.next_gates[:, 1])
        told["verified"] = one.on_verify(seen.step)
        assert [moment for moment, evidence in told.items() if evidence is not None] == [one.available_at]
        shape = (GEOMETRY.experts,) if one.available_at == "layer" else (GEOMETRY.layers, GEOMETRY.experts)
        assert told[one.available_at].shape == shape
        assert told[one.available_at].min() >= 0
    assert 0 < one.cost_s(0) <= one.cost_s(8) < 1e-3
    assert one.overhead_s(8) <= one.cost_s(8)


@pytest.mark.parametrize(
    ("name", "gamma", "microseconds"),
    [
        ("verify-counts", 8, 5 + 0.0005 * 12 * 9),  # 12 experts, 9 positions
        ("recency", 0, 14 + 0.00025 * 12),
        ("draft-gates", 8, 6.4 + 0.00012 * 12 * 9 + 8 * 10),  # a product at each drafted token
        ("next-gate", 8, 6.4 + 10),  # one layer but the first
    ],
)
def test_what_a_sensor_costs_by_hand(name: str, gamma: int, microseconds: float) -> None:
    assert 1e6 * make_sensor(name, GEOMETRY).cost_s(gamma) == pytest.approx(microseconds)


@given(ANY_TRACE)
@settings(max_examples=25)
def test_windows_are_the_steps_of_a_walk_with_their_own_rows(trace: Trace) -> None:
    trace = with_channels(trace)
    dense = trace.texts[0].gamma_max
    gamma = None if dense is None else 1
    seen = [window for text in range(len(trace.texts)) for window in iter_windows(trace, text, gamma)]
    steps = list(trace if dense is None else trace.rounds(gamma))
    assert [w.step.position for w in seen] == [s.position for s in steps]
    for window in seen:
        gates, ahead = window.draft_gates, window.next_gates
        assert (len(gates), len(ahead)) == (window.step.gamma, window.step.gamma + 1)
        i = next(  # the row it was taken from holds the same window
            i
            for i in range(len(trace))
            if np.array_equal(trace.experts[trace.starts["verified"][i]], window.step.experts[0])
        )
        start = trace.starts["verified"][i]
        assert np.array_equal(ahead, trace.channels[NEXT_GATE].values[start : start + len(ahead)])


def test_verified_rows_are_those_of_the_texts_asked_for() -> None:
    first, second = one_text(1), one_text(2)
    both = concatenate([first, second])
    for texts, expected in (([0], first), ([1], second), (None, both)):
        assert np.array_equal(verified_tokens(both, texts).tokens, expected.window)
        assert np.array_equal(verified_tokens(both, texts).experts, expected.experts)
    assert len(verified_tokens(both, []).tokens) == 0


def lacking(name: str) -> None:
    trace = one_text(0, gamma_max=2)
    one = make_sensor(name, GEOMETRY)
    seen = next(iter_windows(trace, gamma=2))
    one.on_draft(seen.step.window, seen.draft_gates)
    one.on_layer(1, seen.next_gates)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: make_sensor("verify-count", FOUR),
            "sensor is 'verify-count'; .*; did you mean 'verify-counts'?",
        ),
        (lambda: lacking("draft-gates"), "'draft-gates' was given no 'draft-gates'; expected: a trace with"),
        (lambda: lacking("next-gate"), "'next-gate' was given no 'next-gate'"),
        (
            lambda: make_sensor("draft-gates", FOUR).on_draft(np.zeros(2), np.full((1, 1, 1), 4)),
            "names experts 4 to 4; expected: 0 to 3, or -1",
        ),
        (
            lambda: make_sensor("next-gate", FOUR).on_layer(1, np.full((1, 1), -2)),
            "names experts -2 to -2",
        ),
    ],
)
def test_bad_input_says_what_is_expected(call, message) -> None:
    with pytest.raises(MoespacError, match=message):
        call()
