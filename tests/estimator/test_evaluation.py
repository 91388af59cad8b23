"""Evaluation of predictors: worked by hand on one layer of four experts, and against a reference."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb import MoespacError
from moespac_nb.cli.main import main
from moespac_nb.datasets.prompts import load_prompts
from moespac_nb.estimator.evaluation import (
    CHANCE,
    EVIDENCE,
    LAST_TOKEN,
    LAST_WINDOW,
    PredictionScores,
    evaluate_predictors,
    recall_by_predictor,
)
from moespac_nb.estimator.sensors import SENSORS, Sensor, make_sensor
from moespac_nb.estimator.utility import RULES, make_estimator
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.step import MoEShape, Step, expert_counts
from moespac_nb.trace.trace import Trace
from moespac_nb.trace.windows import iter_windows
from tests.helpers.traces.steps import prefill, step
from tests.helpers.traces.strategies import GEOMETRY, one_text, with_channels


def test_counts_rank_by_use_and_the_last_token_by_recency() -> None:
    # Expert 3 twice, expert 0 once; the second 3 was rejected.
    first = step(0, 0, [[[3]], [[0]], [[3]]], accepted=1)
    second = step(1, 2, [[[3]], [[3]], [[3]]], accepted=0)
    recall = recall_by_predictor(prefill(), [first, second], size=1)
    assert recall[LAST_WINDOW] == 1.0  # expert 3 served most positions
    assert recall[LAST_TOKEN] == 0.0  # the last committed token used expert 0
    assert recall[CHANCE] == 0.25


def test_what_is_missing_is_filled_by_recency_from_the_prompt() -> None:
    read = prefill([[1]], [[2]])
    steps = [step(0, 2, [[[0]]], accepted=0), step(1, 3, [[[2]]], accepted=0)]
    assert recall_by_predictor(read, steps, size=2)[LAST_WINDOW] == 1.0  # 0 by count, then 2 before 1
    assert recall_by_predictor(read, steps, size=1)[LAST_WINDOW] == 0.0


TWO_STEPS = [step(0, 0, [[[0]]], accepted=0), step(1, 1, [[[3]]], accepted=0)]


def test_popularity_names_its_favourites() -> None:
    popularity = {"always 3": np.array([[0.0, 0.0, 0.0, 1.0]])}
    assert recall_by_predictor(prefill(), TWO_STEPS, 1, popularity)["always 3"] == 1.0


@given(st.integers(2, 6), st.integers(1, 8), st.integers(0, 2**32 - 1))
def test_recall_is_a_share_that_grows_with_size_to_1(n: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    routes = rng.random((n, 4, 3, 8)).argsort(axis=-1)[..., :2].tolist()
    steps = [step(i, 4 * i, routes[i], accepted=int(rng.integers(4)), per_layer=8) for i in range(n)]
    small, all_of_them = (recall_by_predictor(prefill(layers=3, k=2), steps, s) for s in (size, 8))
    for name, value in small.items():
        assert 0 <= value <= all_of_them[name] == 1


def test_counts_are_exact() -> None:
    experts = np.array([[[0, 1], [2, 3]], [[0, 2], [2, 1]]])
    assert expert_counts(experts, 4).tolist() == [[2, 1, 1, 0], [0, 1, 2, 1]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((TWO_STEPS[:1], 1), "1 steps"),
        ((TWO_STEPS, 0), "size is 0"),
        ((TWO_STEPS, 5), "from 1 to 4"),
        ((TWO_STEPS, 1, {"odd": np.zeros((2, 4))}), r"'odd' has shape \(2, 4\)"),
    ],
)
def test_bad_input_says_what_is_expected(arguments, message) -> None:
    with pytest.raises(MoespacError, match=message):
        recall_by_predictor(prefill(), *arguments)


# Sensors and rules over a trace.


class Oracle(Sensor):
    """Knows the window before it is verified: what no sensor can, and the most that can be found."""

    name, available_at = "oracle", "drafted"

    def __init__(self, steps: list[Step]) -> None:
        super().__init__(GEOMETRY)
        self._steps = {step.window.tobytes(): step for step in steps}

    def on_draft(self, tokens: np.ndarray, _gates: np.ndarray | None = None, /) -> np.ndarray:
        return self._steps[tokens.tobytes()].counts


@pytest.mark.parametrize("gamma_max", [None, 3])
def test_an_oracle_finds_all_and_errs_where_all_are_named(gamma_max: int | None) -> None:
    trace = one_text(1, gamma_max=gamma_max, steps=8)
    gamma = None if gamma_max is None else 2
    steps = [window.step for window in iter_windows(trace, 0, gamma)]

    def scores(size: int) -> PredictionScores:
        sensors = {"oracle": Oracle(steps)}
        return evaluate_predictors(trace, sensors, size, gamma=gamma, rules=[EVIDENCE])["oracle", EVIDENCE]

    everything = scores(GEOMETRY.experts)
    assert (everything.recall, everything.work) == (1, 1)
    assert everything.accuracy == pytest.approx(everything.precision)  # all are named, and cold ones wrongly
    assert everything.windows == len(steps) - 1
    assert scores(2).precision == 1  # every window uses 2 experts or more


@given(st.integers(0, 10**6), st.sampled_from([None, 3]), st.integers(1, 6))
@settings(max_examples=15)
def test_scores_are_those_of_one_window_after_another(seed: int, gamma_max: int | None, size: int) -> None:
    trace = concatenate([one_text(seed + i, gamma_max=gamma_max, steps=5) for i in range(2)])
    gamma = None if gamma_max is None else 2
    sensors = {name: make_sensor(name, GEOMETRY) for name in ("verify-counts", "recency")}
    found = evaluate_predictors(trace, sensors, size, gamma=gamma)
    for rule in (EVIDENCE, *RULES):
        expected = np.mean(list(reference(trace, rule, gamma, size)), axis=0)
        scores = found["verify-counts", rule]
        assert [scores.accuracy, scores.precision, scores.recall, scores.work] == pytest.approx(expected)
        assert np.mean(scores.recall_by_layer) == pytest.approx(scores.recall)


def reference(trace: Trace, rule: str, gamma: int | None, size: int) -> Iterator[tuple[float, ...]]:
    """Accuracy, precision, recall and work of verify-counts: sets of experts, layer by layer."""
    for text in range(len(trace.texts)):
        steps = [window.step for window in iter_windows(trace, text, gamma)]
        shape = steps[0].counts.shape
        longest = max(trace.gamma[trace.text_of_step == text]) if gamma is None else gamma
        estimator = None if rule == EVIDENCE else make_estimator(rule, *shape, gamma=int(longest))
        last = np.full(shape, -1)
        used = list(enumerate(trace.prefill(text).experts))
        for now, following in pairwise(steps):
            used += enumerate(now.experts[: now.accepted + 1], now.position)
            for position, chosen in used:
                np.put_along_axis(last, chosen.astype(int), position, 1)
            used = []
            score = now.counts if estimator is None else estimator.update(now.counts)
            for layer, counts in enumerate(following.counts):
                order = np.lexsort((-last[layer], -score[layer])).tolist()  # stable: then by number
                named, needed = set(order[:size]), set(np.flatnonzero(counts).tolist())
                hits, wrong = len(named & needed), len(named ^ needed)
                work = counts[list(named)].sum() / counts.sum()
                yield 1 - wrong / len(counts), hits / size, hits / len(needed), work


def test_it_needs_a_second_window_and_a_size_that_fits() -> None:
    one = {"verify-counts": make_sensor("verify-counts", GEOMETRY)}
    with pytest.raises(MoespacError, match="no window after a first"):
        evaluate_predictors(one_text(0, steps=1), one, 2)
    with pytest.raises(MoespacError, match="size is 7; expected: a whole number from 1 to 6"):
        evaluate_predictors(one_text(0), one, 7)


# The command.


def saved(path, gamma_max: int | None = None, channels: bool = False) -> str:
    trace = concatenate([one_text(seed, gamma_max=gamma_max, steps=6) for seed in range(4)])
    (with_channels(trace) if channels else trace).save(path)
    return str(path)


@pytest.mark.parametrize("gamma_max", [None, 3])
def test_the_command_reports_every_sensor_with_every_rule(tmp_path, capsys, gamma_max) -> None:
    files = [saved(tmp_path / f"{name}.npz", gamma_max, channels=True) for name in ("one", "two")]
    assert main(["evaluate", *files, "--gamma", "2", "--share", "33%", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["named_per_layer"] == 2
    assert report["texts_tune_and_report"] == {name: [2, 2] for name in files}
    assert report["left_out"] == []
    labels = (*SENSORS, "popularity, own", "token-table, blank")
    pairs = {(row["sensor"], row["rule"]) for row in report["mean"]}
    assert pairs == set(product(labels, (EVIDENCE, *RULES)))
    by_domain = [row for name in files for row in report["by_domain"][name]]
    recalls, mean = (
        [row["recall"] for row in rows if (row["sensor"], row["rule"]) == ("next-gate", EVIDENCE)]
        for rows in (by_domain, report["mean"])
    )
    assert mean == [pytest.approx(np.mean(recalls))]
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


def test_bundled_prompts_are_fitted_on_by_their_halves(tmp_path, capsys) -> None:
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
