"""A trace that stands for a whole model: its speeds lie at a roofline, and nothing of it is left out."""

from __future__ import annotations

import numpy as np
import pytest

from moespac_nb.datasets.traces import load_trace
from moespac_nb.hardware.machine import load_machine
from moespac_nb.hardware.model import load_model_spec
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.trace.locality import expert_usage
from moespac_nb.trace.transforms.stacking import stack_layers
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.checked_device import COSTS

MACHINE, MODEL = load_machine("rtx4090"), load_model_spec("qwen3-30b-a3b")
WHOLE = load_trace("chat", half="report")
TRACE = WHOLE[: int(WHOLE.starts["steps"][1])]


def played(policy: str, budget: str = "17%", **options: object) -> Result:
    return replay(TRACE, policy, budget, whole_model=True, timeline=False, **options)  # type: ignore[arg-type]


def roofline_s(bytes_per_s: float) -> float:
    """Seconds a token of reading the experts of every window at a rate, and nothing else. Worked out by hand:

    48 layers; an expert has 3 · 2048 · 768 weights of 2 bytes, and one of the pair's stands for two.
    """
    asked = np.mean([(step.counts > 0).sum(axis=1).mean() for step in TRACE])
    tokens = np.mean([len(step.emitted) for step in TRACE])
    return float(48 * asked * 2 * (3 * 2048 * 768 * 2) / bytes_per_s / tokens)


@pytest.mark.parametrize(
    ("policy", "budget", "bytes_per_s"),
    [
        ("cpu-only", "17%", 53.8e9),  # all from the host's memory
        ("on-demand", "17%", 25.2e9),  # all over the link, as far as it is no hit
        ("static-hot", "100%", 1008e9),  # all from the device's memory
    ],
)
def test_speeds_lie_within_a_factor_of_two_of_a_roofline(
    policy: str, budget: str, bytes_per_s: float
) -> None:
    result = played(policy, budget, expert_usage=TRACE, gamma=None)
    other_s = (result.parts.draft_s + result.parts.dense_s + result.parts.planning_s) / result.tokens
    alpha_s = MACHINE.copy_alpha_s * result.counters.copies / result.tokens
    expected_s = roofline_s(bytes_per_s) * (1 - result.hit_rate * (policy == "on-demand")) + other_s + alpha_s
    assert 0.5 < result.tps_modelled * expected_s < 2


def test_what_is_charged_is_the_whole_models() -> None:
    result, part = played("cpu-only"), replay(TRACE, "cpu-only", timeline=False)
    passes = result.windows
    assert result.parts.dense_s > passes * MODEL.head_bytes / MACHINE.memory_bytes_per_s
    assert result.parts.draft_s == pytest.approx(6 * part.parts.draft_s)
    assert result.slots == 0
    assert played("recency").slots == int(0.17 * 48 * 64)
    assert played("recency").budget_bytes == pytest.approx(
        0.17 * MODEL.all_experts * MODEL.expert_bytes, rel=1e-6
    )
    assert result.notes == (
        "8 recorded layers stand for 48, 64 experts of top 4 for 128 of top 8, each of 2 × the model's bytes",
    )
    assert result.tps_whole_model == result.tps_modelled


def test_a_laid_out_trace_is_the_same_replay() -> None:
    laid_out = replay(stack_layers(TRACE, 48), "recency", timeline=False)
    assert laid_out.tps_modelled == played("recency").tps_modelled
    usage = expert_usage(TRACE)
    options = {"expert_usage": np.concatenate([usage] * 6), "timeline": False}
    hot = replay(stack_layers(TRACE, 48), "static-hot", **options)  # type: ignore[arg-type]
    assert hot.tps_modelled == played("static-hot", expert_usage=usage).tps_modelled


def test_who_copies_much_is_slower_on_a_shared_bus() -> None:
    for policy, most in (("recency", 0.95), ("cpu-only", 1.0)):
        apart, shared = (played(policy, shared_bus=bus) for bus in (False, True))
        assert (apart.shared_bus, shared.shared_bus) == (False, True)
        assert shared.tps_modelled <= most * apart.tps_modelled
        assert shared.counters.requested == apart.counters.requested


def test_costs_are_of_a_trace_as_recorded() -> None:
    with pytest.raises(InvalidInputError, match="whole_model is True and costs are given"):
        replay(TRACE, "recency", costs=COSTS, whole_model=True)
