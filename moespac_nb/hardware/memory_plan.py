"""Does it fit? What a machine's device memory leaves for experts, and what to change where it leaves nothing.

fit("rtx4090", "qwen3-30b-a3b", context=8192).slots
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ..utils.exceptions import MoespacError
from .machine import Machine, load_machine
from .model_library import FOUR_BIT, ModelSpec, list_model_specs, load_model_spec

__all__ = ["MemoryPlan", "plan_memory"]

SHORT_CONTEXT = 2048  # what a reader is told to try, where the context asked for is longer


@dataclass(frozen=True, kw_only=True)
class MemoryPlan:
    """Device memory, item by item. `advice` is what other choices would give, where this one is tight."""

    machine: str
    model: str
    context: int
    draft: str | None  # its name; None without
    memory_bytes: int  # of the device
    taken_bytes: Mapping[str, int]  # reserved, dense, kv_cache, draft, workspace
    expert_bytes: int
    all_experts: int
    slots: int  # at most all experts; 0 where it does not fit
    host_memory_bytes: int
    all_experts_bytes: int
    advice: tuple[str, ...]

    @property
    def left_bytes(self) -> int:
        """What is left for experts; negative where the rest alone is too much."""
        return self.memory_bytes - sum(self.taken_bytes.values())

    @property
    def budget_bytes(self) -> int:
        """What the slots take."""
        return self.slots * self.expert_bytes

    @property
    def share(self) -> float:
        """Of all experts."""
        return self.slots / self.all_experts

    @property
    def fits_device(self) -> bool:
        """Room for one expert at least."""
        return self.slots > 0

    @property
    def fits_host(self) -> bool:
        """All experts have a place outside the device, or wholly within it."""
        return self.slots == self.all_experts or self.all_experts_bytes <= self.host_memory_bytes

    @property
    def fits(self) -> bool:
        return self.fits_device and self.fits_host

    def as_dict(self) -> dict[str, Any]:
        """Everything as plain values."""
        derived = ("left_bytes", "budget_bytes", "share", "fits_device", "fits_host", "fits")
        return {**asdict(self), **{name: getattr(self, name) for name in derived}}


def plan_memory(
    on: Machine | str | Path, model: ModelSpec | str | Path, *, context: int = 4096, draft: bool = True
) -> MemoryPlan:
    """What is left for experts beside everything else that must be on the device.

    context: tokens whose keys and values are kept, 1 to the model's own limit. draft: whether the model's
    draft is there too. All of it is modelled, on the profiles' constants.
    """
    on, model = load_machine(on), load_model_spec(model)
    if isinstance(context, bool) or not isinstance(context, int) or not 1 <= context <= model.context:
        raise MoespacError(
            f"context is {context!r}; expected: 1 to {model.context}, what {model.name} can read"
        )
    if draft and model.draft is None:
        raise MoespacError(f"{model.name} has no draft in its profile; expected: without a draft")
    found = _fit(on, model, context, draft, ())
    if found.fits and found.share == 1:
        return found
    return _fit(on, model, context, draft, _advice(on, model, context, draft, found))


def _fit(on: Machine, model: ModelSpec, context: int, draft: bool, advice: tuple[str, ...]) -> MemoryPlan:
    drafting = model.draft if draft else None
    taken = {
        "reserved": on.reserved_bytes,
        "dense": model.dense_bytes,
        "kv_cache": context * model.kv_bytes_per_token,
        "draft": drafting.memory_bytes(context) if drafting else 0,
        "workspace": model.workspace_bytes,
    }
    left = max(0, on.memory_bytes - sum(taken.values()))
    return MemoryPlan(
        machine=on.name,
        model=model.name,
        context=context,
        draft=drafting.name if drafting else None,
        memory_bytes=on.memory_bytes,
        taken_bytes=taken,
        expert_bytes=model.expert_bytes,
        all_experts=model.all_experts,
        slots=min(left // model.expert_bytes, model.all_experts),
        host_memory_bytes=on.host_memory_bytes,
        all_experts_bytes=model.all_experts * model.expert_bytes,
        advice=advice,
    )


def _advice(on: Machine, model: ModelSpec, context: int, draft: bool, found: MemoryPlan) -> tuple[str, ...]:
    """Each change by itself, then all of them, with what it gives; only those that give more."""
    four_bit = model.name + FOUR_BIT
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
    tried = {words: _fit(on, *change, ()) for words, change in changes.items()}
    lines = [
        f"{words}: {other.slots} slots, {other.share:.0%} of the experts"
        + ("" if other.fits_host else ", but they do not fit the host")
        for words, other in tried.items()
        if (other.fits, other.share) > (found.fits, found.share)
    ]
    if not found.fits and not any(other.fits for other in tried.values()):
        lacks = "host memory" if found.fits_device else "device memory"
        lines.append(f"nothing above makes it fit; a machine with more {lacks} would")
    return tuple(lines)
