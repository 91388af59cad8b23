"""How fast is the decoder beside transformers' own generation? One process, the same pair, prompts and γ.

    python -m tools.bench.decoding                       # the bundled pair, two prompts a domain
    python -m tools.bench.decoding --pair random --json  # an untrained pair of its shape

Each prompt is decoded by all contestants in turn, in an order that rotates, so that a slow spell of the
machine meets them all. Times are whole calls, prefill included: by the wall clock, or where other work shares
the machine by this process's own time on the processor (`--clock cpu`, one thread). The draft length is fixed
on both sides: schedule `constant`, confidence threshold 0.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import torch

from moespac_nb.datasets.prompts import DOMAINS, load_prompts
from moespac_nb.decoder.sampling import Sampling
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.loading import load_pair

ROOT = Path(__file__).resolve().parents[2]

Contestant = Callable[[list[int]], list[int]]


def random_pair(seed: int = 0) -> tuple[Any, Any]:
    """Untrained models of about the bundled pair's shape; the draft is the target's first two layers."""
    from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

    torch.manual_seed(seed)
    shape = {
        "vocab_size": 4096,
        "hidden_size": 192,
        "num_attention_heads": 6,
        "num_key_value_heads": 3,
        "head_dim": 32,
        "num_experts": 64,
        "num_experts_per_tok": 4,
        "moe_intermediate_size": 48,
        "max_position_embeddings": 1024,
        "tie_word_embeddings": True,
        "eos_token_id": None,
        "pad_token_id": 1,
    }
    target = Qwen3MoeForCausalLM(Qwen3MoeConfig(num_hidden_layers=8, **shape)).eval()
    draft = Qwen3MoeForCausalLM(Qwen3MoeConfig(num_hidden_layers=2, **shape)).eval()
    draft.load_state_dict(target.state_dict(), strict=False)
    return target, draft


def contestants(
    target: Any, draft: Any, gamma: int, sampling: Sampling, new_tokens: int
) -> dict[str, Contestant]:
    draft.generation_config.num_assistant_tokens = gamma
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    draft.generation_config.assistant_confidence_threshold = 0.0
    options: dict[str, Any] = {"max_new_tokens": new_tokens, "do_sample": sampling.mode == "sample"}
    if sampling.mode == "sample":
        options |= {"temperature": sampling.temperature, "top_k": 0, "top_p": 1.0}

    def ours(ids: list[int], draft: Any = draft) -> list[int]:
        decoding = decode(target, ids, draft=draft, gamma=gamma, sampling=sampling, max_new_tokens=new_tokens)
        for _ in decoding:
            pass
        return decoding.new_ids

    def theirs(ids: list[int], **assistant: Any) -> list[int]:
        prompt = torch.tensor([ids])
        out = target.generate(prompt, attention_mask=torch.ones_like(prompt), **options, **assistant)
        return out[0, len(ids) :].tolist()

    return {
        "ours": ours,
        "assisted": lambda ids: theirs(ids, assistant_model=draft),
        "ours_plain": lambda ids: ours(ids, draft=None),
        "generate": theirs,
    }


CLOCKS = {"wall": perf_counter, "cpu": process_time}


def measure(
    racers: dict[str, Contestant], texts: list[list[int]], repeats: int, clock: Callable[[], float]
) -> list[dict[str, float]]:
    """Tokens a second of each contestant, one record for each prompt and repeat."""
    for run in racers.values():
        run(texts[0])  # warm-up
    records = []
    for turn, ids in enumerate(texts * repeats):
        names = list(racers)
        order = names[turn % len(names) :] + names[: turn % len(names)]
        speeds = {}
        for name in order:
            start = clock()
            new_ids = racers[name](ids)
            speeds[name] = len(new_ids) / (clock() - start)
        records.append(speeds)
    return records


def summary(records: list[dict[str, float]]) -> dict[str, Any]:
    def ratio(ours: str, theirs: str) -> dict[str, float]:
        ratios = [record[ours] / record[theirs] for record in records]
        return {"median": statistics.median(ratios), "min": min(ratios), "max": max(ratios)}

    return {
        "runs": len(records),
        "tokens_per_second_measured": {
            name: statistics.median(record[name] for record in records) for name in records[0]
        },
        "ratio_to_assisted": ratio("ours", "assisted"),
        "ratio_of_plain_to_generate": ratio("ours_plain", "generate"),
        "ratio_of_speculation_to_plain": ratio("ours", "ours_plain"),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--pair", choices=("bundled", "random"), default="bundled")
    parser.add_argument("--gamma", type=int, nargs="+", default=[4, 8])
    parser.add_argument("--mode", choices=("greedy", "sample"), nargs="+", default=["greedy", "sample"])
    parser.add_argument("--temperature", type=float, default=0.8)
    parser.add_argument("--prompts", type=int, default=2, help="a domain (default %(default)s)")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--max-new-tokens", type=int, default=96)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    if options.pair == "bundled":
        target, draft = load_pair()
        chosen = [
            prompt for domain in DOMAINS for prompt in load_prompts(domain, "report")[: options.prompts]
        ]
        texts = [target.tokenizer(prompt.prompt)["input_ids"] for prompt in chosen]
    else:
        target, draft = random_pair()
        generator = torch.Generator().manual_seed(0)
        texts = [
            torch.randint(2, 4096, (80,), generator=generator).tolist() for _ in range(7 * options.prompts)
        ]

    results = []
    for mode in options.mode:
        for gamma in options.gamma:
            sampling = Sampling(mode, options.temperature)
            racers = contestants(target, draft, gamma, sampling, options.max_new_tokens)
            records = measure(racers, texts, options.repeats, CLOCKS[options.clock])
            results.append(
                {
                    "pair": options.pair,
                    "mode": mode,
                    "gamma": gamma,
                    "clock": options.clock,
                    **summary(records),
                }
            )
            if not options.json:
                print(in_words(results[-1]), flush=True)
    if options.json:
        print(json.dumps({"threads": options.threads, "results": results}, indent=2))


def in_words(result: dict[str, Any]) -> str:
    speeds = ", ".join(f"{name} {speed:.0f}" for name, speed in result["tokens_per_second_measured"].items())
    ratio, plain = result["ratio_to_assisted"], result["ratio_of_plain_to_generate"]
    return (
        f"{result['mode']} γ = {result['gamma']}: {ratio['median']:.2f} × assisted generation "
        f"(from {ratio['min']:.2f} to {ratio['max']:.2f}), plain {plain['median']:.2f} × generate; "
        f"tokens a second (measured, {result['clock']} clock, median of {result['runs']}): {speeds}"
    )


if __name__ == "__main__":
    main()
