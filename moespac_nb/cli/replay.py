"""`moespac replay`: what a trace's decode would have taken on a named machine, by policy and budget."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..utils.exceptions import MoespacError
from .options import given, machine_arguments, warned
from .output import check_file, print_json

if TYPE_CHECKING:
    from ..simulation.result import Result
    from ..trace.trace import Trace

OTHER_HALF = {"tune": "report", "report": "tune"}
OF_DOMAINS = {"mode": "sample", "kind": "dense", "half": "report"}  # what is taken where nothing is asked for


def arguments(parser: argparse.ArgumentParser) -> None:
    """What can be asked for. Values are checked by the code that uses them, so that all say the same."""
    parser.add_argument(
        "what", metavar="DOMAIN|FILE", help="what is bundled of a domain, or a file of `moespac record`"
    )
    parser.add_argument(
        "--budget",
        default="17%",
        metavar="SIZE",
        help="25%%, 512MiB, 2000000 (bytes), …; several with commas (default 17%%)",
    )
    parser.add_argument(
        "--policy",
        default="spac-joint",
        metavar="NAME",
        help="recency, …; several with commas (default %(default)s)",
    )
    machine_arguments(parser)
    parser.add_argument("--context", type=int, help="tokens whose keys and values are kept (default 1024)")
    parser.add_argument("--mode", help=f"of a domain: greedy or sample (default {OF_DOMAINS['mode']})")
    parser.add_argument("--half", help=f"of a domain: tune or report (default {OF_DOMAINS['half']})")
    parser.add_argument("--kind", help=f"of a domain: dense or plain (default {OF_DOMAINS['kind']})")
    parser.add_argument("--gamma", type=int, help="of a dense trace: the draft length (default: the longest)")
    parser.add_argument(
        "--profile",
        metavar="FILE",
        help="a trace of other texts, for policies that need one (default: a domain's other half)",
    )
    parser.add_argument("--cold", action="store_true", help="start each text with empty slots")
    parser.add_argument("--timeline", type=Path, metavar="FILE", help="what ran when, for ui.perfetto.dev")


class Played(NamedTuple):
    """A trace, and what is known from other texts."""

    name: str
    trace: Trace
    others: Callable[[], Trace] | None  # loaded only for who needs it


def run(options: argparse.Namespace) -> int:
    """Replay everything, write the timeline, then print."""
    from ..engine.chrome_trace import save_chrome_trace
    from ..policies import get_policy
    from ..simulation.replay import replay

    policies = [get_policy(name) for name in _listed("policy", options.policy)]
    budgets = _listed("budget", options.budget)
    if options.timeline is not None:
        _check_timeline(options.timeline, len(policies) * len(budgets))
    played = _played(options)
    profile = None
    if needing := [each.name for each in policies if each.needs_expert_usage]:
        if played.others is None:
            raise MoespacError(
                f"policy {needing[0]!r} must know how often other texts used each expert; expected: with "
                "--profile, a trace of other texts, or on a domain"
            )
        profile = played.others()
    asked = given(options, "machine", "model", "accounting", "context", "gamma")
    with warned(quiet=options.json) as said:
        results = [
            replay(
                played.trace,
                each,
                budget,
                expert_usage=profile,
                cold=options.cold,
                timeline=options.timeline is not None,
                **asked,
            )
            for each, budget in product(policies, budgets)
        ]
    if options.timeline is not None:
        save_chrome_trace(results[0].timeline, options.timeline, label=_title(results[0]))
    if options.json:
        print_json(_as_json(played, results, options, said))
    else:
        print(_in_words(played, results, options))
    return 0


def _listed(what: str, given: str) -> list[str]:
    names = [name.strip() for name in given.split(",")]
    if not all(names):
        raise MoespacError(f"--{what} is {given!r}; expected: one, or several with commas between them")
    return list(dict.fromkeys(names))


def _check_timeline(path: Path, replays: int) -> None:
    """Before the work, not after."""
    if replays > 1:
        raise MoespacError(
            f"--timeline was given with {replays} replays; expected: with one policy and one budget"
        )
    check_file("--timeline", path)


def _played(options: argparse.Namespace) -> Played:
    from ..datasets.prompts import DOMAINS
    from ..datasets.traces import load_trace
    from ..trace.trace import Trace

    name, title = options.what, options.what
    others = None if options.profile is None else partial(Trace.load, options.profile)
    chosen: dict[str, Any] = {key: getattr(options, key) for key in OF_DOMAINS}
    if name in DOMAINS and not Path(name).exists():
        chosen = {key: value or OF_DOMAINS[key] for key, value in chosen.items()}
        options_of: dict[str, Any] = {"mode": chosen["mode"], "dense": chosen["kind"] == "dense"}
        half: Any = chosen["half"]
        other_half: Any = OTHER_HALF[half]
        trace = load_trace(name, half=half, **options_of)
        others = others or partial(load_trace, name, half=other_half, **options_of)
        title = f"{name}, {chosen['mode']}, {chosen['kind']}, {chosen['half']} half"
    elif Path(name).exists() and (of_domains := [key for key, value in chosen.items() if value is not None]):
        raise MoespacError(
            f"--{of_domains[0]} was given with a file; expected: with one of {', '.join(DOMAINS)}"
        )
    else:
        trace = load_trace(name)
    if not len(trace):
        raise MoespacError(f"{name} holds no step; expected: a trace of one step at least")
    return Played(title, trace, others)


def _as_json(
    played: Played, results: Sequence[Result], options: argparse.Namespace, said: list[str]
) -> dict[str, Any]:
    """One result flat, several in a list."""
    about = {"trace": played.name, "texts": len(played.trace.texts), "warnings": said}
    if len(results) > 1:
        return {**about, "results": [result.to_dict() for result in results]}
    path = options.timeline and str(options.timeline)
    return {**about, **results[0].to_dict(), "timeline": path}


def _title(result: Result) -> str:
    return f"{result.label}: {result.policy}, {result.budget}, {result.model} on {result.machine}"


def _in_words(played: Played, results: Sequence[Result], options: argparse.Namespace) -> str:
    one = results[0]
    gamma = "as recorded" if one.gamma is None else f"γ = {one.gamma}"
    lines = [
        f"modelled, every figure: {one.model} on {one.machine}, {one.accounting}",
        f"trace     {played.name}: {len(played.trace.texts)} texts, {one.tokens:,} tokens, {gamma}, "
        f"{'each with empty slots' if one.cold else 'slots stay warm between them'}",
    ]
    lines += _figures(one) if len(results) == 1 else ["", *_table(results), ""]
    lines += [f"scaled    {note}" for note in one.notes]
    if not all(result.fits for result in results):
        lines.append(f"does not fit: more than {one.machine} holds, see moespac fit; shown, and not to rank")
    if options.timeline is not None:
        lines.append(f"written   {options.timeline}: open it at ui.perfetto.dev")
    return "\n".join(lines)


def _figures(result: Result) -> list[str]:
    parts, counters = result.parts, result.counters
    shares = {
        "drafting": parts.draft_s,
        "planning": parts.plan_s,
        "dense": parts.dense_s,
        "experts": parts.experts_s,
        "waiting for the CPU lane": parts.cpu_wait_s,
        "for copies": parts.link_wait_s,
    }
    spent = ", ".join(f"{what} {seconds / parts.total_s:.0%}" for what, seconds in shares.items())
    missed = 1 - result.hit_rate - result.late_rate
    wasted = result.wasted_bytes / counters.bytes if counters.bytes else 0.0
    return [
        f"policy    {result.policy}, {result.policy_ms_per_step:.2f} ms a window",
        f"budget    {result.budget}: {result.slots} slots, {result.budget_bytes:,} bytes; "
        f"{'fits' if result.fits else 'does not fit'}",
        f"speed     {result.tps_modelled:.2f} tokens a second{_charged(result)}; {result.windows:,} windows "
        f"of {1e3 * parts.total_s / result.windows:.1f} ms; first tokens after {result.ttft_s:.2f} s",
        f"time      {spent}",
        f"experts   {result.hit_rate:.1%} ready, {result.late_rate:.1%} late, {missed:.1%} missed; "
        f"{result.cpu_share:.0%} of the work on the CPU lane",
        f"copies    {result.bytes_per_token / 1e6:.1f} MB a token; {wasted:.0%} of the bytes never used",
    ]


def _charged(result: Result) -> str:
    """Where a speed is that of a part of the model, what all of it would make of it."""
    whole = result.tps_whole_model
    return f" of the trace's layers, about {whole:.3g} of the whole model" if result.notes and whole else ""


def _table(results: Sequence[Result]) -> list[str]:
    columns: dict[str, Callable[[Result], str]] = {
        "budget": lambda one: one.budget,
        "slots": lambda one: str(one.slots),
        "tokens/s": lambda one: f"{one.tps_modelled:.2f}",
        **({"whole model": lambda one: f"~{one.tps_whole_model:.3g}"} if results[0].notes else {}),
        "ready": lambda one: f"{one.hit_rate:.1%}",
        "late": lambda one: f"{one.late_rate:.1%}",
        "MB/token": lambda one: f"{one.bytes_per_token / 1e6:.1f}",
        "wasted MB": lambda one: f"{one.wasted_bytes / 1e6:.0f}",
        "waiting": lambda one: f"{one.stall_share:.0%}",
        "on CPU": lambda one: f"{one.cpu_share:.0%}",
        "ms/window": lambda one: f"{one.policy_ms_per_step:.2f}",
        "fits": lambda one: "yes" if one.fits else "no",
    }
    rows = [["policy", *columns], *([one.policy, *(of(one) for of in columns.values())] for one in results)]
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([f"{row[0]:<{wide[0]}}", *(f"{c:>{w}}" for c, w in zip(row[1:], wide[1:], strict=True))])
        for row in rows
    ]
