"""What does a budget cost beside the arithmetic? Thread CPU time a layer, on experts that take next to none.

    python -m tools.bench.offload                       # 48 × 128 experts, top 8, hidden 64, width 16
    python -m tools.bench.offload --windows 3 --policies on-demand --budgets 17%

A random model reads windows of 9 positions, a scripted draft of 8 and the token before it, plainly and from
slots, all in one run. Given is the median window, in microseconds a layer: the whole, which for the plain
model is attention, router, experts and decoder; and how many times the plain one's that is.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

from moespac_nb import decode, offload
from moespac_nb.decoder.drafts import Proposal

ROOT = Path(__file__).resolve().parents[2]

GAMMA = 8
VOCABULARY = 512
COSTS = {"model_spec": "qwen3-30b-a3b"}  # so large that policies use their slots


class Scripted:
    """Drafts tokens that are random, and the same in every run."""

    def prefill(self, _ids: Any, /) -> None:
        """Reads nothing."""

    def propose(self, ids: Any, _uniforms: Any, _sampling: Any, vocabulary: int, /) -> Proposal:
        tokens = torch.as_tensor(np.random.default_rng(len(ids)).integers(2, vocabulary, GAMMA))
        return Proposal(tokens, torch.nn.functional.one_hot(tokens, vocabulary).float())


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", type=int, default=48)
    parser.add_argument("--experts", type=int, default=128)
    parser.add_argument("--windows", type=int, default=6, help="timed, after one to warm up")
    parser.add_argument("--policies", nargs="+", default=["on-demand", "spac-joint"])
    parser.add_argument("--budgets", nargs="+", default=["10%", "17%", "50%"])
    parser.add_argument("--device", default="virtual", help="virtual or host (default %(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model = made(args.layers, args.experts)
    prompt = np.random.default_rng(0).integers(2, VOCABULARY, 16).tolist()
    options = {"draft": Scripted(), "gamma": GAMMA, "max_new_tokens": 2000, "stop_ids": ()}
    plain_us = measured(decode(model, prompt, **options), args)
    print(f"plain: {plain_us:.0f} us a layer", flush=True)
    for name in args.policies:
        for budget in args.budgets:
            with offload(model, budget, policy=name, device=args.device, gamma=GAMMA, **COSTS) as run:
                us = measured(run.decode(prompt, **options), args)
                counts = run.counters
            print(
                f"{name} {budget} ({run.slots} slots, {args.device}): {us:.0f} us a layer, "
                f"{us / plain_us:.2f} × plain; ready {counts.ready}, late {counts.late}, miss {counts.miss}",
                flush=True,
            )


def measured(decoding: Iterable[Any], args: argparse.Namespace) -> float:
    """Microseconds of this thread's CPU a layer and window."""
    steps, taken = iter(decoding), []
    next(steps)
    for _ in range(args.windows):
        start = time.thread_time()
        next(steps)
        taken.append(time.thread_time() - start)
    return 1e6 * statistics.median(taken) / args.layers


def made(layers: int, experts: int) -> Any:
    torch.manual_seed(0)
    config = Qwen3MoeConfig(
        vocab_size=VOCABULARY, hidden_size=64, intermediate_size=64, moe_intermediate_size=16,
        num_hidden_layers=layers, num_attention_heads=4, num_key_value_heads=2, head_dim=16,
        num_experts=experts, num_experts_per_tok=8, max_position_embeddings=4096, eos_token_id=0,
        pad_token_id=1, bos_token_id=None,
    )  # fmt: skip
    model = Qwen3MoeForCausalLM(config).eval()
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if "embed" in name or "gate.weight" in name:  # each token goes its own way
                weight.copy_(torch.randn(weight.shape))
    return model


if __name__ == "__main__":
    main()
