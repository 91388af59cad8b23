"""What each live widget sends and refuses, without a browser."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_nb.estimator.sensors import make_sensor
from moespac_nb.estimator.utility import RULES, make_estimator
from moespac_widgets import DemandMap, Stepper, UtilityInspector
from moespac_widgets.views.demand_map.demand_map import routing_distance_bits
from moespac_widgets.views.trace_rounds import Rounds
from moespac_widgets.views.utility_history import evidence_over_time, trail, utility_over_time
from tests.helpers.jupyter.sizes import unpacked, with_geometry
from tests.helpers.traces.strategies import GEOMETRY, one_text, several

# -- stepper ----------------------------------------------------------------------------------------------


def test_the_stepper_sends_every_round_and_its_routing_once() -> None:
    trace = one_text(3, sampled=True, steps=9)
    data = Stepper(trace)._data
    assert np.array_equal(unpacked(data["gamma"]), trace.gamma)
    assert np.array_equal(unpacked(data["accepted"]), trace.accepted)
    assert np.array_equal(unpacked(data["window"]), trace.window)
    assert np.array_equal(unpacked(data["experts"]), trace.experts)
    assert unpacked(data["weights"]) * data["weight_unit"] == pytest.approx(trace.gate_weights, abs=1e-4)
    assert np.array_equal(unpacked(data["emitted_ids"]), trace.committed_ids)
    assert np.array_equal(unpacked(data["asked"]), (trace.counts > 0).sum(axis=0))
    assert set(map(int, data["pieces"])) >= set(trace.window.tolist())


def test_the_stepper_takes_a_dense_trace_at_a_gamma() -> None:
    dense = one_text(2, gamma_max=3, steps=7)
    for gamma in (1, 3):
        data = Stepper(dense, gamma=gamma)._data
        assert unpacked(data["emitted"]).sum() == len(dense)
        assert unpacked(data["gamma"]).max() == gamma


def test_several_texts_are_told_apart() -> None:
    trace = several([1, 2], gamma_max=None, sampled=False, extras=False, steps=4)
    assert unpacked(Stepper(trace)._data["text_of"]).tolist() == [0] * 4 + [1] * 4


def test_a_trace_above_the_limit_is_thinned_and_it_is_said() -> None:
    trace = one_text(1, steps=20)
    for view in (Stepper(trace, limit_bytes=1000), DemandMap(trace, limit_bytes=100)):
        shown = unpacked(view._data["kept"])
        assert 1 < len(shown) < 20
        assert view._notices[0].startswith("Thinned: of 20 steps one in ")
    assert len(unpacked(Stepper(trace, limit_bytes=1000)._data["emitted"])) == 20  # the text stays whole


# -- demand -----------------------------------------------------------------------------------------------


def test_the_demand_map_sends_counts_and_amounts() -> None:
    trace = one_text(3, steps=6)
    utility = utility_over_time(trace)
    data = DemandMap(trace, amounts={"utility": utility}, amount="utility")._data
    assert np.array_equal(unpacked(data["amounts"]["counts"]), trace.counts)
    assert np.array_equal(unpacked(data["amounts"]["utility"]), utility)
    assert np.array_equal(unpacked(data["first"])[2], trace[2].experts[0])


def test_utility_of_a_dense_trace_is_that_of_its_rounds() -> None:
    dense = one_text(2, gamma_max=3, steps=9)
    for gamma in (1, 3):
        utility = utility_over_time(dense, gamma=gamma)
        view = DemandMap(dense, gamma=gamma, amounts={"utility": utility})
        assert view._limits["amount"] == ["counts", "utility"]
        assert len(utility) == len(list(dense.rounds(gamma)))


def test_the_busiest_expert_is_chosen_where_none_is_named() -> None:
    trace = one_text(3, steps=6)
    assert DemandMap(trace, layer=1).expert == trace.counts.sum(axis=0)[1].argmax()


@pytest.mark.parametrize(
    ("amounts", "words"),
    [({"counts": 0}, "any name but 'counts'"), ({"x": np.zeros(3)}, "has shape"),
     ({"x": -1}, "amount 'x' has other values; expected: whole numbers, 0 to 255"),
     *(({"x": value}, "whole numbers") for value in (0.5, 300.0, np.nan, np.inf))],
)  # fmt: skip
def test_amounts_that_do_not_fit_are_refused(amounts: dict[str, Any], words: str) -> None:
    trace = one_text(1)
    full = {k: v if np.ndim(v) else np.full(trace.counts.shape, v) for k, v in amounts.items()}
    with pytest.raises(MoespacError, match=words):
        DemandMap(trace, amounts=full)


def test_domains_of_like_models_are_compared_by_shares() -> None:
    a, b = one_text(1), one_text(2)
    data = DemandMap(a, against=b, show="domains")._data["domains"]
    shares = unpacked(data["shares"][0])
    assert shares.sum(axis=1) == pytest.approx([GEOMETRY.top_k] * 2)
    with pytest.raises(MoespacError, match="expected: a trace of the same geometry"):
        DemandMap(a, against=with_geometry(1, 4, 2))
    with pytest.raises(MoespacError, match="show is 'domains'; expected: time, bit"):
        DemandMap(a, show="domains")


def test_routings_are_as_far_apart_as_jensen_and_shannon_say() -> None:
    p, q = np.array([[1.0, 0], [2, 2]]), np.array([[0, 3.0], [1, 1]])
    assert routing_distance_bits(p, q) == pytest.approx([1, 0])
    r = np.array([[1.0, 1], [1, 0]])
    half = routing_distance_bits(np.array([[1.0, 0], [1, 1]]), r)
    assert half == pytest.approx([0.311278, 0.311278], abs=1e-6)  # h(1/4) - h(1/2)/2


# -- utility ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", RULES)
def test_the_trail_is_what_the_rule_does_text_by_text(rule: str) -> None:
    trace = several([1, 2], gamma_max=None, sampled=False, extras=False, steps=4)
    rounds = Rounds.of(trace)
    states = trail(rounds, evidence_over_time(rounds, "verify-counts"), rule, K=3, gamma=4)
    for n, step in enumerate(trace):
        if step.index == 0:
            again = make_estimator(rule, 2, 6, K=3, gamma=4)
        assert np.array_equal(states["before"][n], again.s)
        again.update(step.counts)
        for name in ("f", "delta", "up", "down", "branch", "s", "value", "next_up", "next_down"):
            assert np.array_equal(states[name][n], getattr(again.state(), name), equal_nan=True)


@pytest.mark.parametrize(
    "name", ["verify-counts", "committed-counts", "last-window", "recency", "token-table"]
)
def test_evidence_is_what_the_sensor_says_at_its_moment(name: str) -> None:
    trace = one_text(3, steps=6)
    told = evidence_over_time(Rounds.of(trace), name)
    one = make_sensor(name, trace.geometry)
    one.on_prefill(trace.prefill())
    for n, step in enumerate(trace):
        drafted = one.on_draft(step.window)
        verified = one.on_verify(step)
        assert told[n] == pytest.approx(drafted if verified is None else verified)


def test_one_layer_and_expert_reads_as_the_inspector_shows_it() -> None:
    trace = one_text(3, steps=8)
    view = UtilityInspector(trace, rule="level", up=2, layer=1, K=3)
    block = {name: unpacked(packed) for name, packed in view.answer_block("level", 1).items()}
    again = make_estimator("level", 2, 6, K=3, gamma=int(trace.gamma.max()), up=2)
    for n, step in enumerate(trace):
        again.update(step.counts)
        seen = again.state().of(1, 4)
        for name in ("f", "delta", "up", "down", "s"):
            assert block[name][n, 4] == pytest.approx(seen[name])
    assert set(view._data["blocks"]) == {"level/0", "level/1"}
    other = {name: unpacked(packed) for name, packed in view.answer_block("paper", 0).items()}
    assert other["s"].shape == (8, 6)


def test_a_page_of_the_inspector_holds_what_fits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    view = UtilityInspector(one_text(3), rule="ema", layer=1)
    assert set(view.page_data()["blocks"]) == {f"{rule}/{layer}" for rule in RULES for layer in (0, 1)}
    monkeypatch.setattr("moespac_widgets.views.utility_inspector.utility_inspector.PAGE_BYTES", 0)
    assert set(view.page_data()["blocks"]) == {"ema/1"}


@pytest.mark.parametrize(
    ("options", "words"),
    [({"rule": "papers"}, "did you mean 'paper'"), ({"sensor": "verify"}, "sensor is 'verify'; expected"),
     ({"rule": "level", "forgetting": 0.1}, "forgetting was given to"),
     ({"sensor": "draft-gates"}, "a trace with that channel"),
     ({"sensor": "popularity"}, "nothing to go by")],
)  # fmt: skip
def test_a_rule_or_sensor_that_cannot_be_is_explained(options: dict[str, Any], words: str) -> None:
    with pytest.raises(MoespacError, match=words):
        UtilityInspector(one_text(3), **options)
