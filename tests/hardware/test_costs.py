"""Costs: what the arithmetic of time must keep to, whatever the machine."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.hardware.costs import MAY_BE_ZERO, PLANNED_LAYERS, Costs, cost_model
from moespac_nb.hardware.machine import Machine, list_machines, load_machine
from moespac_nb.hardware.model import list_model_specs, load_model_spec
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.small_profiles import MACHINE, MODEL

BASE = cost_model("rtx4090", "qwen3-30b-a3b")
RATES = ("link_bytes_per_s", "gpu_bytes_per_s", "gpu_flops_per_s", "cpu_bytes_per_s", "cpu_flops_per_s")
rate = st.floats(1e6, 1e15)
positions = st.integers(0, 64)


@st.composite
def any_costs(draw) -> Costs:
    return replace(
        BASE,
        expert_bytes=draw(st.integers(1, 10**9)),
        expert_flops=draw(st.floats(1, 1e12)),
        copy_alpha_s=draw(st.floats(0, 1)),
        **{name: draw(rate) for name in RATES},
    )


@given(any_costs())
def test_a_copy_takes_alpha_and_its_bytes(costs) -> None:
    assert costs.copy_s() >= costs.copy_alpha_s
    assert costs.copy_s() == pytest.approx(costs.copy_alpha_s + costs.expert_bytes / costs.link_bytes_per_s)


@given(any_costs(), positions)
def test_more_positions_and_more_bytes_never_take_less(costs, n) -> None:
    for lane in ("gpu_s", "cpu_s", "layer_s"):
        assert getattr(costs, lane)(n + 1) >= getattr(costs, lane)(n)
    larger = replace(costs, expert_bytes=2 * costs.expert_bytes)
    assert larger.copy_s() > costs.copy_s()
    assert larger.gpu_s(n) >= costs.gpu_s(n)
    assert larger.cpu_s(n) >= costs.cpu_s(n)


@given(any_costs(), st.sampled_from(RATES), st.floats(1, 100), positions)
def test_a_faster_machine_is_never_slower(costs, name, factor, n) -> None:
    faster = replace(costs, **{name: factor * getattr(costs, name)})
    assert faster.copy_s() <= costs.copy_s()
    assert faster.gpu_s(n) <= costs.gpu_s(n)
    assert faster.cpu_s(n) <= costs.cpu_s(n)


@given(any_costs(), st.integers(1, 64))
def test_an_expert_takes_the_longer_of_reading_and_computing(costs, n) -> None:
    assert costs.gpu_s(n) == pytest.approx(
        max(costs.expert_bytes / costs.gpu_bytes_per_s, n * costs.expert_flops / costs.gpu_flops_per_s)
    )
    assert costs.cpu_s(n) == max(costs.cpu_read_s, n * costs.cpu_pair_s)
    assert costs.gpu_s(0) == costs.cpu_s(0) == 0.0


@pytest.mark.parametrize("name", [field.name for field in fields(Costs)])
def test_a_constant_that_is_none_is_refused_by_name(name) -> None:
    for value in (-1.0, math.nan, math.inf, True, "1"):
        with pytest.raises(InvalidInputError, match=f"{name} is {value!r}; expected: a number"):
            replace(BASE, **{name: value})
    if name in MAY_BE_ZERO:
        assert getattr(replace(BASE, **{name: 0}), name) == 0
    else:  # it is divided by
        with pytest.raises(InvalidInputError, match=f"{name} is 0; expected: a number above 0"):
            replace(BASE, **{name: 0})


def test_the_paper_s_machine_and_target_by_hand() -> None:
    assert BASE.expert_bytes == 3 * 2048 * 768 * 2
    assert BASE.expert_flops == 2 * 3 * 2048 * 768
    assert BASE.copy_s() == pytest.approx(0.3e-3 + 9_437_184 / 25.2e9)
    assert BASE.cpu_s(1) == pytest.approx(9_437_184 / 53.8e9)
    assert BASE.draft_s == pytest.approx(0.5e-3 + 4.411e9 / 1008e9, rel=1e-3)
    assert BASE.planning_s == load_machine("rtx4090").planning_s


# Of a layer 540 weights, of the rest 2·800 + 500; 100 tokens' keys and values are 2·16·100 bytes a layer.
BY_HAND = Costs(
    expert_bytes=600, expert_flops=600, copy_alpha_s=0.25, link_bytes_per_s=300, gpu_bytes_per_s=1000,
    gpu_flops_per_s=500, cpu_bytes_per_s=400, cpu_flops_per_s=200, dense_s=(1080 + 3200) / 1000,
    dense_position_s=2 * 540 / 500, head_s=4200 / 1000, draft_s=0.5 + 800 / 1000,
    draft_prefill_s=2 * 100 / 500, planning_s=24 * 2 / 48,
)  # fmt: skip
QUICK = replace(MACHINE, memory_bytes_per_s=10_000.0)  # so that the draft's arithmetic takes longer


@pytest.mark.parametrize(
    ("machine", "geometry", "expected"),
    [
        (MACHINE, None, BY_HAND),
        # From storage no faster than over the link, and no faster than the host computes.
        (replace(MACHINE, experts_in="storage"), None, replace(BY_HAND, cpu_bytes_per_s=300)),
        (
            replace(MACHINE, experts_in="storage", host_expert_bytes_per_s=250.0),
            None,
            replace(BY_HAND, cpu_bytes_per_s=250),
        ),
        (
            QUICK,
            None,
            replace(BY_HAND, gpu_bytes_per_s=10_000, dense_s=0.428, head_s=0.42, draft_s=0.5 + 0.4),
        ),
        # Half the layers: half the time of head, draft and policy. The router chooses of twice the experts.
        (
            MACHINE,
            MoEShape(1, 8, 2),
            replace(
                BY_HAND, dense_s=(1160 + 3200) / 1000, dense_position_s=2 * 580 / 500, head_s=2.1,
                draft_s=0.65, draft_prefill_s=0.2, planning_s=0.5,
            ),
        ),
    ],
)  # fmt: skip
def test_every_constant_by_hand(machine: Machine, geometry: MoEShape | None, expected: Costs) -> None:
    assert vars(cost_model(machine, MODEL, context=100, geometry=geometry)) == pytest.approx(vars(expected))
    assert cost_model(machine, replace(MODEL, draft=None)).draft_s == 0


RANGES = {  # so narrow that a number in another unit is not in them
    "memory_bytes_per_s": (100e9, 4e12),
    "flops_per_s": (20e12, 1e15),
    "copy_alpha_s": (50e-6, 500e-6),
    "link_bytes_per_s": (3e9, 60e9),
    "cpu_bytes_per_s": (3e9, 100e9),
    "host_flops_per_s": (50e9, 2e12),
    "planning_s": (0.5e-3, 3e-3),
}


@pytest.mark.parametrize("machine", list_machines())
@pytest.mark.parametrize("name", RANGES)
def test_every_bundled_machine_has_the_numbers_of_one(machine: str, name: str) -> None:
    least, most = RANGES[name]
    assert least < getattr(load_machine(machine), name) < most


@pytest.mark.parametrize("machine", list_machines())
@pytest.mark.parametrize("model", list_model_specs())
def test_an_expert_is_quickest_from_its_slot_on_every_machine(machine, model):
    costs = cost_model(machine, model)
    assert costs.gpu_s(1) < min(costs.copy_s(), costs.cpu_s(1))
    assert 0 < costs.dense_position_s < costs.dense_s
    assert 0 < costs.draft_prefill_s < costs.draft_s


def test_four_bits_shorten_reading_and_not_arithmetic() -> None:
    four = cost_model("rtx4090", "qwen3-30b-a3b-4bit")
    assert four.cpu_read_s == pytest.approx(BASE.cpu_read_s * 4.5 / 16)
    assert four.cpu_pair_s == BASE.cpu_pair_s
    assert four.copy_alpha_s == BASE.copy_alpha_s


def test_a_longer_context_is_read_by_every_layer() -> None:
    longer = cost_model("rtx4090", "qwen3-30b-a3b", context=9216)
    read_bytes = 8192 * 2 * load_model_spec("qwen3-30b-a3b").kv_values
    assert longer.dense_s - BASE.dense_s == pytest.approx(read_bytes / 1008e9)
    for context in (-1, 1.5, True):
        with pytest.raises(InvalidInputError, match=f"context is {context}; expected: a whole number"):
            cost_model("rtx4090", "qwen3-30b-a3b", context=context)


def test_another_geometry_keeps_the_expert_and_scales_the_rest() -> None:
    scaled = cost_model("rtx4090", "qwen3-30b-a3b", geometry=MoEShape(8, 64, 4))
    assert scaled.expert_bytes == BASE.expert_bytes
    assert scaled.copy_s() == BASE.copy_s()
    assert scaled.planning_s == pytest.approx(BASE.planning_s * 8 / PLANNED_LAYERS)
    for name in ("head_s", "draft_s", "draft_prefill_s"):
        assert getattr(scaled, name) == pytest.approx(getattr(BASE, name) * 8 / 48, rel=1e-4), name
