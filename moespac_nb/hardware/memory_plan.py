"""What a machine's device memory leaves for experts, and what to change where it leaves nothing.

plan_memory("rtx4090", "qwen3-30b-a3b", context=8192).slots
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ..utils.exceptions import InvalidInputError
from ..utils.validation import is_whole
from .machine import Machine, load_machine
from .model import FOUR_BIT, ModelSpec, list_model_specs, load_model_spec

__all__ = ["MemoryPlan", "plan_memory"]

SHORT_CONTEXT = 2048  # what the advice offers where the context is longer


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Device memory, item by item.

    Parameters
    ----------
    machine, model : str
        Their names.
    context : int
        Tokens whose keys and values are kept.
    draft : str or None
        The draft's name; None without one.
    memory_bytes : int
        Of the device.
    taken_bytes : mapping of str to int
        What takes it before experts do: reserved, dense, kv_cache, draft, workspace.
    expert_bytes, all_experts : int
        Bytes of one expert, and how many the model has.
    slots : int
        Experts that have room in what is left; 0 where none has.
    host_memory_bytes, all_experts_bytes : int
        The host's memory (or storage), and what all experts take of it.
    advice : tuple of str
        What other choices would give, where this one is tight.

    Examples
    --------
    >>> from moespac_nb import plan_memory
    >>> plan = plan_memory("rtx4090", "qwen3-30b-a3b", draft=False)
    >>> plan.fits, round(plan.share, 2), sorted(plan.taken_bytes)
    (True, 0.36, ['dense', 'draft', 'kv_cache', 'reserved', 'workspace'])
    """

    machine: str
    model: str
    context: int
    draft: str | None
    memory_bytes: int
    taken_bytes: Mapping[str, int]
    expert_bytes: int
    all_experts: int
    slots: int
    host_memory_bytes: int
    all_experts_bytes: int
    advice: tuple[str, ...] = ()

    @property
    def left_bytes(self) -> int:
        """What is left for experts; negative where the rest alone is too much."""
        return self.memory_bytes - sum(self.taken_bytes.values())

    @property
    def budget_bytes(self) -> int:
        """Bytes of the slots."""
        return self.slots * self.expert_bytes

    @property
    def share(self) -> float:
        """The slots as a share of all experts."""
        return self.slots / self.all_experts

    @property
    def fits_device(self) -> bool:
        """Whether there is room for one expert at least."""
        return self.slots > 0

    @property
    def fits_host(self) -> bool:
        """Whether all experts have a place outside the device, or all have a slot."""
        return self.slots == self.all_experts or self.all_experts_bytes <= self.host_memory_bytes

    @property
    def fits(self) -> bool:
        """Whether both hold."""
        return self.fits_device and self.fits_host

    def as_dict(self) -> dict[str, Any]:
        """Return fields and properties as plain values."""
        derived = ("left_bytes", "budget_bytes", "share", "fits_device", "fits_host", "fits")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def plan_memory(
    machine: Machine | str | Path, model: ModelSpec | str | Path, *, context: int = 4096, draft: bool = True
) -> MemoryPlan:
    """Compute what is left for experts beside everything else that must be on the device.

    All of it is modelled, from the constants of the two profiles.

    Parameters
    ----------
    machine : Machine, str or Path
        See `load_machine`.
    model : ModelSpec, str or Path
        See `load_model_spec`.
    context : int, default 4096
        Tokens whose keys and values are kept, from 1 to what the model can read.
    draft : bool, default True
        Whether the model's draft is on the device too.

    Returns
    -------
    MemoryPlan

    Raises
    ------
    InvalidInputError
        If the machine or the model is unknown, the context out of its range, or a draft is asked for that
        the model does not have.

    Examples
    --------
    >>> plan = plan_memory("laptop4060", "olmoe-1b-7b", context=2048, draft=False)
    >>> plan.slots, plan.fits
    (512, True)
    >>> plan.advice
    ('4-bit weights (olmoe-1b-7b-4bit): 1024 slots, 100% of the experts',)
    """
    machine, model = load_machine(machine), load_model_spec(model)
    if not is_whole(context, 1, model.context):
        raise InvalidInputError(
            f"context is {context!r}; expected: 1 to {model.context}, what {model.name} can read"
        )
    if draft and model.draft is None:
        raise InvalidInputError(f"{model.name} has no draft in its profile; expected: without a draft")
    plan = _plan(machine, model, context, draft)
    if plan.fits and plan.share == 1:
        return plan
    return replace(plan, advice=_advice(machine, model, plan))


def _plan(machine: Machine, model: ModelSpec, context: int, draft: bool) -> MemoryPlan:
    drafting = model.draft if draft else None
    taken = {
        "reserved": machine.reserved_bytes,
        "dense": model.dense_bytes,
        "kv_cache": context * model.kv_bytes_per_token,
        "draft": drafting.memory_bytes(context) if drafting else 0,
        "workspace": model.workspace_bytes,
    }
    left_bytes = max(0, machine.memory_bytes - sum(taken.values()))
    return MemoryPlan(
        machine=machine.name,
        model=model.name,
        context=context,
        draft=drafting.name if drafting else None,
        memory_bytes=machine.memory_bytes,
        taken_bytes=taken,
        expert_bytes=model.expert_bytes,
        all_experts=model.all_experts,
        slots=min(left_bytes // model.expert_bytes, model.all_experts),
        host_memory_bytes=machine.host_memory_bytes,
        all_experts_bytes=model.all_experts * model.expert_bytes,
    )


def _advice(machine: Machine, model: ModelSpec, plan: MemoryPlan) -> tuple[str, ...]:
    """Each change by itself, then all of them, with what it gives; only those that give more."""
    context, draft, four_bit = plan.context, plan.draft is not None, model.name + FOUR_BIT
    smaller = load_model_spec(four_bit) if four_bit in list_model_specs() else model
    changes: dict[str, tuple[ModelSpec, int, bool]] = {}
    if smaller is not model:
        changes[f"4-bit weights ({four_bit})"] = (smaller, context, draft)
    if draft:
        changes["no draft"] = (model, context, False)
    if context > SHORT_CONTEXT:
        changes[f"a context of {SHORT_CONTEXT}"] = (model, SHORT_CONTEXT, draft)
    if len(changes) > 1:
        changes["all of these"] = (smaller, min(context, SHORT_CONTEXT), False)
    plans = {words: _plan(machine, *change) for words, change in changes.items()}
    lines = [
        f"{words}: {other.slots} slots, {other.share:.0%} of the experts"
        + ("" if other.fits_host else ", but they do not fit the host")
        for words, other in plans.items()
        if (other.fits, other.share) > (plan.fits, plan.share)
    ]
    if not plan.fits and not any(other.fits for other in plans.values()):
        lacks = "host memory" if plan.fits_device else "device memory"
        lines.append(f"nothing above makes it fit; a machine with more {lacks} would")
    return tuple(lines)
