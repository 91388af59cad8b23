"""What each operation of a decode costs on a machine: the seconds and bytes that a scheduler needs to know.

    costs = cost_model("rtx4090", "qwen3-30b-a3b")
    costs.copy_s(), costs.gpu_s(positions=3), costs.cpu_s(positions=3)

Plain arithmetic over named constants: a copy takes α + bytes/bandwidth; an expert takes as long as the slower
of reading its weights once and computing its pairs. What follows from these numbers is *modelled*. Left out,
so that modelled times flatter: kernel launches, and hidden states that cross the link.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

from ..trace.step import MoEShape
from ..utils.validation import check_number, checked_whole
from .machine import Machine, load_machine
from .model import ModelSpec, load_model_spec
from .scaling import scale_to_trace

__all__ = ["MAY_BE_ZERO", "PLANNED_LAYERS", "Costs", "cost_model"]

PLANNED_LAYERS = 48  # a machine's planning_s is for so many, as the paper's target has
MAY_BE_ZERO = (
    "copy_alpha_s", "next_copy_alpha_s", "dense_s", "dense_position_s", "head_s", "draft_s",
    "draft_prefill_s", "planning_s",
)  # fmt: skip
OPTIONAL = ("next_copy_alpha_s", "bus_bytes_per_s")


@dataclass(frozen=True, kw_only=True)
class Costs:
    """What the operations of one model take on one machine. A pair is one position served by one expert.

    Parameters
    ----------
    expert_bytes : int
        Of one expert.
    expert_flops : float
        Of one pair: 2 flops a weight, 2·3·h·f.
    copy_alpha_s : float
        Seconds that each copy takes whatever its size.
    link_bytes_per_s : float
        Of a copy.
    gpu_bytes_per_s, gpu_flops_per_s, cpu_bytes_per_s, cpu_flops_per_s : float
        How fast an expert's weights are read, and its pairs computed, on the two lanes.
    dense_s, dense_position_s : float
        Seconds of one layer's attention, norms, router and shared experts in one pass, and in addition for
        each of its positions.
    head_s : float
        Seconds of one pass outside these layers: embedding, dense layers, head.
    draft_s, draft_prefill_s : float
        Seconds of one drafted token, and of one prompt token that the draft reads.
    planning_s : float
        Seconds that estimator and balancer take in one window.
    next_copy_alpha_s : float, optional
        In place of `copy_alpha_s` for a copy that begins as soon as another ends.
    bus_bytes_per_s : float, optional
        What the host's memory gives to copies and the CPU lane together; None where they do not share it.

    Raises
    ------
    InvalidInputError
        If one is no finite number, or is not above 0; of `MAY_BE_ZERO`, if it is below 0.

    Examples
    --------
    >>> from moespac_nb import cost_model
    >>> costs = cost_model("rtx4090", "qwen3-30b-a3b")
    >>> costs.gpu_s(1) < costs.cpu_s(1) < costs.copy_s()  # a resident, the CPU lane, a miss
    True
    """

    expert_bytes: int
    expert_flops: float
    copy_alpha_s: float
    link_bytes_per_s: float
    gpu_bytes_per_s: float
    gpu_flops_per_s: float
    cpu_bytes_per_s: float
    cpu_flops_per_s: float
    dense_s: float
    dense_position_s: float
    head_s: float
    draft_s: float
    draft_prefill_s: float
    planning_s: float
    next_copy_alpha_s: float | None = None
    bus_bytes_per_s: float | None = None

    def __post_init__(self) -> None:
        for constant in fields(self):
            if constant.name in OPTIONAL and getattr(self, constant.name) is None:
                continue
            limit = {"least": 0} if constant.name in MAY_BE_ZERO else {"above": 0}
            check_number(constant.name, getattr(self, constant.name), **limit)

    # An expert's work is max(read, positions · pair); its parts, for arrays of positions:

    @cached_property
    def gpu_read_s(self) -> float:
        """Seconds to read one expert's weights from a slot."""
        return self.expert_bytes / self.gpu_bytes_per_s

    @cached_property
    def gpu_pair_s(self) -> float:
        """Seconds of one pair's arithmetic on the device."""
        return self.expert_flops / self.gpu_flops_per_s

    @cached_property
    def cpu_read_s(self) -> float:
        """Seconds to read one expert's weights from where the host keeps them."""
        return self.expert_bytes / self.cpu_bytes_per_s

    @cached_property
    def cpu_pair_s(self) -> float:
        """Seconds of one pair's arithmetic on the host."""
        return self.expert_flops / self.cpu_flops_per_s

    def copy_s(self, follows: bool = False) -> float:
        """Return the seconds to copy one expert into a slot; `follows`: as soon as another copy ends."""
        alpha_s = (
            self.next_copy_alpha_s if follows and self.next_copy_alpha_s is not None else self.copy_alpha_s
        )
        return alpha_s + self.expert_bytes / self.link_bytes_per_s

    def gpu_s(self, positions: int) -> float:
        """Return the seconds to run one resident expert on `positions` tokens; 0 for no tokens."""
        return max(self.gpu_read_s, positions * self.gpu_pair_s) if positions else 0.0

    def cpu_s(self, positions: int) -> float:
        """Return the seconds to run one expert on `positions` tokens on the CPU lane; 0 for no tokens."""
        return max(self.cpu_read_s, positions * self.cpu_pair_s) if positions else 0.0

    def layer_s(self, positions: int) -> float:
        """Return the seconds of one layer's dense part in a pass over `positions` tokens."""
        return self.dense_s + positions * self.dense_position_s


def cost_model(
    machine: Machine | str | Path,
    model: ModelSpec | str | Path,
    *,
    context: int = 1024,
    geometry: MoEShape | None = None,
    shared_bus: bool = False,
) -> Costs:
    """Compute what a model's operations cost on a machine.

    Parameters
    ----------
    machine : Machine, str or Path
        See `load_machine`.
    model : ModelSpec, str or Path
        See `load_model_spec`. One without a draft drafts in no time.
    context : int, default 1024
        Tokens whose keys and values a pass reads.
    geometry : MoEShape, optional
        Of a trace that is replayed as if its experts were this model's; see `scale_to_trace`.
    shared_bus : bool, default False
        Whether copies and the CPU lane share the bandwidth of the host's memory.

    Returns
    -------
    Costs

    Raises
    ------
    InvalidInputError
        If the machine or the model is unknown, or the context is no whole number from 0.

    Examples
    --------
    The 9,437,184 bytes of an expert over a link of 25.2 GB/s, and 0.3 ms:

    >>> costs = cost_model("rtx4090", "qwen3-30b-a3b")
    >>> round(1e3 * costs.copy_s(), 4)
    0.6745
    >>> costs.cpu_s(1) < costs.copy_s(), costs.gpu_s(0)
    (True, 0.0)
    """
    machine, model = load_machine(machine), load_model_spec(model)
    context = checked_whole("context", context, least=0)
    model = model if geometry is None else scale_to_trace(model, geometry)
    draft = model.draft
    layer_kv_bytes = 2 * model.kv_values * context
    return Costs(
        expert_bytes=model.expert_bytes,
        expert_flops=2.0 * model.expert_parameters,
        copy_alpha_s=machine.copy_alpha_s,
        next_copy_alpha_s=machine.next_copy_alpha_s,
        link_bytes_per_s=machine.link_bytes_per_s,
        gpu_bytes_per_s=machine.memory_bytes_per_s,
        gpu_flops_per_s=machine.flops_per_s,
        cpu_bytes_per_s=machine.cpu_bytes_per_s,
        cpu_flops_per_s=machine.host_flops_per_s,
        dense_s=(model.layer_bytes + layer_kv_bytes) / machine.memory_bytes_per_s,
        dense_position_s=2 * model.layer_parameters / machine.flops_per_s,
        head_s=model.head_bytes / machine.memory_bytes_per_s,
        draft_s=draft.token_s(machine.memory_bytes_per_s, machine.flops_per_s) if draft else 0.0,
        draft_prefill_s=draft.prompt_token_s(machine.flops_per_s) if draft else 0.0,
        planning_s=machine.planning_s * model.moe_layers / PLANNED_LAYERS,
        bus_bytes_per_s=machine.bus_bytes_per_s if shared_bus else None,
    )
