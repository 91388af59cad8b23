"""A transformers model whose experts live in slots: it decodes under a memory budget, losslessly.

The experts' weights leave the model for a host store. What the layers compute with are copies in one pool of
equal slots, shared by all layers, which the engine fills as the policy says; an expert in no slot computes
straight from the store, on the CPU lane. Nothing is known here of how an expert computes: each layer's own
code runs, on a double of it whose weights are the slots, or the store's.

    with offload(model, budget="25%") as run:
        for step in run.decode("Once upon a time", draft=draft):
            ...
        print(run.counters, run.summary())

Threads may share the model: forwards wait for one another, and rounds of `Run.decode` do.

Three devices: `virtual`, where the arithmetic is real and the time is a named machine's, the same each time;
`host`, with threads, the wall clock and a throttled link; `cuda`, where the experts stay on the host and
everything else of the model moves to the GPU for the run. No GPU has checked the last one: the order of its
copies, kernels and waits is tested on a stand-in.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..engine.devices import Device
from ..hardware.budget import Budget, parse_budget
from ..hardware.cost_model import Costs, cost_model
from ..hardware.machine import Machine
from ..hardware.model import ModelSpec
from ..models.inspection import inspect_model
from ..policies import Policy
from ..trace.trace import Trace
from ..utils.validation import checked_whole
from .expert_store import expert_parameters
from .model_profile import expert_usage_for, profile_from_model
from .run import Run
from .stand_in import Away, run_of
from .support import checked_device, checked_gates, checked_modules, checked_policy

__all__ = ["Run", "offload", "offloaded"]


def offload(
    model: Any,
    budget: Budget | str | int = "25%",
    *,
    policy: str | Policy = "spac-joint",
    device: str | Device = "virtual",
    machine: Machine | str | Path = "rtx4090",
    model_profile: ModelSpec | str | Path | None = None,
    costs: Costs | None = None,
    link_bytes_per_s: float | None = None,
    gamma: int = 8,
    profile: np.ndarray | Trace | None = None,
    in_flight: int = 4,
) -> Run:
    """Moves the model's experts out, until the `with` block or `Run.close` ends it.

    Without a block it also ends as the model is offloaded anew; `offloaded` finds it.

    model: a transformers mixture-of-experts model on the CPU; everything it does, `generate` included, is
    then done from slots. budget: bytes for slots: a share of all experts, such as "25%", a size, such as
    "512MiB", or a number of bytes. Above what all experts take it is capped, with a warning.
    policy: any but those that read the future. device: `virtual`, `host`, `cuda`, or one's own `Device`,
    which ends with the run.
    machine, model_profile: what is true on the virtual device, and what policies reckon with on any; without
    a profile, the model's own sizes. costs: instead of the two. link_bytes_per_s: instead of the machine's.
    On the virtual device experts are as large as these say, budgets too; on others as large as they are.
    gamma: the draft length that policies reckon with, and `decode` takes. in_flight: copies at a time.
    profile: (layers, experts), how often other texts used each expert, or a trace that says so, for policies
    that need one; the bundled target brings its own.
    Raises MoespacError, with nothing changed, for what is not accepted or a model that cannot be offloaded.
    """
    info = inspect_model(model)
    earlier = run_of(info.experts)
    checked_modules(model, info, earlier)
    shape = info.shape
    played = checked_policy(policy)
    ahead = checked_gates(model, info, played)
    known = expert_usage_for(model, shape, profile, needed_by=played.name if played.needs_profile else None)
    wanted = parse_budget(budget)
    gamma = checked_whole("gamma", gamma, least=0)
    in_flight = checked_whole("in_flight", in_flight, least=1)
    on = checked_device(device)
    as_it_is = on.kind != "virtual" or (costs is None and model_profile is None)
    if costs is None:
        costs = cost_model(machine, model_profile or profile_from_model(model, info), geometry=shape)
    if as_it_is:
        one = [weight[0] for weight in expert_parameters(info.experts[0]).values()]
        costs = replace(
            costs,
            expert_bytes=sum(weight.nbytes for weight in one),
            expert_flops=2.0 * sum(weight.numel() for weight in one),
        )
    if link_bytes_per_s is not None:
        costs = replace(costs, link_bytes_per_s=link_bytes_per_s)
    room = wanted.room(costs.expert_bytes, shape.layers * shape.experts)

    def run(away: Away | None = None) -> Run:
        return Run(
            model, info, on, costs, played, room, ahead, away, gamma=gamma, profile=known, in_flight=in_flight
        )

    return run() if earlier is None else earlier.hand_over(run)


def offloaded(model: Any) -> Run | None:
    """The run that has offloaded a model; None where its experts are its own."""
    run: Run | None = run_of(model.modules() if isinstance(model, nn.Module) else ())
    return run
