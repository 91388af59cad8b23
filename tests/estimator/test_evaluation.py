"""Foretelling: worked by hand on two layers of four experts."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError, Prefill
from moespac_nb.cli.main import main
from moespac_nb.datasets.prompts import load_prompts
from moespac_nb.estimator.evaluation import (
    CHANCE,
    EVIDENCE,
    LAST_TOKEN,
    LAST_WINDOW,
    evaluate_predictors,
    recall_by_predictor,
)
from moespac_nb.estimator.sensors import SENSORS, Sensor, make_sensor
from moespac_nb.estimator.utility import RULES, make_estimator
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.schema import Channel
from moespac_nb.trace.step import MoEShape, Step, expert_counts
from moespac_nb.trace.trace import Trace
from moespac_nb.trace.windows import DRAFT_GATES, NEXT_GATE, iter_windows
from tests.helpers.steps import step
from tests.helpers.trace_strategies import GEOMETRY, one_text

NOTHING_READ = Prefill(
    np.zeros(0, np.int64), np.zeros((0, 1, 1), np.int16), np.zeros((0, 1, 1), np.float32), 0.0
)


def test_counts_rank_by_use_and_the_last_token_by_recency() -> None:
    first = step(
        0, 0, [[[3]], [[0]], [[3]]], accepted=1
    )  # counts: 3 twice, 0 once; the second 3 was rejected
    second = step(1, 2, [[[3]], [[3]], [[3]]], accepted=0)
    recall = recall_by_predictor(NOTHING_READ, [first, second], size=1)
    assert recall[LAST_WINDOW] == 1.0  # expert 3 served most positions
    assert recall[LAST_TOKEN] == 0.0  # the last committed token used expert 0
    assert recall[CHANCE] == 0.25


def test_what_is_missing_is_filled_by_recency_from_the_prompt_on() -> None:
    prefill = Prefill(
        np.zeros(2, np.int64), np.array([[[1]], [[2]]], np.int16), np.ones((2, 1, 1), np.float32), 0.0
    )
    steps = [step(0, 2, [[[0]]], accepted=0), step(1, 3, [[[2]]], accepted=0)]
    assert recall_by_predictor(prefill, steps, size=2)[LAST_WINDOW] == 1.0  # 0 by count, then 2 before 1
    assert recall_by_predictor(prefill, steps, size=1)[LAST_WINDOW] == 0.0


def test_popularity_names_its_favourites() -> None:
    steps = [step(0, 0, [[[0]]], accepted=0), step(1, 1, [[[3]]], accepted=0)]
    recall = recall_by_predictor(NOTHING_READ, steps, 1, {"always 3": np.array([[0.0, 0.0, 0.0, 1.0]])})
    assert recall["always 3"] == 1.0


@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_recall_lies_in_0_to_1_grows_with_size_and_is_1_for_all_experts(n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)

    def routes() -> list[list[list[int]]]:
        return [[rng.permutation(8)[:2].tolist() for _ in range(3)] for _ in range(4)]

    steps = [step(i, 4 * i, routes(), accepted=int(rng.integers(4)), per_layer=8) for i in range(n)]
    prefill = Prefill(
        np.zeros(0, np.int64), np.zeros((0, 3, 2), np.int16), np.zeros((0, 3, 2), np.float32), 0.0
    )
    small, all_of_them = (recall_by_predictor(prefill, steps, s) for s in (size, 8))
    for name, value in small.items():
        assert 0 <= value <= all_of_them[name] == 1


def test_counts_are_exact() -> None:
    experts = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 1]]])
    assert expert_counts(experts, 4).tolist() == [[2, 1, 1, 0], [0, 1, 2, 1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: recall_by_predictor(NOTHING_READ, s[:1], 1), "1 steps"),
        (lambda s: recall_by_predictor(NOTHING_READ, s, 0), "size is 0"),
        (lambda s: recall_by_predictor(NOTHING_READ, s, 5), "from 1 to 4"),
        (
            lambda s: recall_by_predictor(NOTHING_READ, s, 1, {"odd": np.zeros((2, 4))}),
            r"'odd' has shape \(2, 4\)",
        ),
    ],
)
def test_bad_input_says_what_is_accepted(call, message) -> None:
    steps = [step(0, 0, [[[0]]], accepted=0), step(1, 1, [[[3]]], accepted=0)]
    with pytest.raises(MoespacError, match=message):
        call(steps)


# foretell: sensors and rules over a trace.


class Oracle(Sensor):
    """Knows the window before it is verified: what no sensor can, and the most that foretelling can find."""

    name, available_at = "oracle", "drafted"

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(GEOMETRY)
        self._steps = {step.window.tobytes(): step for step in steps}

    def on_draft(self, tokens: np.ndarray, _gates: np.ndarray | None = None, /) -> np.ndarray:
        return self._steps[tokens.tobytes()].counts


@pytest.mark.parametrize("gamma_max", [None, 3])
def test_who_knows_the_window_finds_all_of_it_and_its_complement_nothing(gamma_max: int | None) -> None:
    trace = one_text(1, gamma_max=gamma_max, steps=8)
    gamma = None if gamma_max is None else 2
    steps = [seen.step for seen in iter_windows(trace, 0, gamma)]
    found = evaluate_predictors(
        trace, {"oracle": Oracle(steps)}, GEOMETRY.experts, gamma=gamma, rules=[EVIDENCE]
    )
    everything = found["oracle", EVIDENCE]
    assert (everything.recall, everything.work) == (1, 1)
    assert everything.accuracy == pytest.approx(everything.precision)  # all are named, and cold ones wrongly
    assert everything.windows == len(steps) - 1
    two = evaluate_predictors(trace, {"oracle": Oracle(steps)}, 2, gamma=gamma, rules=[EVIDENCE])[
        "oracle", EVIDENCE
    ]
    assert two.precision == 1  # every window uses 2 experts or more


@given(st.integers(0, 10**6), st.sampled_from([None, 3]), st.integers(1, 6))
@settings(max_examples=15)
def test_figures_are_those_of_naming_one_window_after_another(
    seed: int, gamma_max: int | None, size: int
) -> None:
    """Reference: one sensor and one rule at a time, sets of experts, layer by layer."""
    trace = concatenate(
        [one_text(seed, gamma_max=gamma_max, steps=5), one_text(seed + 1, gamma_max=gamma_max, steps=5)]
    )
    gamma = None if gamma_max is None else 2
    of_all = evaluate_predictors(
        trace, {name: make_sensor(name, GEOMETRY) for name in ("verify-counts", "recency")}, size, gamma=gamma
    )
    for rule in (EVIDENCE, *RULES):
        figures = []
        for text in range(2):
            steps = [seen.step for seen in iter_windows(trace, text, gamma)]
            longest = max(trace.gamma[trace.text_of_step == text]) if gamma is None else gamma
            state = (
                None if rule == EVIDENCE else make_estimator(rule, *steps[0].counts.shape, gamma=int(longest))
            )
            last = np.full(steps[0].counts.shape, -1)
            for position, chosen in enumerate(trace.prefill(text).experts):
                np.put_along_axis(last, chosen.astype(int), position, 1)
            for now, following in pairwise(steps):
                for offset, chosen in enumerate(now.experts[: now.accepted + 1]):
                    np.put_along_axis(last, chosen.astype(int), now.position + offset, 1)
                score = now.counts if state is None else state.update(now.counts)
                for layer in range(GEOMETRY.layers):
                    rank = sorted(
                        range(GEOMETRY.experts),
                        key=lambda e, s=score[layer], r=last[layer]: (-s[e], -r[e], e),
                    )
                    named, needed = set(rank[:size]), set(np.flatnonzero(following.counts[layer]).tolist())
                    hits = len(named & needed)
                    wrong = len(named ^ needed)
                    work = following.counts[layer][list(named)].sum() / following.counts[layer].sum()
                    figures.append((1 - wrong / GEOMETRY.experts, hits / size, hits / len(needed), work))
        if figures:
            found = of_all["verify-counts", rule]
            expected = np.mean(figures, axis=0)
            assert [found.accuracy, found.precision, found.recall, found.work] == pytest.approx(expected)
            assert np.mean(found.recall_by_layer) == pytest.approx(found.recall)


def test_foretelling_needs_a_second_window_and_a_size_that_fits() -> None:
    one = {"verify-counts": make_sensor("verify-counts", GEOMETRY)}
    with pytest.raises(MoespacError, match="no window after a first"):
        evaluate_predictors(one_text(0, steps=1), one, 2)
    with pytest.raises(MoespacError, match="size is 7; expected: a whole number from 1 to 6"):
        evaluate_predictors(one_text(0), one, 7)


# The command.


def saved(path, gamma_max: int | None = None, channels: bool = False) -> str:
    trace = concatenate([one_text(seed, gamma_max=gamma_max, steps=6) for seed in range(4)])
    if channels:
        rng = np.random.default_rng(0)
        picks = [
            rng.random((n, GEOMETRY.layers, GEOMETRY.experts)).argsort(-1)[..., :4].astype(np.int16)
            for n in (len(trace.draft_probs), len(trace.window))
        ]
        picks[1][:, 0] = -1
        trace = replace(
            trace,
            channels={DRAFT_GATES: Channel("drafted", picks[0]), NEXT_GATE: Channel("verified", picks[1])},
        )
    trace.save(path)
    return str(path)


@pytest.mark.parametrize("gamma_max", [None, 3])
def test_the_command_reports_every_sensor_with_every_rule_on_the_other_half(
    tmp_path, capsys, gamma_max
) -> None:
    files = [saved(tmp_path / f"{name}.npz", gamma_max, channels=True) for name in ("one", "two")]
    assert main(["evaluate", *files, "--gamma", "2", "--share", "33%", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["named_per_layer"] == 2
    assert report["texts_tune_and_report"] == {name: [2, 2] for name in files}
    assert report["left_out"] == []
    pairs = {(row["sensor"], row["rule"]) for row in report["mean"]}
    assert pairs == {
        (label, rule)
        for label in (*SENSORS, "popularity, own", "token-table, blank")
        for rule in (EVIDENCE, *RULES)
    }
    rows = [row for name in files for row in report["by_domain"][name] if row["sensor"] == "next-gate"]
    mean = next(row for row in report["mean"] if (row["sensor"], row["rule"]) == ("next-gate", EVIDENCE))
    assert mean["recall"] == pytest.approx(np.mean([r["recall"] for r in rows if r["rule"] == EVIDENCE]))
    assert main(["evaluate", *files, "--gamma", "2", "--timing"]) == 0
    words = capsys.readouterr().out
    assert "fitted on 4 others" in words
    assert "token-table, blank  after drafting" in words
    assert "µs a window at 2 × 6, γ = 2: measured here" in words
    assert re.findall(r"^(\w+): ", words, re.M) == ["recall"]
    assert main(["evaluate", files[0], "--gamma", "2", "--figure", "all"]) == 0
    tables = re.findall(r"^(\w+): ", capsys.readouterr().out, re.M)
    assert tables == ["accuracy", "precision", "recall", "work"]


def test_what_a_trace_cannot_give_is_left_out_and_said(tmp_path, capsys) -> None:
    trace = one_text(0, steps=6)
    trace.save(tmp_path / "one.npz")
    assert main(["evaluate", str(tmp_path / "one.npz")]) == 0
    assert "lack what they need: popularity, draft-gates, next-gate" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--share", "0%"], "--share is '0%'; expected: above 0%"),
        (["--share", "2MiB"], "--share is '2MiB'"),
        (["--rule", "papr"], "--rule is 'papr'; expected: evidence, paper"),
        (["--figure", "recal"], "--figure is 'recal'; expected: accuracy, .*did you mean 'recall'"),
        (["--gamma", "9"], "gamma is 9; expected: 0 to 3, this trace.s γ_max"),
        (["--levels", "0"], "K is 0"),
        (["mth"], "'mth' is neither a file nor a domain; .*did you mean 'math'?"),
    ],
)
def test_the_command_says_what_it_accepts(tmp_path, capsys, arguments, message) -> None:
    file = saved(tmp_path / "a.npz", gamma_max=3)
    assert main(["evaluate", file, *arguments]) == 2
    assert re.search(message, capsys.readouterr().err)


def test_bundled_prompts_are_fitted_on_and_reported_on_by_their_halves(tmp_path, capsys) -> None:
    numbers = [n for n, prompt in enumerate(load_prompts("math")) if prompt.half == "report"][:3]
    numbers += [n for n, prompt in enumerate(load_prompts("math")) if prompt.half == "tune"][:1]
    texts = []
    for n in numbers:
        trace = one_text(n, steps=6)
        texts.append(replace(trace, texts=(replace(trace.texts[0], prompt_id=f"math/{n}"),)))
    concatenate(texts).save(tmp_path / "math.npz")
    assert main(["evaluate", str(tmp_path / "math.npz"), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["texts_tune_and_report"].values()) == [[1, 3]]


def test_traces_of_two_models_are_not_compared(tmp_path, capsys) -> None:
    first = saved(tmp_path / "a.npz")
    trace = one_text(0)
    Trace.save(replace(trace, geometry=MoEShape(2, 8, 2)), tmp_path / "b.npz")
    assert main(["evaluate", first, str(tmp_path / "b.npz")]) == 2
    assert "expected: traces of one model" in capsys.readouterr().err
