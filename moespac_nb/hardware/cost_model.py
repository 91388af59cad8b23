"""What each operation of a decode costs on a machine: seconds and bytes, all that a scheduler needs to know.

    cost = costs("rtx4090", "qwen3-30b-a3b")
    cost.copy_s(), cost.gpu_s(positions=3), cost.cpu_s(positions=3)

Plain arithmetic over named constants: a copy takes α + bytes/bandwidth; an expert takes as long as the slower
of reading its weights once and computing its pairs. What follows from these numbers is *modelled*. Left out,
so that modelled times flatter: kernel launches, and lanes that share one memory and slow each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import numpy as np

from ..trace.step import MoEShape
from ..utils.exceptions import MoespacError
from .machine import Machine, load_machine
from .model_library import ModelSpec, load_model_spec

__all__ = ["Costs", "cost_model"]

PLANNED_LAYERS = 48  # a machine's plan_ms is for so many, as the paper's target has

MAY_BE_ZERO = {
    "copy_alpha_s",
    "dense_s",
    "dense_position_s",
    "head_s",
    "draft_s",
    "draft_prefill_s",
    "plan_s",
}


@dataclass(frozen=True, kw_only=True)
class Costs:
    """One machine running one model. A pair is one position served by one expert.

    Seconds and bytes; every rate above 0, every time 0 or more, all finite; else MoespacError.
    """

    expert_bytes: int
    expert_flops: float  # of one pair: 2 flops a weight, 2·3·h·f
    copy_alpha_s: float  # what each copy costs whatever its size
    link_bytes_per_s: float
    gpu_bytes_per_s: float
    gpu_flops_per_s: float
    cpu_bytes_per_s: float
    cpu_flops_per_s: float
    dense_s: float  # of one layer in one pass: attention, norms, router, shared experts
    dense_position_s: float  # more for each position of the pass
    head_s: float  # of one pass outside these layers: embedding, dense layers, head
    draft_s: float  # one drafted token
    draft_prefill_s: float  # one prompt token read by the draft
    plan_s: float  # what a policy thinks in one window

    def __post_init__(self) -> None:
        for constant in fields(self):
            value = getattr(self, constant.name)
            least_is_zero = constant.name in MAY_BE_ZERO
            is_number = isinstance(value, int | float | np.number) and not isinstance(value, bool)
            if not (is_number and math.isfinite(value) and (value >= 0 if least_is_zero else value > 0)):
                accepted = "a number of 0 or more" if least_is_zero else "a number above 0"
                raise MoespacError(f"{constant.name} is {value!r}; expected: {accepted}")

    # An expert's work is max(read, positions · pair); as parts, for who computes on arrays.

    @cached_property
    def gpu_read_s(self) -> float:
        """Reading one expert's weights from a slot."""
        return self.expert_bytes / self.gpu_bytes_per_s

    @cached_property
    def gpu_pair_s(self) -> float:
        """The arithmetic of one pair on the device."""
        return self.expert_flops / self.gpu_flops_per_s

    @cached_property
    def cpu_read_s(self) -> float:
        """Reading one expert's weights from where the host keeps them."""
        return self.expert_bytes / self.cpu_bytes_per_s

    @cached_property
    def cpu_pair_s(self) -> float:
        """The arithmetic of one pair on the host."""
        return self.expert_flops / self.cpu_flops_per_s

    @cached_property
    def _copy_s(self) -> float:
        return self.copy_alpha_s + self.expert_bytes / self.link_bytes_per_s

    def copy_s(self) -> float:
        """Bringing one expert into a slot."""
        return self._copy_s

    def gpu_s(self, positions: int) -> float:
        """One expert serving so many positions from its slot; nobody costs nothing."""
        return max(self.gpu_read_s, positions * self.gpu_pair_s) if positions else 0.0

    def cpu_s(self, positions: int) -> float:
        """The same on the CPU lane."""
        return max(self.cpu_read_s, positions * self.cpu_pair_s) if positions else 0.0

    def layer_s(self, positions: int) -> float:
        """One layer's dense part in a pass over so many positions."""
        return self.dense_s + positions * self.dense_position_s


def cost_model(
    on: Machine | str | Path,
    model: ModelSpec | str | Path,
    *,
    context: int = 1024,
    geometry: MoEShape | None = None,
) -> Costs:
    """The costs of a model on a machine, each a profile, its name, or a TOML file.

    context: tokens whose keys and values a pass reads. geometry: that of a trace to be replayed as if its
    experts were this model's; `mismatch` says what is then scaled. A model without a draft
    drafts in no time.
    """
    on, model = load_machine(on), load_model_spec(model)
    if isinstance(context, bool) or not isinstance(context, int) or context < 0:
        raise MoespacError(f"context is {context!r}; expected: a whole number of tokens, 0 or more")
    model = model if geometry is None else model.as_if(geometry)
    kv_bytes = 2 * model.kv_values * context  # one layer's
    draft = model.draft
    return Costs(
        expert_bytes=model.expert_bytes,
        expert_flops=2.0 * model.expert_parameters,
        copy_alpha_s=on.copy_alpha_s,
        link_bytes_per_s=on.link_bytes_per_s,
        gpu_bytes_per_s=on.memory_bytes_per_s,
        gpu_flops_per_s=on.flops_per_s,
        cpu_bytes_per_s=on.cpu_bytes_per_s,
        cpu_flops_per_s=on.host_flops_per_s,
        dense_s=(model.layer_bytes + kv_bytes) / on.memory_bytes_per_s,
        dense_position_s=2 * model.layer_parameters / on.flops_per_s,
        head_s=model.head_bytes / on.memory_bytes_per_s,
        draft_s=draft.token_s(on.memory_bytes_per_s, on.flops_per_s) if draft else 0.0,
        draft_prefill_s=draft.prompt_token_s(on.flops_per_s) if draft else 0.0,
        plan_s=on.plan_s * model.moe_layers / PLANNED_LAYERS,
    )
