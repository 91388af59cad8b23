"""Simulate a trace's decode with a policy on a modelled machine.

    result = replay(trace, "recency", "17%", machine="rtx4090", model="qwen3-30b-a3b")
    result.tps_modelled, result.hit_rate, result.parts

Scheduler, engine and policies are those of a live decode, without the arithmetic; so all figures are modelled
and repeat exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.devices import virtual_device
from ..engine.log import Log
from ..engine.scheduler import Scheduler
from ..hardware.budget import allot, check_accounting, parse_budget
from ..hardware.costs import Costs, cost_model
from ..hardware.machine import Machine, load_machine
from ..hardware.memory_plan import plan_memory
from ..hardware.model import ModelSpec, load_model_spec
from ..hardware.scaling import scale_to_trace, scaling_note
from ..policies import Policy, get_policy
from ..trace.locality import check_expert_usage
from ..trace.stacking import source_layers, stack_layers
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.defaults import ACCOUNTING, BUDGET, MACHINE, MODEL, POLICY
from ..utils.exceptions import InvalidInputError
from .demand import TextDemand, expert_demand
from .result import Result

__all__ = ["replay", "replay_texts"]


def replay(
    trace: Trace,
    policy: str | Policy = POLICY,
    budget: Any = BUDGET,
    *,
    machine: Machine | str | Path = MACHINE,
    model: ModelSpec | str | Path = MODEL,
    costs: Costs | None = None,
    gamma: int | None = None,
    accounting: str = ACCOUNTING,
    context: int = 1024,
    expert_usage: np.ndarray | Trace | None = None,
    as_recorded: bool = False,
    shared_bus: bool = True,
    cold: bool = False,
    in_flight: int = 4,
    timeline: bool = True,
    log: Log | None = None,
) -> Result:
    """Simulate the decode of a trace's texts, one after another, on a modelled machine.

    The whole model is charged: where the trace has fewer layers, they are laid side by side, see
    `stack_layers`; its experts are as large as it takes for a position to read the model's own bytes, see
    `scale_to_trace`. `Result.notes` says what stands for what.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    policy : str or Policy, default "spac-joint"
        See `get_policy`.
    budget : str or int, default "17%"
        See `parse_budget`; a share is of all of the model's experts.
    machine : Machine, str or Path, default "rtx4090"
        See `load_machine`.
    model : ModelSpec, str or Path, default "qwen3-30b-a3b"
        What the trace stands for.
    costs : Costs, optional
        In place of machine and model, for a machine without a name: of the trace as recorded. What fits it is
        then unknown.
    gamma : int, optional
        The draft length of a dense trace; None takes all that it holds.
    accounting : {"slots-equal", "device-equal"}
        See `budget.allot`.
    context : int, default 1024
        Tokens whose keys and values a pass reads, and a draft keeps.
    expert_usage : ndarray, shape (layers, experts), or Trace, optional
        How often other texts used each expert of the trace.
    as_recorded : bool, default False
        Replay the trace's own layers alone, with their share of head, draft and planning.
    shared_bus : bool, default True
        Whether copies and the CPU lane share the bandwidth of the host's memory; else each has all of it.
    cold : bool, default False
        Reset slots and policy before each text.
    in_flight : int, default 4
        Copies handed to the link at a time.
    timeline : bool, default True
        Whether to keep `Result.timeline`.
    log : list, optional
        Events are appended to it, see `engine.log`.

    Returns
    -------
    Result

    Raises
    ------
    MoespacError
        An argument is invalid; raised before any work.
    """
    policy = get_policy(policy)
    recorded = trace.geometry
    if not recorded.layers:
        raise InvalidInputError("the trace is of a dense model; expected: one with experts")
    usage = check_expert_usage(expert_usage, recorded, "trace")
    spec = None if costs is not None else load_model_spec(model)
    if spec is not None and not as_recorded:
        trace = stack_layers(trace, spec.moe_layers)
        usage = None if usage is None else usage[source_layers(recorded.layers, spec.moe_layers)]
    geometry = trace.geometry
    texts = expert_demand(trace, gamma)
    windows = [window for text in texts for window in text.windows]
    if not windows:
        raise InvalidInputError("the trace holds no step; expected: one with a window at least")
    gamma_max = max(window.step.gamma for window in windows)
    setup = _setup(
        policy,
        budget,
        recorded,
        geometry,
        machine,
        spec,
        costs,
        accounting,
        context,
        gamma_max > 0,
        shared_bus,
    )
    device = virtual_device(setup.costs.bus_bytes_per_s, record=timeline)
    scheduler = Scheduler(
        device, setup.costs, policy, geometry, setup.slots,
        gamma=gamma_max, expert_usage=usage, in_flight=in_flight, log=log,
    )  # fmt: skip
    first_s, prefills_s, windows_s = replay_texts(scheduler, texts, cold)
    counters, parts = scheduler.decode.counters, scheduler.decode.parts
    tokens = sum(len(window.step.emitted) for window in windows)
    requested = counters.ready + counters.late + counters.miss
    total_s = parts.total_s
    return Result(
        policy=policy.name,
        tps_modelled=tokens / total_s,
        tokens=tokens,
        windows=len(windows),
        hit_rate=counters.ready / requested,
        late_rate=counters.late / requested,
        bytes_per_token=counters.bytes / tokens,
        wasted_bytes=counters.wasted_bytes,
        stall_share=parts.link_wait_s / total_s,
        cpu_share=counters.cpu_pairs / counters.pairs,
        policy_ms_per_step=1e3 * parts.plan_s / len(windows),
        ttft_s=float(np.mean(first_s)),
        prefill_s=float(np.mean(prefills_s)),
        budget=str(budget),
        budget_bytes=setup.budget_bytes,
        slots=scheduler.engine.slots.count(),
        accounting=accounting,
        fits=setup.fits,
        machine=setup.machine,
        model=setup.model,
        notes=(*setup.notes, *getattr(trace, "notes", ())),
        shared_bus=setup.costs.bus_bytes_per_s is not None,
        gamma=gamma,
        cold=cold,
        label="modelled",
        prefill_bytes=scheduler.prefill.counters.bytes,
        counters=counters,
        parts=parts,
        windows_s=tuple(windows_s),
        device=device,
    )


@dataclass(frozen=True)
class _Setup:
    """What a replay runs on."""

    costs: Costs
    budget_bytes: int
    slots: int
    fits: bool
    machine: str | None = None
    model: str | None = None
    notes: tuple[str, ...] = ()


def _setup(
    policy: Policy,
    budget: Any,
    recorded: MoEShape,
    geometry: MoEShape,
    machine: Machine | str | Path,
    model: ModelSpec | None,
    costs: Costs | None,
    accounting: str,
    context: int,
    drafts: bool,
    shared_bus: bool,
) -> _Setup:
    check_accounting(accounting)
    if costs is not None:
        if accounting != "slots-equal":
            raise InvalidInputError(
                f"accounting is {accounting!r} and costs are given; expected: 'slots-equal', or a machine "
                "and a model profile instead of costs"
            )
        allotment = parse_budget(budget).allot(costs.expert_bytes, geometry.layers * geometry.experts)
        return _Setup(costs, allotment.budget_bytes, allotment.slots, fits=True)
    assert model is not None
    machine = load_machine(machine)
    allotment = allot(accounting, budget, scale_to_trace(model, geometry), draft=drafts, context=context)
    # What the card holds is a matter of the whole model, not of the trace it is replayed with.
    plan = plan_memory(machine, model, context=context, draft=drafts and model.draft is not None)
    share = allotment.slots / (geometry.layers * geometry.experts) if policy.slots else 0.0
    note = scaling_note(model, recorded, geometry)
    return _Setup(
        cost_model(machine, model, context=context, geometry=geometry, shared_bus=shared_bus),
        allotment.budget_bytes,
        allotment.slots,
        allotment.fits and plan.fits_host and plan.left_bytes >= 0 and share <= plan.share,
        machine.name,
        model.name,
        (note,) if note else (),
    )


def replay_texts(
    scheduler: Scheduler, texts: Sequence[TextDemand], cold: bool = False
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """Drive a scheduler through recorded texts.

    Parameters
    ----------
    scheduler : Scheduler
    texts : sequence of TextDemand
        See `expert_demand`.
    cold : bool, default False
        Reset slots and policy before each text.

    Returns
    -------
    first_s, prefills_s : list of float
        Seconds from the start of each text to its first tokens, and to the end of its prefill.
    windows_s : list of (float, float)
        When each window opened, and when the policy had learned from it, on the device's clock.
    """
    device, tells = scheduler.device, scheduler.policy.reads_future
    first_s, prefills_s = [], []
    windows_s = []
    for text in texts:
        if cold:
            scheduler.restart()
        start = device.now()
        steps = [window.step for window in text.windows]
        following = [*steps, None] if tells else [None] * (len(steps) + 1)
        if len(text.prefill.ids):
            scheduler.on_prefill_start(len(text.prefill.ids))
            for layer, (experts, positions) in enumerate(text.prompt):
                scheduler.layer(layer, experts, positions)
        scheduler.on_prefill_end(text.prefill, following[0])
        prefills_s.append(device.now() - start)
        for number, (seen, tokens, layers) in enumerate(text.windows):
            opened_s = device.now()
            scheduler.on_step_start(tokens[0])
            gates = seen.draft_gates
            for drafted, token in enumerate(tokens[1:]):
                scheduler.on_draft_token(token, None if gates is None else gates[drafted])
            scheduler.on_draft_end()
            ahead = seen.next_gates
            for layer, (experts, positions) in enumerate(layers):
                next_gates = None if ahead is None or layer + 1 == len(layers) else ahead[:, layer + 1]
                scheduler.layer(layer, experts, positions, next_gates=next_gates)
            scheduler.on_verify(seen.step, following[number + 1])
            windows_s.append((opened_s, device.now()))
            if not number:
                first_s.append(device.now() - start)
    return first_s, prefills_s, windows_s
