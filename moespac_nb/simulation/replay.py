"""Simulate a trace's decode with a policy on a modelled machine.

Scheduler, engine and policies are those of a live decode, without the arithmetic; so all figures are modelled
and repeat exactly.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..engine.devices import virtual_device
from ..engine.log import Log
from ..engine.scheduler import Scheduler
from ..estimator.sensors import SENSORS
from ..hardware.budget import allot, check_accounting, parse_budget
from ..hardware.costs import Costs, cost_model
from ..hardware.machine import Machine, load_machine
from ..hardware.memory_plan import plan_memory
from ..hardware.model import ModelSpec, load_model_spec
from ..hardware.scaling import scale_to_trace, scaling_notes, whole_model_factors
from ..policies import Policy, get_policy
from ..trace.locality import check_expert_usage
from ..trace.step import Step
from ..trace.trace import Trace
from ..trace.transforms.stacking import source_layers, stack_layers
from ..utils.defaults import ACCOUNTING, BUDGET, MACHINE, MODEL, POLICY
from ..utils.exceptions import InvalidInputError
from .demand import TextDemand, WindowDemand, expert_demand
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
    whole_model: bool = False,
    shared_bus: bool = False,
    cold: bool = False,
    in_flight: int = 4,
    timeline: bool = True,
    log: Log | None = None,
) -> Result:
    """Simulate the decode of a trace's texts, one after another, on a modelled machine.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    policy : str or Policy, default "spac-joint"
        See `get_policy`.
    budget : str or int, default "17%"
        See `parse_budget`; shares are of the trace's own experts.
    machine : Machine, str or Path, default "rtx4090"
        See `load_machine`.
    model : ModelSpec, str or Path, default "qwen3-30b-a3b"
        The trace is replayed as if its experts were this model's.
    costs : Costs, optional
        In place of machine and model, for a machine without a name; what fits it is then unknown.
    gamma : int, optional
        The draft length of a dense trace; None takes all that it holds.
    accounting : {"slots-equal", "device-equal"}
        See `budget.allot`.
    context : int, default 1024
        Tokens whose keys and values a pass reads, and a draft keeps.
    expert_usage : ndarray, shape (layers, experts), or Trace, optional
        How often other texts used each expert of the trace.
    whole_model : bool, default False
        Charge all layers of the model: those of the trace are laid side by side, see `stack_layers`, and its
        experts are as large as it takes for a position to read the model's own bytes, see `scale_to_trace`.
        Otherwise the trace's own layers are charged, as if its experts were the model's.
    shared_bus : bool, default False
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

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> trace = load_trace("chat", half="report")
    >>> result = replay(trace, "recency", "17%", machine="rtx4090", model="qwen3-30b-a3b")
    >>> result.windows, result.slots, 0 < result.hit_rate < 1
    (109, 87, True)
    """
    policy = get_policy(policy)
    recorded = trace.geometry
    if not recorded.layers:
        raise InvalidInputError("the trace is of a dense model; expected: one with experts")
    if (sensor := SENSORS.get(str(getattr(policy.planner, "sensor", None)))) is not None:
        sensor.check_tokens(trace)
    usage = check_expert_usage(expert_usage, recorded, "trace")
    if whole_model and costs is not None:
        raise InvalidInputError("whole_model is True and costs are given; expected: a machine and a model")
    if whole_model:
        layers = load_model_spec(model).moe_layers
        trace = stack_layers(trace, layers)
        usage = None if usage is None else usage[source_layers(recorded.layers, layers)]
    geometry = trace.geometry
    texts = expert_demand(trace, gamma)
    windows = [window for text in texts for window in text.windows]
    if not windows:
        raise InvalidInputError("the trace holds no step; expected: one with a window at least")
    gamma_max = max(window.step.gamma for window in windows)
    check_accounting(accounting)
    setup: dict[str, Any] = {"fits": True, "machine": None, "model": None, "notes": ()}
    factors = None
    if costs is not None:
        if accounting != "slots-equal":
            raise InvalidInputError(
                f"accounting is {accounting!r} and costs are given; expected: 'slots-equal', or a machine "
                "and a model profile instead of costs"
            )
        allotment = parse_budget(budget).allot(costs.expert_bytes, geometry.layers * geometry.experts)
    else:
        machine, model, drafts = load_machine(machine), load_model_spec(model), gamma_max > 0
        costs = cost_model(machine, model, context=context, geometry=geometry, shared_bus=shared_bus)
        allotment = allot(accounting, budget, scale_to_trace(model, geometry), draft=drafts, context=context)
        # What the card holds is a matter of the whole model, not of the trace it is replayed with.
        plan = plan_memory(machine, model, context=context, draft=drafts and model.draft is not None)
        share = allotment.slots / (geometry.layers * geometry.experts) if policy.slots else 0.0
        setup["fits"] = allotment.fits and plan.fits_host and plan.left_bytes >= 0 and share <= plan.share
        setup |= {
            "machine": machine.name,
            "model": model.name,
            "notes": scaling_notes(model, geometry, recorded),
        }
        factors = whole_model_factors(model, geometry)
    device = virtual_device(costs.bus_bytes_per_s, record=timeline)
    scheduler = Scheduler(
        device, costs, policy, geometry, allotment.slots,
        gamma=gamma_max, expert_usage=usage, in_flight=in_flight, log=log,
    )  # fmt: skip
    first_s, prefills_s, windows_s = replay_texts(scheduler, texts, cold)
    counters, parts = scheduler.decode.counters, scheduler.decode.parts
    tokens = sum(len(window.step.emitted) for window in windows)
    total_s = parts.total_s
    alike_s = parts.draft_s + parts.planning_s + parts.dense_s
    by_layers, by_work = factors or (0.0, 0.0)
    return Result(
        policy=policy.name,
        tps_modelled=tokens / total_s,
        tps_whole_model=tokens / (by_layers * alike_s + by_work * (total_s - alike_s)) if factors else None,
        tokens=tokens,
        windows=len(windows),
        hit_rate=counters.hit_rate,
        late_rate=counters.late_rate,
        bytes_per_token=counters.bytes / tokens,
        wasted_bytes=counters.wasted_bytes,
        stall_share=parts.link_wait_s / total_s,
        cpu_share=counters.cpu_share,
        policy_ms_per_step=1e3 * parts.planning_s / len(windows),
        ttft_s=float(np.mean(first_s)),
        prefill_s=float(np.mean(prefills_s)),
        budget=str(budget),
        budget_bytes=allotment.budget_bytes,
        slots=scheduler.engine.slots.count(),
        accounting=accounting,
        gamma=gamma,
        cold=cold,
        label="modelled",
        prefill_bytes=scheduler.prefill.counters.bytes,
        counters=counters,
        parts=parts,
        windows_s=tuple(windows_s),
        shared_bus=costs.bus_bytes_per_s is not None,
        device=device,
        **setup,
    )


def replay_texts(
    scheduler: Scheduler, texts: Sequence[TextDemand], cold: bool = False
) -> tuple[list[float], list[float], list[tuple[float, float]]]:
    """Drive a scheduler through recorded texts.

    Parameters
    ----------
    scheduler : Scheduler
        See `Scheduler`; its device has the clock.
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
    device = scheduler.device
    first_s, prefills_s, windows_s = [], [], []
    for text in texts:
        if cold:
            scheduler.restart()
        start_s = device.now()
        following: list[Step | None] = [None] * (len(text.windows) + 1)
        if scheduler.policy.reads_future:
            following[:-1] = [window.step for window in text.windows]
        if len(text.prefill.ids):
            scheduler.on_prefill_start(len(text.prefill.ids))
            for layer, (experts, positions) in enumerate(text.prompt):
                scheduler.layer(layer, experts, positions)
        scheduler.on_prefill_end(text.prefill, following[0])
        prefills_s.append(device.now() - start_s)
        for number, window in enumerate(text.windows):
            window_start_s = device.now()
            _replay_window(scheduler, window, following[number + 1])
            windows_s.append((window_start_s, device.now()))
            if not number:
                first_s.append(device.now() - start_s)
    return first_s, prefills_s, windows_s


def _replay_window(scheduler: Scheduler, window: WindowDemand, following: Step | None) -> None:
    (step, draft_gates, next_gates), layers = window
    first, *drafted = step.window.tolist()
    scheduler.on_step_start(first)
    for place, token in enumerate(drafted):
        scheduler.on_draft_token(token, None if draft_gates is None else draft_gates[place])
    scheduler.on_draft_end()
    for layer, (experts, positions) in enumerate(layers):
        is_last = layer + 1 == len(layers)
        gates = None if next_gates is None or is_last else next_gates[:, layer + 1]
        scheduler.layer(layer, experts, positions, next_gates=gates)
    scheduler.on_verify(step, following)
