"""Synthetic routing: seeded, in bounds, and each parameter does what its name says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb import MoespacError, list_traces, load_trace
from moespac_nb.datasets.routing_model import LayerParameters, RoutingModel, gate_weights
from moespac_nb.datasets.synthetic import list_synthetic, load_routing_model, synthetic_trace
from moespac_nb.trace.locality import committed_experts, overlap_by_layer
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import MissingDataError

MODELS = [synthetic.model for synthetic in list_synthetic()]
SHAPES = {
    "gpt-oss-20b": MoEShape(24, 32, 4),
    "olmoe-1b-7b": MoEShape(16, 64, 8),
    "qwen3-30b-a3b": MoEShape(48, 128, 8),
}


SMALL = MoEShape(3, 16, 2)


def routing(shape: MoEShape = SMALL, **layers: float) -> RoutingModel:
    """Where nothing else is said, all of a token's state belongs to its id, and experts are alike popular."""
    names = ("spread", "skew", "tail", "topic", "drift", "phrase", "previous", "frequent")
    values = {name: np.full(shape.layers, layers.get(name, 0.0)) for name in names}
    return RoutingModel(shape, LayerParameters(**values, gate_scale=np.ones(shape.layers)), vocabulary=64)


def overlap(texts: list[np.ndarray], experts: int) -> tuple[float, float]:
    """In order, and in any order."""
    by_layer = overlap_by_layer(texts, experts)
    assert by_layer is not None
    return float(by_layer[0].mean()), float(by_layer[1].mean())


def test_what_is_offered_are_the_fitted_models() -> None:
    assert set(MODELS) == set(SHAPES)
    offered = [trace.name for trace in list_traces() if trace in list_synthetic()]
    assert offered == [f"synthetic:{model}" for model in MODELS]
    assert {str(synthetic) for synthetic in list_synthetic()} == {f"{m}, synthetic, fitted" for m in SHAPES}


@pytest.mark.parametrize("model", MODELS)
def test_a_trace_has_the_models_shape_and_says_that_it_is_synthetic(model: str) -> None:
    trace = load_trace(f"synthetic:{model},tokens=20,texts=3,prompt=5")
    assert trace.geometry == SHAPES[model]
    assert len(trace.texts) == 3
    assert len(trace) == 3 * 20
    assert trace.text_prompt.tolist() == [4, 4, 4]  # the prompt's last token opens the first step
    assert {text.target for text in trace.texts} == {f"{model} (synthetic, fitted)"}
    assert all(step.gamma == 0 and len(step.emitted) == 1 for step in trace)


def test_the_same_seed_gives_the_same_trace_and_another_seed_another_one() -> None:
    trace = synthetic_trace("gpt-oss-20b", tokens=12, texts=2, seed=3)
    assert trace == synthetic_trace("synthetic:gpt-oss-20b", tokens=12, texts=2, seed=3)
    assert trace == load_trace("synthetic:gpt-oss-20b,tokens=12,texts=2,seed=3")
    assert (trace.experts != synthetic_trace("gpt-oss-20b", tokens=12, texts=2, seed=4).experts).any()


def test_halves_are_different_texts_that_make_up_the_whole() -> None:
    tune, report = (
        load_trace("synthetic:gpt-oss-20b,tokens=9,texts=4", half=half) for half in ("tune", "report")
    )
    whole = load_trace("synthetic:gpt-oss-20b,tokens=9,texts=4")
    assert np.array_equal(np.concatenate([tune.experts, report.experts]), whole.experts)
    ids = [text.prompt_id for text in whole.texts]
    assert [text.prompt_id for text in (*tune.texts, *report.texts)] == ids
    assert len(set(ids)) == 4


def test_a_trace_is_the_same_after_it_was_saved(tmp_path) -> None:
    trace = synthetic_trace("olmoe-1b-7b", tokens=6, texts=2)
    trace.save(tmp_path / "synthetic.npz")
    assert Trace.load(tmp_path / "synthetic.npz") == trace


shares = st.floats(0, 0.25)


@given(
    shape=st.tuples(st.integers(1, 4), st.integers(2, 20), st.integers(1, 8)).map(
        lambda sizes: MoEShape(sizes[0], sizes[1], min(sizes[2], sizes[1]))
    ),
    tokens=st.integers(1, 30),
    seed=st.integers(0, 2**32),
    layers=st.fixed_dictionaries(
        {
            "spread": st.floats(0, 5),
            "skew": st.floats(-2, 2),
            "tail": st.floats(0, 0.6),
            "topic": shares,
            "drift": shares,
            "phrase": shares,
            "previous": shares,
            "frequent": st.floats(0, 1),
        }
    ),
    of_chosen=st.booleans(),
)
def test_experts_are_distinct_and_in_range_and_gate_weights_are_shares_by_rank(
    shape: MoEShape, tokens: int, seed: int, layers: dict[str, float], of_chosen: bool
) -> None:
    model = routing(shape, **layers)
    text = model.generate(tokens, seed)
    experts = text.experts(shape.top_k)
    assert experts.shape == (tokens, shape.layers, shape.top_k)
    assert experts.min() >= 0
    assert experts.max() < shape.experts
    assert (np.diff(np.sort(experts, axis=2), axis=2) > 0).all()
    assert text.token_ids.min() >= 0
    assert text.token_ids.max() < model.vocabulary
    weights = gate_weights(text.scores, experts, model.layers.gate_scale, of_chosen)
    assert (weights >= 0).all()
    assert (np.diff(weights, axis=2) <= 0).all()
    total = weights.sum(axis=2)
    assert np.allclose(total, 1, atol=1e-5) if of_chosen else (total <= 1 + 1e-5).all()


def test_a_token_alone_is_routed_alike_wherever_it_occurs() -> None:
    texts = [routing().generate(200, seed) for seed in (1, 2)]
    ids = np.concatenate([text.token_ids for text in texts])
    experts = np.concatenate([text.experts(2) for text in texts])
    for token in np.unique(ids):
        assert (experts[ids == token] == experts[ids == token][0]).all()
    assert len(np.unique(experts.reshape(len(experts), -1), axis=0)) == len(np.unique(ids))


def test_a_texts_topic_alone_routes_all_of_its_tokens_alike_and_other_texts_otherwise() -> None:
    texts = [routing(topic=1.0).generate(20, seed).experts(2) for seed in range(6)]
    assert all((text == text[0]).all() for text in texts)
    assert len({text[0].tobytes() for text in texts}) == 6


@pytest.mark.parametrize(("share", "lag"), [("phrase", 5), ("drift", 48)])
def test_what_changes_quickly_is_forgotten_sooner_than_what_changes_slowly(share: str, lag: int) -> None:
    used = [routing(**{share: 1.0}).generate(400, seed).experts(2) for seed in range(6)]
    near, far = (
        np.mean([overlap([text[start::step]], 16)[0] for text in used for start in range(step)])
        for step in (1, 4 * lag)
    )
    half = np.mean([overlap([text[start::lag]], 16)[0] for text in used for start in range(lag)])
    assert near > half + 0.1 > far + 0.2


def test_the_token_before_makes_neighbours_alike_and_nothing_else() -> None:
    texts = [routing(previous=0.5).generate(600, seed).experts(2) for seed in range(3)]
    in_order, shuffled = overlap(texts, 16)
    every_second = overlap([text[start::2] for text in texts for start in (0, 1)], 16)[0]
    assert in_order > shuffled + 0.1
    assert every_second < shuffled + 0.03


def test_a_frequent_token_takes_no_notice_of_its_context() -> None:
    model = replace(routing(topic=0.9, frequent=1.0), frequent=4)
    texts = [model.generate(200, seed) for seed in range(4)]
    ids = np.concatenate([text.token_ids for text in texts])
    experts = np.concatenate([text.experts(2) for text in texts])
    spread = {
        kind: max(len(np.unique(experts[ids == token], axis=0)) for token in tokens)
        for kind, tokens in (("frequent", range(4)), ("other", range(4, 10)))
    }
    assert spread["frequent"] == 1
    assert spread["other"] > 2


def test_popularity_lasts_from_text_to_text_and_its_shape_follows_skew_and_tail() -> None:
    texts = [routing(spread=50.0).generate(5, seed).experts(2) for seed in range(4)]
    assert all((np.sort(text, axis=2) == np.sort(texts[0][0], axis=1)).all() for text in texts)
    even, skewed, tailed = (
        routing(spread=1.0, **more).popularity()[0] for more in ({}, {"skew": -1.0}, {"tail": 0.5})
    )
    assert np.allclose(even, -even[::-1], atol=1e-5)
    assert skewed[0] < even[0]
    assert tailed[-1] > even[-1]
    assert np.allclose(tailed, -tailed[::-1], atol=1e-5)


def test_neighbouring_layers_are_surprised_by_the_same_tokens() -> None:
    shape = MoEShape(12, 32, 4)
    shared = {}
    for correlation in (0.0, 0.98):
        model = replace(routing(shape), depth_correlation=correlation)
        used = np.sort(model.generate(800, 1).experts(4), axis=2)
        alike = (used[1:, :, :, None] == used[:-1, :, None, :]).sum(axis=(2, 3))
        shared[correlation] = np.corrcoef(alike[:, 0], alike[:, 1])[0, 1]
    assert shared[0.98] > shared[0.0] + 0.2


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("synthetic:gpt-oss", {}, "did you mean 'gpt-oss-20b'"),
        ("synthetic:gpt-oss-20b,token=5", {}, "'token=5'.*expected: tokens="),
        ("synthetic:gpt-oss-20b,tokens=five", {}, "expected: tokens=.* a whole number"),
        ("synthetic:gpt-oss-20b,tokens=0", {}, "tokens is 0; expected: a whole number from 1 to"),
        ("synthetic:gpt-oss-20b,texts=1", {"half": "tune"}, "texts is 1; expected: a whole number from 2 to"),
        ("synthetic:gpt-oss-20b", {"half": "first"}, "half is 'first'"),
        ("synthetic:gpt-oss-20b", {"dense": True}, "has no drafts.*without mode and dense"),
        ("synthetic:gpt-oss-20b", {"mode": "greedy"}, "without mode and dense"),
    ],
)
def test_a_name_that_cannot_be_read_is_refused(name: str, options: dict, message: str) -> None:
    with pytest.raises(MoespacError, match=message):
        load_trace(name, **options)


def test_what_needs_drafts_says_so() -> None:
    trace = load_trace("synthetic:gpt-oss-20b,tokens=4,texts=1")
    with pytest.raises(MoespacError, match="expected: None, or 0 and more in a dense trace"):
        next(trace.rounds(4))


def test_damaged_and_missing_parameters_are_named(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("moespac_nb.datasets.synthetic.data_root", lambda: tmp_path)
    with pytest.raises(MissingDataError, match="no parameters of routing"):
        load_routing_model("gpt-oss-20b")
    (tmp_path / "synthetic").mkdir()
    (tmp_path / "synthetic" / "torn.json").write_text('{"geometry": {"layers": 3')
    with pytest.raises(MoespacError, match=r"torn\.json is damaged"):
        load_routing_model("torn")


def test_consecutive_tokens_share_more_experts_than_shuffled_ones() -> None:
    trace = synthetic_trace("gpt-oss-20b", tokens=128, texts=4)
    in_order, shuffled = overlap([committed_experts(trace, text) for text in range(4)], 32)
    assert in_order > shuffled + 0.1
