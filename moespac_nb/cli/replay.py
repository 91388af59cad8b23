"""`moespac replay`: what a trace's decode would have taken on a named machine, by policy and budget."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..utils.defaults import ACCOUNTING, BUDGET, MACHINE, MODEL, POLICY
from ..utils.exceptions import InvalidInputError, TraceFormatError
from .output import check_file, print_json, print_table, tracked, warned

if TYPE_CHECKING:
    from ..simulation.result import Result

__all__ = ["replay"]

OTHER_HALF = {"tune": "report", "report": "tune"}
# What is taken of a domain where nothing else is asked for.
OF_DOMAINS = {"mode": "sample", "dense": True, "half": "report"}


def replay(
    name: str,
    policy: str = POLICY,
    budget: str = BUDGET,
    machine: str = MACHINE,
    model: str = MODEL,
    accounting: str = ACCOUNTING,
    gamma: int | None = None,
    context: int = 1024,
    mode: str | None = None,
    dense: bool | None = None,
    half: str | None = None,
    expert_usage: Path | None = None,
    whole_model: bool = False,
    shared_bus: bool = False,
    cold: bool = False,
    timeline: Path | None = None,
    json: bool = False,
) -> int:
    """Simulate a trace on a machine: speed by policy and budget.

    Every figure is modelled. One policy with one budget is shown in detail, several are a table.

        moespac replay math --policy recency,spac-joint --budget 10%,25% --machine laptop4060
        moespac replay chat.npz --timeline chat.json
    """
    from ..datasets.prompts import DOMAINS
    from ..datasets.synthetic import LABEL, PREFIX
    from ..datasets.traces import load_trace
    from ..engine.chrome_trace import save_chrome_trace
    from ..policies import get_policy
    from ..simulation.replay import replay as simulate
    from ..trace.trace import Trace

    policies = [get_policy(each) for each in _listed("policy", policy)]
    budgets = _listed("budget", budget)
    if timeline is not None:
        if (replays := len(policies) * len(budgets)) > 1:
            raise InvalidInputError(
                f"--timeline was given with {replays} replays; expected: with one policy and one budget"
            )
        check_file("--timeline", timeline, quiet=json)
    source: dict[str, Any] = {"mode": mode, "dense": dense, "half": half}
    title = name
    if name in DOMAINS:
        source = {key: OF_DOMAINS[key] if value is None else value for key, value in source.items()}
        kind = "dense" if source["dense"] else "plain"
        title = f"{name}, {source['mode']}, {kind}, {source['half']} half"
    elif name.startswith(PREFIX):
        source["half"] = half or OF_DOMAINS["half"]
        title = f"{name.removeprefix(PREFIX)} ({LABEL}), {source['half']} half"
    trace = load_trace(name, **source)
    if not len(trace):
        raise TraceFormatError(f"{name} holds no step; expected: a trace of one step at least")
    usage = None
    if needing := [each.name for each in policies if each.needs_expert_usage]:
        if expert_usage is not None:
            usage = Trace.load(expert_usage)
        elif name in DOMAINS or name.startswith(PREFIX):
            usage = load_trace(name, **source | {"half": OTHER_HALF[source["half"]]})
        else:
            raise InvalidInputError(
                f"policy {needing[0]!r} must know how often other texts used each expert; expected: with "
                "--expert-usage, a trace of other texts, or on a domain"
            )
    with warned(quiet=json) as warnings:
        results = [
            simulate(
                trace,
                each,
                size,
                machine=machine,
                model=model,
                gamma=gamma,
                accounting=accounting,
                context=context,
                expert_usage=usage,
                whole_model=whole_model,
                shared_bus=shared_bus,
                cold=cold,
                timeline=timeline is not None,
            )
            for each, size in tracked(list(product(policies, budgets)), "replaying")
        ]
    first, *others = results
    if timeline is not None:
        label = f"{first.label}: {first.policy}, {first.budget}, {first.model} on {first.machine}"
        save_chrome_trace(first.timeline, timeline, label=label)
    if json:
        about = {"trace": title, "texts": len(trace.texts), "warnings": warnings}
        path = None if timeline is None else str(timeline)
        figures = {"results": [result.to_dict() for result in results]}
        print_json(about | (figures if others else first.to_dict() | {"timeline": path}))
    else:
        _print(f"{title}: {len(trace.texts)} texts", results)
        if timeline is not None:
            print(f"written   {timeline}: open it at ui.perfetto.dev")
    return 0


def _listed(option: str, value: str) -> list[str]:
    names = [name.strip() for name in value.split(",")]
    if not all(names):
        raise InvalidInputError(
            f"--{option} is {value!r}; expected: one, or several with commas between them"
        )
    return list(dict.fromkeys(names))


def _print(title: str, results: Sequence[Result]) -> None:
    first = results[0]
    gamma = "as recorded" if first.gamma is None else f"γ = {first.gamma}"
    slots = "each with empty slots" if first.cold else "slots stay warm between them"
    bus = ", bus shared" if first.shared_bus else ""
    print(f"modelled, every figure: {first.model} on {first.machine}, {first.accounting}{bus}")
    print(f"trace     {title}, {first.tokens:,} tokens, {gamma}, {slots}")
    if len(results) == 1:
        print("\n".join(_details(first)))
    else:
        columns = _columns(whole_model=_is_part(first))
        print()
        print_table([*columns], [[cell(result) for cell in columns.values()] for result in results])
        print()
    for note in first.notes:
        print(f"scaled    {note}")
    if not _is_part(first):
        print(*_published(results), sep="\n", end="\n" if _published(results) else "")
    if not all(result.fits for result in results):
        print(f"does not fit: more than {first.machine} holds, see moespac fit; shown, and not to rank")


def _is_part(result: Result) -> bool:
    """Return whether the speed is of some layers and not of the whole model."""
    whole = result.tps_whole_model
    return whole is not None and abs(whole / result.tps_modelled - 1) > 1e-9


def _published(results: Sequence[Result]) -> list[str]:
    """Say what others have published of the same model, machine and budget."""
    from ..datasets.published import mean_by_system, published_speeds

    lines = []
    for budget in dict.fromkeys(result.budget for result in results):
        speeds = [speed for speed in published_speeds(results[0].model, budget) if speed.benchmark]
        speeds = [
            speed for speed in speeds if speed.machine == results[0].machine and "Table" in speed.source
        ]
        if speeds:
            means = ", ".join(f"{name} {mean:.3g}" for name, mean in mean_by_system(speeds).items())
            lines.append(f"published of such a card at {budget}, not modelled: {means} ({speeds[0].source})")
    return lines


def _details(result: Result) -> list[str]:
    parts, counters = result.parts, result.counters
    shares = {
        "drafting": parts.draft_s,
        "planning": parts.planning_s,
        "dense": parts.dense_s,
        "experts": parts.experts_s,
        "waiting for the CPU lane": parts.cpu_wait_s,
        "for copies": parts.link_wait_s,
    }
    spent = ", ".join(f"{what} {seconds / parts.total_s:.0%}" for what, seconds in shares.items())
    missed = 1 - result.hit_rate - result.late_rate
    wasted = result.wasted_bytes / counters.bytes if counters.bytes else 0.0
    speed = f"{result.tps_modelled:.2f} tokens a second"
    if _is_part(result):
        speed += f" of the trace's layers, about {result.tps_whole_model:.3g} of the whole model"
    return [
        f"policy    {result.policy}, {result.policy_ms_per_step:.2f} ms a window",
        f"budget    {result.budget}: {result.slots} slots, {result.budget_bytes:,} bytes; "
        f"{'fits' if result.fits else 'does not fit'}",
        f"speed     {speed}; {result.windows:,} windows of {1e3 * parts.total_s / result.windows:.1f} ms; "
        f"first tokens after {result.ttft_s:.2f} s",
        f"time      {spent}",
        f"experts   {result.hit_rate:.1%} ready, {result.late_rate:.1%} late, {missed:.1%} missed; "
        f"{result.cpu_share:.0%} of the work on the CPU lane",
        f"copies    {result.bytes_per_token / 1e6:.1f} MB a token; {wasted:.0%} of the bytes never used",
    ]


def _columns(whole_model: bool) -> dict[str, Callable[[Result], str]]:
    """Return the table's columns; whole_model: with the speed of all layers, where the trace has fewer."""
    return {
        "policy": lambda result: result.policy,
        "budget": lambda result: result.budget,
        "slots": lambda result: str(result.slots),
        "tokens/s": lambda result: f"{result.tps_modelled:.2f}",
        **({"whole model": lambda result: f"~{result.tps_whole_model:.3g}"} if whole_model else {}),
        "ready": lambda result: f"{result.hit_rate:.1%}",
        "late": lambda result: f"{result.late_rate:.1%}",
        "MB/token": lambda result: f"{result.bytes_per_token / 1e6:.1f}",
        "wasted MB": lambda result: f"{result.wasted_bytes / 1e6:.0f}",
        "waiting": lambda result: f"{result.stall_share:.0%}",
        "on CPU": lambda result: f"{result.cpu_share:.0%}",
        "ms/window": lambda result: f"{result.policy_ms_per_step:.2f}",
        "fits": lambda result: "yes" if result.fits else "no",
    }
