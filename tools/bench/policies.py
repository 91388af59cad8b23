"""Tokens per second by policy and budget on the bundled traces: python -m tools.bench.policies

All figures are modelled: real routing of the bundled pair, replayed as if its experts were a profile's. The
report halves of all domains, sampled, with slots equal; `static-hot` knows its domain's tune half. Texts of a
domain follow each other with warm slots. Tokens a second are those of all domains over all their
seconds, of the pair's 8 layers; beside them at one budget what all of the model's layers would make of it.

With γ = 0 no draft is charged, and none helps: on this pair it costs more than it brings. The printed rule of
the paper has no meaning there, as its first boundaries are 0 and every expert climbs.
A speed marked † is that of more slots than the card has room for: not to be ranked.
"""

from __future__ import annotations

import argparse
import json
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from moespac_nb import DOMAINS
from moespac_nb.datasets.traces import load_trace
from moespac_nb.policies import POLICIES
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.utils.files import atomic_write

BUDGETS = ("10%", "17%", "25%", "50%")
MACHINES = ("rtx4090:qwen3-30b-a3b", "laptop4060:olmoe-1b-7b-4bit")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--machines", nargs="+", default=MACHINES, metavar="MACHINE:MODEL")
    parser.add_argument("--policies", nargs="+", choices=POLICIES, default=tuple(POLICIES))
    parser.add_argument("--domains", nargs="+", choices=DOMAINS, default=DOMAINS)
    parser.add_argument("--mode", choices=("greedy", "sample"), default="sample")
    parser.add_argument("--gamma", type=int, nargs="+", default=(0, 8))
    parser.add_argument("--json", type=Path, help="all figures of every replay, as one file")
    args = parser.parse_args()
    everything = []
    for pair, gamma in product(args.machines, args.gamma):
        machine, _, model = pair.partition(":")
        results = {
            (policy, budget): [
                replay(
                    load_trace(domain, args.mode, dense=True, half="report"), policy, budget, machine=machine,
                    model=model, gamma=gamma, timeline=False,
                    expert_usage=load_trace(domain, args.mode, dense=True, half="tune"),
                )
                for domain in args.domains
            ]
            for policy in tqdm(args.policies, desc=f"{pair}, γ = {gamma}", leave=False)
            for budget in BUDGETS
        }  # fmt: skip
        print(f"\n{machine}, {model}, {args.mode}, γ = {gamma}; modelled, of the pair's layers\n")
        print(table(results, args.policies))
        everything += [result.to_dict() for group in results.values() for result in group]
    if args.json:
        with atomic_write(args.json, "the figures") as file:
            file.write(json.dumps(everything).encode())


def table(results: dict[tuple[str, str], list[Result]], policies: Any) -> str:
    """Markdown: tokens a second, and at one budget what stands behind it."""
    beside = BUDGETS[1]
    lines = [
        "| policy | "
        + " | ".join(f"TPS at {budget}" for budget in BUDGETS)
        + f" | at {beside}: whole model | ready | late | "
        "MB a token | wasted | CPU's pairs | waiting for the link |",
        "| --- |" + " --- |" * (len(BUDGETS) + 7),
    ]
    for policy in policies:
        groups = [results[policy, budget] for budget in BUDGETS]
        speeds = [f"{harmonic(group):.1f}{'' if all(r.fits for r in group) else ' †'}" for group in groups]
        group = results[policy, beside]
        speeds.append(f"~{harmonic(group, 'tps_whole_model'):.1f}")
        moved = sum(r.counters.bytes for r in group)
        wasted = sum(r.wasted_bytes for r in group) / moved if moved else 0.0
        tokens = sum(r.tokens for r in group)
        shares = [
            f"{mean(group, name):.0%}" for name in ("hit_rate", "late_rate", "cpu_share", "stall_share")
        ]
        behind = [*shares[:2], f"{moved / tokens / 1e6:.0f}", f"{wasted:.0%}", *shares[2:]]
        lines.append(f"| {policy} | {' | '.join(speeds + behind)} |")
    return "\n".join(lines)


def harmonic(group: list[Result], speed: str = "tps_modelled") -> float:
    """Tokens of all domains over the seconds of all."""
    return sum(r.tokens for r in group) / sum(r.tokens / getattr(r, speed) for r in group)


def mean(group: list[Result], name: str) -> float:
    return sum(getattr(r, name) for r in group) / len(group)


if __name__ == "__main__":
    main()
