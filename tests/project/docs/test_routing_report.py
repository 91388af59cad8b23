"""Synthetic routing: the fitted parameters still give the committed figures, and a fit finds a fit."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moespac_nb.datasets.routing_model import RoutingModel
from moespac_nb.datasets.synthetic import load_routing_model
from moespac_nb.trace.cache_bounds import belady_hits, lru_hits
from moespac_nb.trace.step import MoEShape
from tools.routing import report
from tools.routing.captures import FOLDER, read_captures, read_usage
from tools.routing.least_squares import START, fit_layers, layer_parameters
from tools.routing.models import MODELS, PUBLISHED, split
from tools.routing.statistics import cache_hit_rates, lag_overlaps, lru_curve, used_experts, window_overlap
from tools.routing.targets import Target

ROUNDED = 0.06  # per cents are printed with one digit
ELSEWHERE = 0.4  # on another processor, the last bit of a score may choose another expert


def table(root: Path, model: str, part: int) -> dict[str, list[float]]:
    """Numbers of the rows of a model's first or second table."""
    section = (
        (root / "docs" / "figures" / "routing.md").read_text().split(f"## {model}:")[1].split("\n## ")[0]
    )
    tables = re.findall(r"(?:^\|.*\n)+", section, re.MULTILINE)
    rows = [line.strip("| \n").split(" | ") for line in tables[part].splitlines()[2:]]
    return {
        name: [float(cell.strip("*")) for cell in cells if cell not in ("–", "yes", "no")]
        for name, *cells in rows
    }


@pytest.mark.parametrize("model", MODELS)
def test_the_fitted_parameters_give_the_committed_figures(root: Path, model: str) -> None:
    rows, shape = table(root, model, 0), load_routing_model(model).geometry
    lengths = report.lengths_of(model)
    for side, column in (("fitted", 1), ("held_out", 4)):
        if lengths[side]:
            recorded = 6 if model == "qwen3-30b-a3b" else shape.top_k
            made, _ = report.synthetic_figures(
                load_routing_model(model), lengths[side], recorded, report.REPLICATES[model]
            )
            for name, values in made.items():
                assert values.mean() == pytest.approx(rows[name][column], abs=ELSEWHERE), name


def test_the_published_table_stands_beside_what_is_generated(root: Path) -> None:
    rows = table(root, "qwen3-30b-a3b", 1)
    made = report.published_figures(load_routing_model("qwen3-30b-a3b"))
    stated = {name: row[0] for name, row in rows.items()}
    assert {name: stated[name] for name in PUBLISHED["qwen3-30b-a3b"]} == PUBLISHED["qwen3-30b-a3b"]
    assert stated.keys() == made.keys()
    for name, row in rows.items():
        assert made[name] == pytest.approx(row[1], abs=ELSEWHERE), name


@pytest.mark.parametrize("model", MODELS)
def test_captures_give_the_committed_figures(root: Path, model: str) -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no captures: {FOLDER} is not there; MOESPAC_ROUTING names another folder")
    rows, sides = table(root, model, 0), split(model, read_captures(model))
    for captures, column in zip(sides, (0, 3), strict=True):
        if captures:
            real = report.figures([c.experts for c in captures], MODELS[model].geometry.experts)
            for name, values in real.items():
                assert values.mean() == pytest.approx(rows[name][column], abs=ROUNDED), name


def test_captures_are_shared_out_by_text_and_none_is_used_twice() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"no captures: {FOLDER} is not there; MOESPAC_ROUTING names another folder")
    for model in MODELS:
        captures = read_captures(model)
        fitting, held_out = split(model, captures)
        names = [capture.name for capture in (*fitting, *held_out)]
        assert sorted(names) == sorted(capture.name for capture in captures)
        assert len(set(names)) == len(names)
        assert report.lengths_of(model) == {
            "fitted": [len(capture.experts) for capture in fitting],
            "held_out": [len(capture.experts) for capture in held_out],
        }
        shape = MODELS[model].geometry
        assert all(capture.experts.shape[1] == shape.layers for capture in captures)
        assert all(
            0 <= capture.experts.min() <= capture.experts.max() < shape.experts for capture in captures
        )
    assert read_usage().shape == (48, 128)


def test_the_page_says_in_bold_what_misses_the_aim(root: Path) -> None:
    page = (root / "docs" / "figures" / "routing.md").read_text()
    differences = re.findall(r"\| (\*{0,2})([+-]\d+\.\d)\*{0,2} (?=\|)", page)
    assert len(differences) > 100
    assert all(
        bool(bold) == (abs(float(off)) > report.AIM) for bold, off in differences if abs(float(off)) != 2.0
    )


SHAPE = MoEShape(3, 16, 2)


def made_up(point: np.ndarray, seed: int, texts: int = 6) -> list:
    routing = RoutingModel(SHAPE, layer_parameters(point), vocabulary=256)
    return [routing.generate(100, (seed, number)) for number in range(texts)]


def test_a_fit_to_texts_of_the_generator_has_their_statistics() -> None:
    truth = np.tile(START, (3, 1))
    truth[:, 2] = [-3, 0, 2]  # topics matter more from layer to layer
    truth[:, 0] += [0.8, 0, -0.5]
    target = Target.of_captures(
        SHAPE, [text.experts(2) for text in made_up(truth, 1)], same_tokens=np.full(3, np.nan)
    )
    start, lines = np.tile(START, (3, 1)), []

    def residuals(point: np.ndarray) -> np.ndarray:
        return target.residuals(made_up(point, 2))

    point = fit_layers(residuals, start, rounds=4, log=lines.append)
    assert len(lines) == 4
    squares = [(residuals(each) ** 2).sum(axis=1) for each in (start, point)]
    # The layer between them was right from the start.
    assert (squares[1][[0, 2]] < squares[0][[0, 2]] / 4).all()
    assert point[2, 2] > point[0, 2] + 1
    assert point[2, 0] < point[0, 0]


def test_published_means_are_spread_over_layers_as_a_first_fit_spreads_them() -> None:
    texts = made_up(np.tile(START, (3, 1)), 1)
    target = Target.of_captures(
        SHAPE, [text.experts(2) for text in texts], same_tokens=np.full(3, np.nan), published={2: 0.5, 8: 0.9}
    )
    assert np.isnan(target.values[:, -2:]).all()
    spread = target.with_published(texts).values[:, -2:]
    assert spread.mean(axis=0) == pytest.approx([0.5, 0.9])
    assert np.diff(spread[:, 0]) == pytest.approx(np.diff(target.of_texts(texts)[:, -2]))


def test_a_capture_with_fewer_experts_is_compared_with_the_best_of_a_text() -> None:
    texts = made_up(np.tile(START, (3, 1)), 1)
    whole, best = (
        Target.of_captures(
            SHAPE, [text.experts(2)[..., :recorded] for text in texts], same_tokens=np.full(3, np.nan)
        )
        for recorded in (2, 1)
    )
    assert best.recorded == 1
    overlap = lag_overlaps(used_experts([text.experts(1) for text in texts], 16), [1])
    assert best.of_texts(texts)[:, :1] == pytest.approx(overlap)
    assert whole.of_texts(texts)[0, 0] != best.of_texts(texts)[0, 0]
    assert np.allclose(np.nan_to_num(whole.residuals(texts)), 0)  # its own texts


def test_the_curve_of_lru_is_what_a_cache_of_each_size_gives() -> None:
    rng = np.random.default_rng(0)
    texts = [np.argsort(rng.random((n, 2, 8)), axis=2)[..., :3] for n in (20, 35)]
    used = used_experts(texts, 8)
    curve = lru_curve(used)
    for slots in range(1, 9):
        hits = sum(lru_hits(text, slots).sum(axis=0) for text in used)
        assert curve[:, slots - 1] == pytest.approx(hits / (55 * 3))


def test_windows_overlap_by_what_the_second_one_finds_in_the_first() -> None:
    tokens = np.array([0, 1, 2, 1, 3, 4])[:, None, None]
    # Of two tokens: {0,1} then {2,1} finds 1 of 2, {1,2} then {1,3} 1 of 2, {2,1} then {3,4} none.
    assert window_overlap(used_experts([tokens], 5), 2) == pytest.approx([2 / 6])


def test_another_seed_of_a_model_is_another_model_with_like_statistics() -> None:
    routing = load_routing_model("gpt-oss-20b")
    twin = replace(routing, seed=99)
    texts = [[model.generate(150, (5, n)).experts(4) for n in range(6)] for model in (routing, twin)]
    assert (texts[0][0] != texts[1][0]).mean() > 0.5
    overlaps = [lag_overlaps(used_experts(each, 32), [1]).mean() for each in texts]
    assert overlaps[0] == pytest.approx(overlaps[1], abs=0.04)


def test_hit_rates_of_several_texts_are_those_of_each_alone() -> None:
    rng = np.random.default_rng(1)
    used = used_experts([np.argsort(rng.random((n, 2, 8)), axis=2)[..., :2] for n in (9, 30, 17)], 8)
    for policy, rates in zip((lru_hits, belady_hits), cache_hit_rates(used, (2, 4)), strict=True):
        for column, slots in enumerate((2, 4)):
            hits = sum(policy(text, slots).sum(axis=0) for text in used)
            assert rates[:, column] == pytest.approx(hits / (56 * 2))
