"""What each operation of a decode costs on a machine: seconds and bytes, all that a scheduler needs to know.

    cost = costs("rtx4090", "qwen3-30b-a3b")
    cost.copy_s(), cost.gpu_s(positions=3), cost.cpu_s(positions=3)

Plain arithmetic over named constants: a copy takes α + bytes/bandwidth; an expert takes as long as the slower
of reading its weights once and computing its pairs. What follows from these numbers is *modelled*. Left out, so
that modelled times flatter: kernel launches, and lanes that share one memory and slow each other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property

from .errors import MoespacError

__all__ = ["Costs"]

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
            if not (math.isfinite(value) and (value >= 0 if least_is_zero else value > 0)):
                accepted = "a number of 0 or more" if least_is_zero else "a number above 0"
                raise MoespacError(f"{constant.name} is {value!r}; accepted: {accepted}")

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
