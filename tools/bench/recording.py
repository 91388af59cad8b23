"""What does recording cost beside decoding? The same prompt decoded and recorded, turn by turn, in one run.

    python -m tools.bench.recording                 # the bundled pair, one prompt a domain, γ = 4 and 8
    python -m tools.bench.recording --clock cpu     # where other work shares the machine

Recorded in three ways: bare; with router scores and both sensors; dense, with γ_max = 8
and both. Each turn runs all of them in an order that rotates. Decoding yields the routing of every step by
itself: what a bare recording adds is the columns. Times are whole calls, prefill included.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from moespac_nb import DOMAINS, Sampling, decode, load_pair, load_prompts, record
from tools.bench.decoding import CLOCKS

ROOT = Path(__file__).resolve().parents[2]

SAMPLINGS = {"greedy": Sampling(), "sample": Sampling("sample", temperature=0.8)}
ALL: dict[str, Any] = {"scores": True, "channels": ("draft-gates", "next-gate")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gamma", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--prompts", type=int, default=1, help="a domain (default %(default)s)")
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    args = parser.parse_args()
    torch.set_num_threads(1)
    target, draft = load_pair()
    texts = [prompt.prompt for domain in DOMAINS for prompt in load_prompts(domain, "report")[: args.prompts]]
    for mode, sampling in SAMPLINGS.items():
        for gamma in args.gamma:
            options = {"draft": draft, "gamma": gamma, "sampling": sampling, "max_new_tokens": args.tokens}
            runs = contestants(target, options)
            seconds = [measure(runs, text, turn, CLOCKS[args.clock]) for turn, text in enumerate(texts)]
            print(f"{mode}, γ = {gamma}: {in_words(seconds)} ({args.clock} clock)", flush=True)


def contestants(target: Any, options: dict[str, Any]) -> dict[str, Callable[[str], Any]]:
    return {
        "decode": lambda text: list(decode(target, text, **options)),
        "record": lambda text: record(target, text, **options),
        "with scores and sensors": lambda text: record(target, text, **options, **ALL),
        "dense, 8": lambda text: record(target, text, **options, **ALL, dense=8),
    }


def measure(
    runs: dict[str, Callable[[str], Any]], text: str, turn: int, clock: Callable[[], float]
) -> dict[str, float]:
    """Seconds of each for one prompt."""
    names = list(runs)
    if turn == 0:
        runs[names[0]](text)  # warm-up
    first = turn % len(names)
    seconds = {}
    for name in names[first:] + names[:first]:
        start = clock()
        runs[name](text)
        seconds[name] = clock() - start
    return seconds


def in_words(seconds: list[dict[str, float]]) -> str:
    """Each way's time over that of decoding the same prompt: median, and from least to most."""
    said = []
    for name in seconds[0]:
        ratios = [turn[name] / turn["decode"] for turn in seconds]
        if name != "decode":
            said.append(f"{name} {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    return ", ".join(said) + f" × decoding, {len(seconds)} prompts, measured"


if __name__ == "__main__":
    main()
