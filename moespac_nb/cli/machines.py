"""`moespac fit`: what a machine's memory leaves for experts. `moespac calibrate`: this machine's profile."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from ..utils.exceptions import MoespacError
from .model_options import path_arguments, told_to_fetch
from .output import print_json

if TYPE_CHECKING:
    from ..hardware.memory_plan import MemoryPlan
    from ..hardware.model import ModelSpec

DOES_NOT_FIT = 1


def fit_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--machine", required=True, metavar="NAME|FILE", help="rtx4090, …, or a .toml file")
    parser.add_argument("--model", metavar="NAME|FILE", help="qwen3-30b-a3b, …-4bit, …, or a .toml file")
    path_arguments(parser, "in place of --model: its config.json alone is read")
    parser.add_argument("--context", type=int, default=4096, help="tokens to keep (default %(default)s)")
    parser.add_argument(
        "--draft", help="yes or no: is the profile's draft there too? (default yes, of your own model no)"
    )


def fit(options: argparse.Namespace) -> int:
    """Print what is left for experts; 1 where it does not fit."""
    from ..hardware.memory_plan import plan_memory

    if options.draft not in ("yes", "no", None):
        raise MoespacError(f"--draft is {options.draft!r}; expected: yes or no")
    if (options.model is None) == (options.model_path is None):
        raise MoespacError("expected: one of --model, a named model, and --model-path, one of your own")
    drafting = options.draft or ("yes" if options.model_path is None else "no")
    model = options.model or _own_profile(options)
    found = plan_memory(options.machine, model, context=options.context, draft=drafting == "yes")
    if options.json:
        print_json(found.as_dict())
    else:
        print(fit_in_words(found))
    return 0 if found.fits else DOES_NOT_FIT


def _own_profile(options: argparse.Namespace) -> ModelSpec:
    from ..models.loading import model_of_config
    from ..offloading.own_spec import spec_from_model

    with told_to_fetch():
        return spec_from_model(model_of_config(options.model_path, download=options.download))


def fit_in_words(found: MemoryPlan) -> str:
    """Every item of the subtraction, what it leaves, and what to change."""
    names = {
        "reserved": "reserved by driver and system",
        "dense": "attention, embeddings, shared",
        "kv_cache": f"KV cache of {found.context} tokens",
        "draft": f"draft, {found.draft}" if found.draft else "draft, none",
        "workspace": "workspace",
    }
    rows = [("device memory", found.memory_bytes)]
    rows += [(f"- {names[item]}", taken) for item, taken in found.taken_bytes.items()]
    rows.append(("= left for experts", found.left_bytes))
    width = max(len(words) for words, _ in rows)
    lines = [f"{found.model} on {found.machine}, modelled from their profiles"]
    lines += [f"  {words:<{width}} {_gib(size):>8} GiB" for words, size in rows]
    if found.fits_device:
        verdict = "fits" if found.fits else "room for"
        lines.append(
            f"{verdict}: {found.slots:,} slots of {found.expert_bytes / 1e6:.1f} MB, {found.share:.0%} of "
            f"{found.all_experts:,} experts, a budget of {found.budget_bytes:,} bytes"
        )
    else:
        lines.append(
            f"does not fit: not one expert of {found.expert_bytes / 1e6:.1f} MB has room on the device"
        )
    if not found.fits_host:
        lines.append(
            f"does not fit: all experts take {_gib(found.all_experts_bytes)} GiB, the host has "
            f"{_gib(found.host_memory_bytes)}"
        )
    if found.advice:
        lines += ["with another choice:", *(f"  {line}" for line in found.advice)]
    return "\n".join(lines)


def _gib(size_bytes: int) -> str:
    return f"{size_bytes / 2**30:.2f}"


def calibrate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, metavar="FILE", help="the profile to write, a .toml file")
    parser.add_argument("--quick", action="store_true", help="some seconds, small buffers: rougher")


def calibrate(options: argparse.Namespace) -> int:
    """Measure, print, and write the profile where one was asked for."""
    from ..hardware.calibration import as_dict, check_path, to_toml, write_machine
    from ..hardware.calibration import calibrate as calibrated
    from ..policies.timing import measure_planning_s

    if options.out is not None:
        check_path(options.out)  # before the measuring, not after
    found = calibrated(planning_s=measure_planning_s, quick=options.quick)
    if options.out is not None:
        write_machine(found, options.out)
    if options.json:
        print_json({**as_dict(found), "file": options.out and str(options.out)})
    elif options.out is None:
        print(to_toml(found), end="")
    else:
        print(to_toml(found) + f"\nwritten: --machine {options.out}")
    return 0
