"""Offload a transformers model: its experts live in slots under a memory budget, and it stays lossless.

The experts' weights leave the model for a host store. The layers compute with copies in one pool of equal
slots, shared by all layers, which the engine fills as the policy says; an expert in no slot computes straight
from the store, on the CPU lane. No GPU has checked the `cuda` device yet: the order of its copies, kernels
and waits is tested on a stand-in.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from ..engine.devices import Device
from ..hardware.budget import Budget, check_accounting, parse_budget
from ..hardware.costs import Costs, cost_model
from ..hardware.machine import Machine
from ..hardware.model import ModelSpec, load_model_spec
from ..hardware.scaling import scale_to_trace
from ..models.inspection import inspect_model
from ..policies import Policy
from ..trace.trace import Trace
from ..utils.defaults import ACCOUNTING, BUDGET, GAMMA, MACHINE, POLICY
from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole
from .expert_store import expert_parameters
from .own_spec import expert_usage_for, spec_from_model
from .run import Run
from .stand_in import run_of
from .support import checked_device, checked_gates, checked_modules, checked_policy

__all__ = ["Run", "offload", "offloaded"]

CONTEXT = 1024  # tokens whose keys and values a draft keeps, where the budget pays for it


def offload(
    model: Any,
    budget: Budget | str | int = BUDGET,
    *,
    policy: str | Policy = POLICY,
    device: str | Device = "virtual",
    machine: Machine | str | Path = MACHINE,
    model_spec: ModelSpec | str | Path | None = None,
    accounting: str = ACCOUNTING,
    costs: Costs | None = None,
    link_bytes_per_s: float | None = None,
    gamma: int = GAMMA,
    expert_usage: np.ndarray | Trace | None = None,
    in_flight: int = 4,
) -> Run:
    """Move a model's experts out of it, until the `with` block or `Run.close` ends.

    Everything the model does then, `generate` included, computes from slots. Threads may share the model:
    forwards wait for one another, and so do the steps of `Run.decode`. Offloading an offloaded model again
    ends the earlier run, unless that is in a `with` block.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        A mixture-of-experts model on the CPU.
    budget : str or int or Budget
        Memory for slots: a share of all experts ("17%"), a size ("512MiB"), or bytes. More than all
        experts take is capped, with a warning.
    policy : str or Policy
        Which experts to prefetch and evict; any policy but those that read the future.
    device : {"virtual", "host", "cuda"} or Device
        "virtual" computes here and tells the time of a named machine, the same each run; "host" uses threads,
        the wall clock and a throttled link; "cuda" keeps the experts on the host and moves the rest of the
        model to the GPU. It is closed with the run.
    machine : str, Path or Machine
        The machine whose speeds are true on the virtual device, and assumed by policies on any device.
    model_spec : str, Path or ModelSpec, optional
        Sizes of another model to stand for, on the virtual device; by default the model's own.
    accounting : {"slots-equal", "device-equal"}
        Whether the budget is for experts alone, or pays for a draft as well: that of the model spec, or the
        bundled one.
    costs : Costs, optional
        Replaces `machine` and `model_spec`.
    link_bytes_per_s : float, optional
        Replaces the machine's.
    gamma : int
        Draft length that policies assume and `Run.decode` uses, in tokens.
    expert_usage : array (layers, experts) or Trace, optional
        How often other texts use each expert, for policies that need it; the bundled target brings its own.
    in_flight : int
        Copies at a time.

    Returns
    -------
    Run
        A context manager; `Run.decode` decodes from slots.

    Raises
    ------
    MoespacError
        If an argument is not as expected or the model cannot be offloaded; nothing is changed then.

    Examples
    --------
    >>> from moespac_nb import load_pair, offload
    >>> target, draft = load_pair()
    >>> with offload(target, "25%") as run:
    ...     steps = list(run.decode("Once upon a time", draft=draft, max_new_tokens=8))
    >>> run.summary()["tokens"], run.slots
    (8, 128)
    """
    info = inspect_model(model)
    earlier = run_of(info.experts)
    checked_modules(model, info, earlier)
    shape = info.shape
    policy = checked_policy(policy)
    gates = checked_gates(model, info, policy)
    usage = expert_usage_for(
        model, shape, expert_usage, needed_by=policy.name if policy.needs_expert_usage else None
    )
    budget = parse_budget(budget)
    gamma = checked_whole("gamma", gamma, least=0)
    in_flight = checked_whole("in_flight", in_flight, least=1)
    device = checked_device(device)
    own_sizes = device.kind != "virtual" or (costs is None and model_spec is None)
    if costs is None:
        costs = cost_model(machine, model_spec or spec_from_model(model, info), geometry=shape)
    if own_sizes:
        expert = [weight[0] for weight in expert_parameters(info.experts[0]).values()]
        costs = replace(
            costs,
            expert_bytes=sum(weight.nbytes for weight in expert),
            expert_flops=2.0 * sum(weight.numel() for weight in expert),
        )
    if link_bytes_per_s is not None:
        costs = replace(costs, link_bytes_per_s=link_bytes_per_s)
    draft_bytes = 0
    if check_accounting(accounting) == "device-equal":
        sizes = (
            spec_from_model(model, info) if own_sizes or model_spec is None else load_model_spec(model_spec)
        )
        draft_bytes = _draft_bytes(scale_to_trace(sizes, shape))
    allotment = budget.allot(costs.expert_bytes, shape.layers * shape.experts, draft_bytes)
    if not allotment.fits:
        raise InvalidInputError(
            f"budget is {budget.text} and the draft takes {draft_bytes} bytes of it; expected under "
            "device-equal: more than that, or a decode without a draft under slots-equal"
        )
    options: dict[str, Any] = {"gamma": gamma, "expert_usage": usage, "in_flight": in_flight}
    make_run = partial(Run, model, info, device, costs, policy, allotment, gates, **options)
    return make_run() if earlier is None else earlier.hand_over(make_run)


def _draft_bytes(sizes: ModelSpec) -> int:
    if sizes.draft is None:
        raise InvalidInputError(
            f"accounting is 'device-equal' and the bytes of a draft for {sizes.name} are not known; "
            "expected: the bundled pair, a model_spec that has a draft, or 'slots-equal'"
        )
    return sizes.draft.memory_bytes(CONTEXT)


def offloaded(model: Any) -> Run | None:
    """Return the run that has offloaded a model, or None.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Or a module in or around it.

    Returns
    -------
    Run or None
    """
    run: Run | None = run_of(model.modules() if isinstance(model, nn.Module) else ())
    return run
