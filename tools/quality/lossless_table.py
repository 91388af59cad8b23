"""How far are offloaded logits from the plain model's? By family, number format and experts implementation.

    python -m tools.quality.lossless_table                      # the CPU, all that transformers offers there
    python -m tools.quality.lossless_table --families mixtral --device host

Tiny random models, top 4 of 8 experts, a pass over 24 tokens, three times for each: all from slots, all from
the store, and both side by side. Given is the largest difference of a logit; 0 is bit for bit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import transformers

from moespac_nb import offload
from moespac_nb.engine.placement import Counters
from moespac_nb.hardware.costs import Costs
from moespac_nb.policies import Policy, compose_policy, get_policy

ROOT = Path(__file__).resolve().parents[2]

SIZES = {
    "vocab_size": 96, "hidden_size": 48, "intermediate_size": 40, "moe_intermediate_size": 24,
    "num_hidden_layers": 3, "num_attention_heads": 3, "num_key_value_heads": 3, "head_dim": 16,
    "num_experts_per_tok": 4, "max_position_embeddings": 64, "pad_token_id": 1, "eos_token_id": 0,
}  # fmt: skip
LATENT = {
    "q_lora_rank": None, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip
FAMILIES: dict[str, dict[str, Any]] = {
    "deepseek_v2": {**LATENT, "topk_method": "greedy"},
    "deepseek_v3": {**LATENT, "head_dim": 8},
    "dots1": {"n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1,
              "topk_group": 1},
    "ernie4_5_moe": {"moe_num_experts": 8, "moe_k": 4, "moe_layer_start_index": 0},
    "flex_olmo": {"num_experts": 8},
    "glm4_moe": {"n_routed_experts": 8, "n_shared_experts": 1, "first_k_dense_replace": 1, "n_group": 1,
                 "topk_group": 1},
    "gpt_oss": {"num_local_experts": 8},
    "granitemoe": {"num_local_experts": 8},
    "hunyuan_v1_moe": {"num_experts": 8, "moe_topk": 4},
    "minimax_m2": {"num_local_experts": 8},
    "mixtral": {"num_local_experts": 8},
    "nemotron_h": {"n_routed_experts": 8, "layers_block_type": ["attention", "moe", "attention", "moe"],
                   "n_group": 1, "topk_group": 1, "moe_shared_expert_intermediate_size": 24,
                   "moe_latent_size": None},
    "olmoe": {"num_experts": 8},
    "phimoe": {"num_local_experts": 8, "num_experts_per_tok": 2},  # its router knows no other top-k
    "qwen2_moe": {"num_experts": 8, "shared_expert_intermediate_size": 24},
    "qwen3_moe": {"num_experts": 8},
    "qwen3_next": {"num_experts": 8, "layer_types": 3 * ["full_attention"],
                   "shared_expert_intermediate_size": 24},
}  # fmt: skip
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
IMPLEMENTATIONS = ("eager", "grouped_mm", "batched_mm")  # what runs without a GPU
# Computing one position takes the CPU lane 1 s, a copy 2.5 s: what many positions need is copied, if asked.
COSTS = Costs(
    expert_bytes=1, expert_flops=1, copy_alpha_s=0, link_bytes_per_s=0.4, gpu_bytes_per_s=1e9,
    gpu_flops_per_s=1e9, cpu_bytes_per_s=1e9, cpu_flops_per_s=1, dense_s=0, dense_position_s=0, head_s=0,
    draft_s=0, draft_prefill_s=0, planning_s=0,
)  # fmt: skip
PLAYED: dict[str, Policy] = {
    "slots": get_policy("on-demand"),
    "store": get_policy("cpu-only"),
    "both": compose_policy("both", sensor="verify-counts", rule="last-count", admission=1, miss="cheaper"),
}


class Cell(NamedTuple):
    """One family in one format under one implementation."""

    family: str
    dtype: str
    implementation: str
    difference: float  # of a logit, the largest over all ways to place the experts
    largest: float  # logit
    counted: dict[str, Counters]  # by way


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--families", nargs="+", choices=FAMILIES, default=list(FAMILIES))
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=list(DTYPES))
    parser.add_argument("--implementations", nargs="+", default=list(IMPLEMENTATIONS))
    parser.add_argument("--device", default="virtual", help="virtual, host or cuda (default %(default)s)")
    args = parser.parse_args()
    transformers.logging.set_verbosity_error()
    columns = [f"{dtype} {each}" for dtype in args.dtypes for each in args.implementations]
    print("| family |", " | ".join(columns), "|")
    print("|---" * (len(columns) + 1) + "|")
    worst = 0.0
    for family in args.families:
        found = list(cells(family, args.dtypes, args.implementations, args.device))
        worst = max(worst, *(cell.difference for cell in found))
        print(f"| {family} |", " | ".join(f"{cell.difference:.3g}" for cell in found), "|", flush=True)
    print(f"\nlargest: {worst:.3g}")


def cells(
    family: str, dtypes: list[str], implementations: list[str], device: str = "virtual"
) -> Iterator[Cell]:
    model = tiny(family)
    ids = torch.randint(2, 96, (1, 24), generator=torch.Generator().manual_seed(1))
    for name in dtypes:
        model = model.to(DTYPES[name])
        for implementation in implementations:
            model.set_experts_implementation(implementation)
            with torch.inference_mode():
                plain = model(ids, use_cache=False).logits
                made = {way: offloaded(model, ids, each, device) for way, each in PLAYED.items()}
            differences = [float((logits - plain).abs().max()) for logits, _ in made.values()]
            counted = {way: counters for way, (_, counters) in made.items()}
            yield Cell(family, name, implementation, max(differences), float(plain.abs().max()), counted)


def offloaded(model: Any, ids: Any, played: Policy, device: str) -> tuple[Any, Counters]:
    """The logits of a second pass, which finds experts in slots."""
    with offload(model, "80%", policy=played, costs=COSTS, device=device) as run:
        model(ids, use_cache=False)
        return model(ids, use_cache=False).logits, run.counters


def tiny(family: str) -> Any:
    """Random weights so large that routing and logits depend on what was read."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(family, **{**SIZES, **FAMILIES[family]})
    model = transformers.AutoModelForCausalLM.from_config(config, attn_implementation="eager").eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape) * 1.5 / weight.shape[-1] ** 0.5)
    return model


if __name__ == "__main__":
    main()
