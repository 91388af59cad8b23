"""Traces: steps are views of columns, parts join to wholes, and what disagrees is not a trace."""

from __future__ import annotations

import csv
import sys
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb.trace.editing import concatenate, redact
from moespac_nb.trace.locality import committed_experts, distinct_by_gamma, locality, overlap
from moespac_nb.trace.schema import COLUMNS, Channel
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.table import COLUMNS as TABLE
from moespac_nb.trace.table import table, to_csv, to_frame
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.traces.steps import same_step
from tests.helpers.traces.steps import text as by_hand
from tests.helpers.traces.strategies import ANY_TRACE, GEOMETRY, VOCABULARY, one_text, routed, with_extras

few = settings(max_examples=25)


def test_a_step_comes_out_as_it_went_in():
    trace = one_text(3, sampled=True)
    again = Trace.of(trace.texts[0], GEOMETRY, VOCABULARY, trace.prefill(), list(trace), trace.token_strings)
    assert again == trace
    assert all(same_step(a, b) for a, b in zip(trace, again, strict=True))
    assert same_step(trace[-1], trace[len(trace) - 1])
    with pytest.raises(IndexError):
        trace[len(trace)]


def test_a_step_is_a_view_that_nobody_can_write_to():
    trace = one_text(3)
    assert np.shares_memory(trace[1].experts, trace.experts)
    with pytest.raises(ValueError, match="read-only"):
        trace[1].experts[0] = 0


@given(ANY_TRACE)
@few
def test_counts_are_those_of_the_steps(trace):
    assert trace.counts.shape == (len(trace), GEOMETRY.layers, GEOMETRY.experts)
    for counts, step in zip(trace.counts, trace, strict=True):
        assert np.array_equal(counts, step.counts)


@given(ANY_TRACE, st.data())
@few
def test_parts_join_to_the_whole(trace, data):
    places = data.draw(st.lists(st.integers(0, len(trace)), max_size=3))
    bounds = [0, *sorted(places), len(trace)]
    parts = [trace[a:b] for a, b in pairwise(bounds)]
    assert [len(part) for part in parts] == np.diff(bounds).tolist()
    assert concatenate(parts) == trace


@given(ANY_TRACE, st.data())
@few
def test_a_part_has_the_steps_of_the_whole(trace, data):
    first = data.draw(st.integers(0, len(trace) - 1))
    part = trace[first : first + 3]
    for i, step in enumerate(part):
        assert step.position == trace[first + i].position
        assert np.array_equal(step.experts, trace[first + i].experts)
        assert np.array_equal(step.window, trace[first + i].window)


def test_one_value_makes_two_traces_different():
    trace = with_extras(one_text(1), 0)
    assert trace == replace(trace)
    for name, array in trace.columns.items():
        if name in ("draft_ms", "gate_weights", "scores", "prompt_gate_weights"):
            changed = array.copy()
            changed.flat[0] += 0.25
            assert trace != replace(trace, **{name: changed}), name
    table = trace.channels["table"]
    other = replace(table, values=table.values + np.int16(1))
    assert trace != replace(trace, channels={**trace.channels, "table": other})
    assert trace != replace(trace, texts=(replace(trace.texts[0], seed=99),))
    assert trace != 3


def test_texts_recorded_twice_stay_two():
    trace = one_text(1)
    twice = concatenate([trace, trace])
    assert len(twice.texts) == 2
    assert twice[len(trace) :] == trace


def another_geometry(trace):
    return replace(trace, geometry=MoEShape(2, 7, 2))


def without_a_sensor(trace):
    return replace(trace, channels={"table": trace.channels["table"]})


def without_scores(trace):
    return replace(trace, scores=None, score_experts=None)


def another_vocabulary(trace):
    return replace(trace, vocabulary=VOCABULARY + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (another_geometry, r"its geometry is .*experts=7.*before it .*experts=6"),
        (another_vocabulary, "its vocabulary is 41, before it 40"),
        (without_a_sensor, "its channels is"),
        (without_scores, "its row shapes is"),
        (
            lambda trace: replace(trace, token_strings={3: "other"}),
            "token 3 reads '«3»' in one trace and 'other'",
        ),
    ],
)
def test_what_differs_in_kind_cannot_be_joined(change, message):
    trace = with_extras(one_text(1), 0)
    with pytest.raises(MoespacError, match=message):
        concatenate([trace, change(trace)])


def test_no_trace_and_strides_are_refused():
    with pytest.raises(MoespacError, match="no trace to concatenate"):
        concatenate([])
    with pytest.raises(MoespacError, match="strides of 2"):
        one_text()[::2]
    with pytest.raises(MoespacError, match="no step"):
        Trace.of(one_text().texts[0], GEOMETRY, VOCABULARY, one_text().prefill(), [])


# what a dense trace is


def test_a_shorter_round_of_a_dense_trace_is_a_prefix_of_the_recorded_one():
    dense = one_text(5, gamma_max=4, steps=12)
    text = dense.committed_ids.tolist()
    for i in range(len(dense)):
        for gamma in range(5):
            step, whole = dense.step(i, gamma), dense.step(i)
            assert step.gamma == min(gamma, whole.gamma)
            assert np.array_equal(step.window, whole.window[: step.gamma + 1])
            assert step.accepted == min(whole.accepted, step.gamma)
            assert step.emitted.tolist() == text[i : i + step.accepted + 1]
            assert np.isnan(step.verify_ms) == (step.gamma < whole.gamma)


@pytest.mark.parametrize("gamma", [0, 1, 2, 4])
def test_rounds_walk_every_text_of_a_dense_trace_to_its_end(gamma):
    dense = concatenate([one_text(seed, gamma_max=4, steps=9) for seed in (1, 2)])
    steps = list(dense.rounds(gamma))
    assert np.concatenate([step.emitted for step in steps]).tolist() == dense.committed_ids.tolist()
    assert [step.index for step in steps].count(0) == 2
    assert max(step.gamma for step in steps) == gamma


def test_a_step_of_a_dense_trace_emits_no_more_than_its_own_text_has():
    rows = [([[[0]], [[1]], [[2]]], 2)] * 4  # all that is drafted is right, up to the last token
    dense = concatenate([by_hand([], rows, gamma_max=2)] * 2)
    assert [len(step.emitted) for step in dense] == [3, 3, 2, 1] * 2


def test_rounds_ask_a_policy_each_time_with_the_last_step():
    class Policy:
        seen: list[int | None] = []  # noqa: RUF012  # read by the test

        def next_gamma(self, last_step):
            self.seen.append(None if last_step is None else last_step.index)
            return len(self.seen) % 4

    steps = list(one_text(5, gamma_max=4, steps=9).rounds(Policy()))
    assert Policy.seen == [None, *range(len(steps) - 1)]


@pytest.mark.parametrize(
    ("gamma_max", "gamma", "message"),
    [(None, 2, "in a dense trace"), (4, 5, "0 to 4"), (4, -1, "0 and more")],
)
def test_a_round_that_was_not_recorded_is_refused(gamma_max, gamma, message):
    with pytest.raises(MoespacError, match=message):
        one_text(gamma_max=gamma_max).step(0, gamma)


# what is no trace


def put(name, row, value):
    """One value of one column changed."""

    def change(trace):
        array = getattr(trace, name).copy()
        array[row] = value
        return {name: array}

    return change


def shortened(name):
    return lambda trace: {name: getattr(trace, name)[:-1]}


def cast(name, dtype):
    return lambda trace: {name: getattr(trace, name).astype(dtype)}


def text_with(**changes):
    return lambda trace: {"texts": (replace(trace.texts[0], **changes),)}


def sensed(name="s", rows="verified", values=None):
    return lambda trace: {"channels": {name: Channel(rows, values)}}


def channel(rows="verified", dtype="int16", layers=GEOMETRY.layers, value=0):
    """A sensor that should name experts."""

    def change(trace):
        count = len(trace.window if rows == "verified" else trace.draft_probs)
        return {"channels": {"next-gate": Channel(rows, np.full((count, layers, 3), value, dtype))}}

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *[(shortened(name), rf"^{name} ") for name in ("experts", "gate_weights", "window", "draft_probs")],
        *[(cast(name, "int64"), rf"^{name} is an array of int64; expected: one of ") for name in COLUMNS],
        (put("experts", 0, GEOMETRY.experts), "^experts is 6; expected: 0 to 5"),
        (put("experts", 0, -1), "^experts is -1"),
        (put("prompt_experts", 0, 6), "^prompt_experts is 6"),
        (put("score_experts", 0, 6), "^score_experts is 6"),
        (put("window", 1, VOCABULARY), "^window is 40; expected: 0 to 39"),
        (put("window", 0, -1), "^window is -1"),
        (put("target_top_ids", 0, VOCABULARY), "^target_top_ids is 40"),
        (put("prompt_ids", 0, -1), "^prompt_ids is -1"),
        (put("draft_probs", 0, np.nan), "^draft_probs is nan"),
        (put("target_probs", 0, 1.5), "^target_probs is 1.5"),
        (put("gate_weights", 0, np.inf), "^gate_weights is inf"),
        (put("scores", 0, np.nan), "^scores is nan"),
        (put("verify_ms", 0, -1.0), "^verify_ms is -1.0"),
        (put("uniforms", 0, 1.0), "^uniforms is 1.0"),
        (put("uniforms", 0, np.nan), "^uniforms is nan"),
        (put("gamma", 0, -2), "^gamma is -2 at row 0"),
        (put("gamma", 0, 2**31 - 1), "^window is of shape"),
        (put("accepted", 0, 9), "^accepted disagrees at step 0"),
        (put("step_index", 2, 7), "^step_index disagrees at step 2"),
        (put("step_position", 2, 77), "^step_position disagrees at step 2"),
        (lambda trace: {"scores": None}, "^scores is there without"),
        (lambda trace: {"experts": trace.experts[:, :1]}, "^experts is of shape"),
        (lambda trace: {"experts": [1, 2]}, "^experts is an array of list"),
        (lambda trace: {"experts": trace.experts[..., 0]}, "^experts is of shape .* expected: 3 dimensions"),
        (lambda trace: {"geometry": MoEShape(2, 6, 7)}, "^geometry is"),
        (lambda trace: {"geometry": MoEShape(2, -6, 2)}, "^geometry.experts is -6"),
        (lambda trace: {"vocabulary": 0}, "^vocabulary is 0"),
        (lambda trace: {"texts": ()}, "^text_steps is of shape"),
        (lambda trace: {"token_strings": {99: "x"}}, "^token_strings is 99"),
        (lambda trace: {"token_strings": {1: 2}}, "^token_strings.1 is 2"),
        (text_with(mode="hot"), r"^texts\[0\].mode is 'hot'"),
        (text_with(seed=True), r"^texts\[0\].seed is True; expected: int"),
        (text_with(prompt=3), r"^texts\[0\].prompt is 3; expected: str or null"),
        (text_with(temperature=float("nan")), r"^texts\[0\].temperature is nan"),
        (text_with(top_p=1.5), r"^texts\[0\].top_p is 1.5"),
        (text_with(min_p=-0.5), r"^texts\[0\].min_p is -0.5; expected: null, or 0 to 1"),
        (text_with(stop_strings="x"), r"^texts\[0\].stop_strings is 'x'; expected: tuple"),
        (text_with(stop_strings=(5,)), r"^texts\[0\].stop_strings is \(5,\); expected: texts"),
        (text_with(processors=(5,)), r"^texts\[0\].processors is \(5,\); expected: texts"),
        (text_with(stop_ids=(40,)), r"^texts\[0\].stop_ids is 40"),
        (text_with(gamma_max=0), r"^texts\[0\].gamma_max is 0"),
        (text_with(versions={"a": 1}), r"^texts\[0\].versions"),
        (text_with(redacted=True), r"^texts\[0\].prompt is there though redacted"),
        (text_with(mode="greedy"), "^uniforms is a number in a greedy text"),
        (sensed(name="../up"), "^channels is '../up'"),
        (sensed(rows="steps"), "^channels.s.rows is 'steps'"),
        (sensed(values=np.zeros(3, np.float32)), r"^channels.s is of shape \(3,\); expected: \d+ rows"),
        (sensed(values=np.zeros(3, object)), "^channels.s is of object"),
        (sensed(values=[1.0]), "^channels.s is of None"),
        (sensed("next-gate", "drafted", np.zeros(3, np.int16)), r"^channels.next-gate is of shape \(3,\)"),
        (channel(rows="drafted"), "^channels.next-gate.rows is 'drafted'; expected: 'verified'"),
        (channel(dtype="float32"), "^channels.next-gate is of float32"),
        (channel(layers=1), r"^channels.next-gate is of int16 and shape .*expected: int16 \(rows, 2 layers"),
        (channel(value=GEOMETRY.experts), "^channels.next-gate is 6; expected: -1 to 5"),
    ],
)
def test_what_disagrees_is_no_trace(change, message):
    trace = with_extras(one_text(4, sampled=True), 0)
    assert trace.gamma[0] > 0
    assert trace.text_prompt[0] > 0
    with pytest.raises(MoespacError, match=message):
        replace(trace, **change(trace))


@pytest.mark.parametrize("sampled", [True, False])
def test_a_token_that_the_rule_rejects_cannot_be_an_accepted_one(sampled):
    trace = one_text(4, sampled=sampled, steps=9)
    step = int(np.flatnonzero(trace.accepted)[0])
    at, of = trace.starts["verified"][step], trace.starts["drafted"][step]
    changed = (
        put("uniforms", of, 0.999) if sampled else put("target_ids", at, (trace.window[at + 1] + 1) % 40)
    )
    low = {"target_probs": np.full_like(trace.target_probs, 0.5)} if sampled else {}
    with pytest.raises(MoespacError, match=f"^accepted disagrees at step {step}; expected: no more than"):
        replace(trace, **changed(trace), **low)


def test_a_text_that_is_not_what_was_accepted_is_no_trace():
    trace = one_text(4, steps=9)
    step = int(np.flatnonzero(trace.accepted)[0])
    at = trace.starts["committed"][step]
    with pytest.raises(MoespacError, match=f"^committed_ids disagrees at step {step}"):
        replace(trace, **put("committed_ids", at, (trace.committed_ids[at] + 1) % 40)(trace))
    follows = trace.starts["verified"][1]
    with pytest.raises(MoespacError, match=r"^window disagrees at step 1"):
        replace(trace, **put("window", follows, (trace.window[follows] + 1) % 40)(trace))


def without_row(trace: Trace, row: int) -> dict:
    """A dense trace from which one row was taken out, its counts set right."""
    starts = trace.starts
    rows = {"steps": [row], "committed": [row]}
    for axis in ("verified", "drafted"):
        rows[axis] = range(starts[axis][row], starts[axis][row + 1])
    kept = {
        name: np.delete(array, rows[COLUMNS[name].axis], axis=0)
        for name, array in trace.columns.items()
        if COLUMNS[name].axis in rows
    }
    return {**kept, "text_steps": trace.text_steps - np.int32(1)}


def test_a_dense_trace_with_a_missing_row_is_refused():
    dense = one_text(5, gamma_max=3, steps=8)
    with pytest.raises(MoespacError, match=r"^step_index disagrees at step 4"):
        replace(dense, **without_row(dense, 4))
    hidden = without_row(dense, 4)
    hidden["step_index"] = np.arange(7, dtype=np.int32)
    with pytest.raises(MoespacError, match=r"^step_position disagrees at step 4.* there is a hole before it"):
        replace(dense, **hidden)


def test_a_dense_trace_with_a_short_row_is_refused():
    dense = one_text(5, gamma_max=3, steps=8)
    with pytest.raises(
        MoespacError, match=r"^gamma disagrees at step 0; expected: 4 a row.* there is a hole"
    ):
        replace(dense, texts=(replace(dense.texts[0], gamma_max=4),))


def test_a_row_of_a_dense_trace_may_end_with_a_stop_token():
    dense = one_text(5, gamma_max=3, steps=8)
    ends = dense.window[dense.starts["verified"][1:5] - 1]
    stopped = replace(dense.texts[0], gamma_max=4, stop_ids=tuple(ends.tolist()))
    assert len(replace(dense, texts=(stopped,))) == 8


# prompts taken out


def test_a_redacted_trace_tells_nothing_of_the_prompt(tmp_path):
    trace = one_text(4)
    hidden = redact(trace)
    assert hidden.texts[0].prompt is None
    assert set(hidden.prompt_ids.tolist()) == {-1}
    assert hidden.window[0] == -1
    assert np.array_equal(hidden.window[1:], trace.window[1:])
    assert set(hidden.token_strings) < set(trace.token_strings)
    hidden.save(tmp_path / "hidden.npz")
    assert Trace.load(tmp_path / "hidden.npz") == hidden
    for saved, told in (trace, True), (hidden, False):
        saved.save(tmp_path / "trace.npz")
        assert (b"said" in np.load(tmp_path / "trace.npz")["header.json"].tobytes()) is told
    assert concatenate([hidden[:2], hidden[2:]]) == hidden


# tables


def test_the_table_has_a_row_for_each_expert_chosen():
    trace = concatenate([one_text(4), one_text(5)])
    rows = table(trace)
    assert tuple(rows) == TABLE
    assert {len(column) for column in rows.values()} == {trace.experts.size}
    for text, step in zip(trace.text_of_step, trace, strict=True):
        of_step = (rows["text"] == text) & (rows["step"] == step.index)
        for offset, (token, chosen) in enumerate(zip(step.window, step.experts, strict=True)):
            here = of_step & (rows["offset"] == offset)
            assert set(rows["token"][here]) == {token}
            assert set(rows["position"][here]) == {step.position + offset}
            assert set(rows["accepted"][here]) == {offset <= step.accepted}
            assert np.array_equal(rows["expert"][here], chosen.ravel())
            assert rows["layer"][here].tolist() == [0, 0, 1, 1]
            assert rows["rank"][here].tolist() == [0, 1, 0, 1]


def test_a_frame_and_the_csv_are_the_table(tmp_path):
    pandas = pytest.importorskip("pandas")
    trace = one_text(4)
    frame = to_frame(trace)
    to_csv(trace, tmp_path / "trace.csv")
    pandas.testing.assert_frame_equal(pandas.read_csv(tmp_path / "trace.csv"), frame, check_dtype=False)
    assert frame.gate_weight.tolist() == trace.gate_weights.ravel().tolist()


def test_csv_needs_nothing_but_python(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    trace = one_text(4)
    to_csv(trace, tmp_path / "trace.csv")
    with (tmp_path / "trace.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["expert"]) for row in rows] == trace.experts.ravel().tolist()
    with pytest.raises(MoespacError, match="cannot be written"):
        to_csv(trace, tmp_path)
    rows_that_break = lambda *_, **__: (1 / 0 for _ in [0])  # noqa: E731
    monkeypatch.setattr("moespac_nb.trace.table.zip", rows_that_break, raising=False)
    before = (tmp_path / "trace.csv").read_bytes()
    with pytest.raises(ZeroDivisionError):
        to_csv(trace, tmp_path / "trace.csv")
    assert (tmp_path / "trace.csv").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["trace.csv"]
    with pytest.raises(MoespacError, match="pip install pandas"):
        to_frame(trace)


# locality


def placed(experts: list[list[int]], trace: Trace) -> Trace:
    """A greedy trace of γ = 0 whose positions go to these experts, the same in both layers."""
    chosen = np.array(experts, np.int16)[:, None].repeat(GEOMETRY.layers, axis=1)
    assert len(chosen) == len(trace.window)
    return replace(trace, experts=chosen)


def plain(steps: int) -> Trace:
    """Decoding without a draft, replayed from a dense trace."""
    trace = one_text(0, gamma_max=1, steps=steps)
    text = replace(trace.texts[0], gamma_max=None)
    return Trace.of(text, GEOMETRY, VOCABULARY, trace.prefill(), list(trace.rounds(0)))


def test_overlap_worked_by_hand():
    trace = placed([[0, 1], [0, 1], [2, 3], [3, 2]], plain(4))
    in_order, shuffled = overlap(trace)
    assert in_order == pytest.approx(2 / 3)  # 0-1 and 2-3 stay, the change in between keeps nothing
    assert shuffled == pytest.approx(1 / 3)  # of the six pairs, two are alike


def test_shuffled_overlap_is_the_mean_over_all_orders():
    rng = np.random.default_rng(0)
    trace = plain(30)
    trace = replace(trace, experts=routed(rng, 30)[0])
    orders = [overlap(replace(trace, experts=rng.permutation(trace.experts)))[0] for _ in range(300)]
    assert overlap(trace)[1] == pytest.approx(np.mean(orders), abs=0.01)


def test_locality_counts_what_was_committed_and_what_a_window_asks_for():
    trace = one_text(4, steps=9)
    expected = np.concatenate([step.experts[: len(step.emitted)] for step in trace])
    assert np.array_equal(committed_experts(trace, 0), expected)
    assert np.array_equal(committed_experts(concatenate([one_text(5), trace]), 1), expected)
    assert locality(trace)["acceptance_rate"] == trace.accepted.sum() / trace.gamma.sum()
    distinct = distinct_by_gamma(trace)
    assert distinct[0] == GEOMETRY.top_k
    long = [step for step in trace if step.gamma >= 2]
    by_hand = [len(np.unique(step.experts[:3, layer])) for step in long for layer in range(2)]
    assert distinct[2] == pytest.approx(np.mean(by_hand))


def test_acceptance_by_offset_worked_by_hand():
    one, two = [[[0]]] * 2, [[[0]]] * 3
    trace = by_hand([], [(two, 2), (two, 0), (one, 1), (one, 0)])
    assert locality(trace)["acceptance_by_offset"] == [2 / 4, 1 / 2]
    assert locality(trace)["acceptance_rate"] == 3 / 6


def test_an_empty_part_has_no_figures():
    assert locality(one_text()[:0]) == {
        "overlap": None,
        "overlap_shuffled": None,
        "overlap_by_layer": None,
        "distinct_experts_by_gamma": [],
        "distinct_experts_in_a_row": [],
        "acceptance_rate": None,
        "acceptance_by_offset": [],
    }
