"""`moespac fit`: what a machine's memory leaves for experts. `moespac calibrate`: this machine's profile."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.defaults import MACHINE, MODEL
from ..utils.exceptions import InvalidInputError
from .output import show, working

if TYPE_CHECKING:
    from ..hardware.memory_plan import MemoryPlan
    from ..hardware.model import ModelSpec

__all__ = ["calibrate", "fit"]

DOES_NOT_FIT = 1


def fit(
    machine: str = MACHINE,
    model: str | None = None,
    model_path: str | None = None,
    download: bool = False,
    context: int = 4096,
    no_draft: bool = False,
    json: bool = False,
) -> int:
    """Show what a machine's memory leaves for experts.

    Ends with 1 if the model does not fit.

        moespac fit --machine rtx4090 --model qwen3-30b-a3b --context 8192
        moespac fit --machine laptop4060 --model-path my-moe
    """
    from ..hardware.memory_plan import plan_memory

    if None not in (model, model_path):
        raise InvalidInputError(
            "--model and --model-path are both given; expected: one of them, --model for a named model or "
            "--model-path for one of your own"
        )
    sizes = (model or MODEL) if model_path is None else _own_sizes(model_path, download)
    plan = plan_memory(machine, sizes, context=context, draft=model_path is None and not no_draft)
    show(_in_words(plan), plan.as_dict(), json)
    return 0 if plan.fits else DOES_NOT_FIT


def _own_sizes(model_path: str, download: bool) -> ModelSpec:
    from ..models.loading import model_of_config
    from ..offloading.own_spec import spec_from_model

    with working("reading its config"):
        return spec_from_model(model_of_config(model_path, download=download))


def _in_words(plan: MemoryPlan) -> str:
    """Return every item of the subtraction, what it leaves, and what to change."""
    names = {
        "reserved": "reserved by driver and system",
        "dense": "attention, embeddings, shared",
        "kv_cache": f"KV cache of {plan.context} tokens",
        "draft": f"draft, {plan.draft}" if plan.draft else "draft, none",
        "workspace": "workspace",
    }
    rows = [("device memory", plan.memory_bytes)]
    rows += [(f"- {names[item]}", taken) for item, taken in plan.taken_bytes.items()]
    rows.append(("= left for experts", plan.left_bytes))
    width = max(len(words) for words, _ in rows)
    lines = [f"{plan.model} on {plan.machine}, modelled from their profiles"]
    lines += [f"  {words:<{width}} {_gib(size):>8} GiB" for words, size in rows]
    if plan.fits_device:
        verdict = "fits" if plan.fits else "room for"
        lines.append(
            f"{verdict}: {plan.slots:,} slots of {plan.expert_bytes / 1e6:.1f} MB, {plan.share:.0%} of "
            f"{plan.all_experts:,} experts, a budget of {plan.budget_bytes:,} bytes"
        )
    else:
        lines.append(
            f"does not fit: not one expert of {plan.expert_bytes / 1e6:.1f} MB has room on the device"
        )
    if not plan.fits_host:
        lines.append(
            f"does not fit: all experts take {_gib(plan.all_experts_bytes)} GiB, the host has "
            f"{_gib(plan.host_memory_bytes)}"
        )
    if plan.advice:
        lines += ["with another choice:", *(f"  {line}" for line in plan.advice)]
    return "\n".join(lines)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f}"


def calibrate(out: Path | None = None, quick: bool = False, json: bool = False) -> int:
    """Measure this machine, and write its profile.

    moespac calibrate --out mine.toml

    moespac replay math --machine mine.toml
    """
    from ..hardware.calibration import as_dict, check_path, to_toml, write_machine
    from ..hardware.calibration import calibrate as measure
    from ..policies.timing import measure_planning_s

    if out is not None:
        check_path(out)  # before the measuring, not after
    with working("measuring"):
        calibration = measure(planning_s=measure_planning_s, quick=quick)
    if out is not None:
        write_machine(calibration, out)
    words = to_toml(calibration) + (f"\nwritten: --machine {out}" if out else "")
    show(words.rstrip(), {**as_dict(calibration), "file": out and str(out)}, json)
    return 0
