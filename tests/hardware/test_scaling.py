"""A model seen through a trace of other layers and experts keeps its proportions, and says so."""

from __future__ import annotations

import pytest

from moespac_nb.hardware.model import load_model_spec
from moespac_nb.hardware.scaling import scale_to_trace, scaling_notes, whole_model_factors
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.small_profiles import MODEL

QWEN = load_model_spec("qwen3-30b-a3b")


def test_a_scaled_model_keeps_its_proportions() -> None:
    pair = load_model_spec("bundled-pair")
    scaled = scale_to_trace(QWEN, pair.geometry)
    assert scaled.geometry == pair.geometry
    assert scaled.expert_bytes == QWEN.expert_bytes
    assert scaled.head_bytes * 48 == pytest.approx(QWEN.head_bytes * 8, rel=1e-4)
    assert scaled.draft is not None
    assert QWEN.draft is not None
    assert scaled.draft.token_s(1e12, 1e14) * 48 == pytest.approx(QWEN.draft.token_s(1e12, 1e14) * 8)
    share = scaled.draft.weights_bytes / (scaled.all_experts * scaled.expert_bytes)
    assert share == pytest.approx(QWEN.draft.weights_bytes / (QWEN.all_experts * QWEN.expert_bytes))
    with pytest.raises(InvalidInputError, match="dense model"):
        scale_to_trace(QWEN, MoEShape(0, 0, 0))


def test_half_the_layers_and_a_quarter_of_the_experts_by_hand() -> None:
    scaled = scale_to_trace(MODEL, MoEShape(1, 2, 1))
    assert (scaled.layers, scaled.moe_layers, scaled.vocabulary) == (2, 1, 25)
    assert scaled.draft is not None
    assert vars(scaled.draft) == {
        "name": "small draft",
        "weights_bytes": 250,  # memory goes by experts
        "kv_bytes_per_token": 3,
        "workspace_bytes": 75,
        "read_bytes": 400,  # times go by layers
        "active_parameters": 50,
        "overhead_s": 0.25,
    }


def test_what_is_scaled_is_said_in_words() -> None:
    assert scale_to_trace(QWEN, QWEN.geometry) is QWEN
    assert scaling_notes(QWEN, QWEN.geometry) == ()
    assert scaling_notes(QWEN, MoEShape(8, 64, 4)) == (
        "layers with experts: the trace has 8, qwen3-30b-a3b 48",
        "experts a layer: the trace has 64, qwen3-30b-a3b 128",
        "top k: the trace has 4, qwen3-30b-a3b 8",
        "times of head, draft and planning are scaled by layers, 8/48",
        "the draft's memory is scaled by the number of experts, 512/6144",
        "times and speeds are of the trace's layers and top k: all of qwen3-30b-a3b takes about 6 times as "
        "long, and 12 times where experts decide",
    )
    assert scaling_notes(QWEN, MoEShape(0, 0, 0))


@pytest.mark.parametrize(
    ("recorded", "geometry", "notes"),
    [
        (QWEN.geometry, QWEN.geometry, ()),
        (
            MoEShape(8, 64, 4),
            MoEShape(48, 64, 4),
            (
                "8 recorded layers stand for 48, 64 experts of top 4 for 128 of top 8, each of 2 × the "
                "model's bytes",
            ),
        ),
        (MoEShape(24, 128, 8), MoEShape(48, 128, 8), ("24 recorded layers stand for 48",)),
    ],
)
def test_what_stands_for_a_whole_model_is_one_line(
    recorded: MoEShape, geometry: MoEShape, notes: tuple[str, ...]
) -> None:
    assert scaling_notes(QWEN, geometry, recorded) == notes
    assert whole_model_factors(QWEN, geometry) == (1, 1)


def test_a_whole_models_bytes_are_its_own() -> None:
    """All layers, half the experts and half the top k: nothing but the experts' size changes."""
    scaled = scale_to_trace(QWEN, MoEShape(48, 64, 4))
    assert scaled.top_k * scaled.expert_bytes == QWEN.top_k * QWEN.expert_bytes  # what a position reads
    assert scaled.all_experts * scaled.expert_bytes == QWEN.all_experts * QWEN.expert_bytes
    assert (scaled.head_bytes, scaled.draft) == (QWEN.head_bytes, QWEN.draft)
    shared = load_model_spec("deepseek-v2-lite")
    halved = scale_to_trace(shared, MoEShape(shared.moe_layers, shared.experts, shared.top_k // 2))
    router = shared.layer_parameters - halved.layer_parameters
    assert router == 0  # shared experts keep their size
