"""Bit for bit: an offloaded model's logits, in every number format, under every experts implementation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from moespac_nb.models.inspection import inspect_model
from moespac_nb.offloading.expert_rows import added
from moespac_nb.offloading.session import offload
from tools.support.tiny_moe import QWEN, expert_bytes, model_and_draft

TABLE = Path(__file__).resolve().parents[2] / "tools/quality/lossless_table.py"
FAMILIES = (
    "deepseek_v2", "deepseek_v3", "dots1", "ernie4_5_moe", "flex_olmo", "glm4_moe", "gpt_oss", "granitemoe",
    "hunyuan_v1_moe", "minimax_m2", "mixtral", "nemotron_h", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe",
    "qwen3_next",
)  # fmt: skip


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Any:
    from tools.quality import lossless_table

    return lossless_table


def test_every_family_of_the_table_is_tested(table):
    assert set(FAMILIES) == set(table.FAMILIES)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("family", FAMILIES)
def test_logits_are_the_plain_models_bit_for_bit(table, family, dtype):
    for cell in table.cells(family, [dtype], list(table.IMPLEMENTATIONS)):
        assert cell.difference == 0, cell.implementation
        assert cell.largest > 1
        assert cell.counted["slots"].ready > 0
        assert cell.counted["slots"].cpu_pairs == 0
        assert cell.counted["store"].cpu_pairs == cell.counted["store"].pairs
        assert cell.counted["both"].ready > 0


def test_a_position_alone_is_computed_as_the_plain_model_does(table):
    for implementation in table.IMPLEMENTATIONS:
        model, _ = model_and_draft(QWEN)
        before = model.config._experts_implementation
        model.set_experts_implementation(implementation)
        try:
            with torch.inference_mode():
                plain = model(torch.tensor([[5]])).logits
                with offload(model, "100%", policy="on-demand") as run:
                    for _ in range(2):
                        assert torch.equal(model(torch.tensor([[5]])).logits, plain)
            assert run.counters.ready > 0
        finally:
            model.set_experts_implementation(before)


def test_no_product_is_over_the_whole_pool_of_slots(model, monkeypatch):
    ids = torch.arange(12)[None]
    with torch.inference_mode():
        plain = model(ids).logits
        assert model.config._experts_implementation == "grouped_mm"
        with offload(model, "100%", policy="on-demand") as run:
            model(ids)
            monkeypatch.setattr(torch.nn.functional, "grouped_mm", None)  # whoever calls it fails
            assert torch.equal(model(ids).logits, plain)
    assert run.counters.ready > 0


def test_a_sum_in_a_format_is_rounded_after_each_expert():
    rows = torch.tensor([[[1.0], [2.0**-8], [2.0**-8]]]).bfloat16()
    weights = torch.ones(1, 3)
    assert added(rows, weights, torch.bfloat16, torch.bfloat16).item() == 1.0  # each half is lost
    assert added(rows, weights, torch.bfloat16, torch.float32).item() == 1.0 + 2.0**-7
    assert added(rows, weights, torch.bfloat16, None).item() == 1.0 + 2.0**-7


def test_between_two_layers_nothing_keeps_a_slots_memory(model):
    model.set_experts_implementation("eager")
    try:
        with offload(model, 4 * expert_bytes(model), policy="on-demand") as run, torch.inference_mode():
            model(torch.arange(12)[None])
            for module in inspect_model(model).experts:
                held = module.forward._instead._from_slots._module._parameters
                assert not set(held) & set(run._store.slots)
    finally:
        model.set_experts_implementation("grouped_mm")
