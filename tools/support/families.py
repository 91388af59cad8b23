"""Tiny random models of many families, and what is expected of each of them.

A family is a name that `AutoConfig.for_model` knows. Configs say the same in many ways: each gets all names.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
import transformers

from tools.support import tiny_models as tiny

LAYERS, EXPERTS, CONTEXT = 4, 8, 128
EXPERTS_NAMES = ("num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts")
TOP_K_NAMES = ("num_experts_per_tok", "top_k_experts", "moe_topk", "moe_k")
ONE_NAMES = (
    "n_shared_experts", "num_shared_experts", "moe_num_shared_experts", "n_group", "topk_group",
    "num_expert_group", "first_k_dense_replace",
)  # fmt: skip
SIZES = {
    **dict.fromkeys(EXPERTS_NAMES, EXPERTS), **dict.fromkeys(TOP_K_NAMES, 2), **dict.fromkeys(ONE_NAMES, 1),
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 16,
    "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16,
    "max_position_embeddings": CONTEXT, "pad_token_id": 1, "bos_token_id": None, "eos_token_id": 0,
    "tie_word_embeddings": False,
}  # fmt: skip
WINDOW = {"sliding_window": 8}
LATENT = {
    "q_lora_rank": 16, "kv_lora_rank": 8, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "head_dim": 8,
}  # fmt: skip
SPARSE = {**LATENT, "index_topk": 64, "index_head_dim": 16, "index_n_heads": 2}
LINEAR = {
    "linear_num_value_heads": 2, "linear_num_key_heads": 2, "linear_key_head_dim": 16,
    "linear_value_head_dim": 16,
}  # fmt: skip


@dataclass(frozen=True)
class Family:
    """What its config has beside `SIZES`, and what is expected of it."""

    options: Mapping[str, Any] = field(default_factory=dict)
    speculates: bool = True  # what was drafted can be taken out again
    is_read: bool = True  # its routing is seen, and it can be offloaded
    is_asked: bool = True  # its gates can be asked about other states
    quick: bool = False  # one of those that every run of the tests tries


STATEFUL = {"speculates": False}
UNREAD = {"is_read": False}
FAMILIES: dict[str, Family] = {
    "qwen2_moe": Family({"shared_expert_intermediate_size": 16}),
    "qwen3_moe": Family(),
    "mixtral": Family(WINDOW),
    "olmoe": Family(),
    "deepseek_v2": Family({**LATENT, "q_lora_rank": None}),
    "deepseek_v3": Family(LATENT),
    "phimoe": Family(),
    "gpt_oss": Family(WINDOW),
    "granitemoe": Family(),
    "granitemoeshared": Family(),
    "granitemoe_swa": Family(WINDOW),
    "granitemoehybrid": Family(
        {
            "mamba_n_heads": 4,
            "mamba_d_head": 16,
            "mamba_d_state": 8,
            "layer_types": ["mamba", "attention"] * 2,
        },
        **STATEFUL,
    ),
    "qwen3_next": Family(LINEAR, **STATEFUL, quick=True),
    "qwen3_5_moe_text": Family(LINEAR, **STATEFUL),
    "glm4_moe": Family(),
    "glm4_moe_lite": Family(LATENT),
    "glm_moe_dsa": Family(SPARSE, quick=True),
    "ernie4_5_moe": Family(),
    "llama4_text": Family(
        {"interleave_moe_layer_step": 1, "intermediate_size_mlp": 32}, **UNREAD, quick=True
    ),
    "minimax": Family(**STATEFUL),
    "minimax_m2": Family(quick=True),
    "jamba": Family(
        {
            "attn_layer_period": 2,
            "attn_layer_offset": 1,
            "expert_layer_period": 1,
            "expert_layer_offset": 0,
            "mamba_d_state": 8,
            "use_mamba_kernels": False,
        },
        **STATEFUL,
    ),
    "dbrx": Family(
        {
            "d_model": 32,
            "n_heads": 2,
            "n_layers": 2,
            "max_seq_len": CONTEXT,
            "attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8},
            "ffn_config": {"ffn_hidden_size": 16, "moe_num_experts": 8, "moe_top_k": 2, "hidden_size": 32},
        },
        **UNREAD,
    ),
    "hunyuan_v1_moe": Family(),
    "dots1": Family(),
    "bailing_hybrid": Family({**LATENT, "layer_group_size": 2}, **STATEFUL),
    "flex_olmo": Family(),
    "lfm2_moe": Family({"layer_types": ["conv", "full_attention"] * 2, "num_dense_layers": 1}, quick=True),
    "gemma4_text": Family(
        {
            "enable_moe_block": True,
            "num_kv_shared_layers": 0,
            "hidden_size_per_layer_input": 0,
            "vocab_size_per_layer_input": 64,
            "global_head_dim": 16,
            **WINDOW,
        },
        quick=True,
    ),
    "jetmoe": Family(**UNREAD),
    "afmoe": Family(WINDOW),
    "aria_text": Family(),
    "cohere2_moe": Family(WINDOW),
    "deepseek_v32": Family(SPARSE),
    "deepseek_v4": Family(
        {**SPARSE, "head_dim": 16, "o_lora_rank": 16, "o_groups": 2, **WINDOW},
        **STATEFUL,
        is_asked=False,  # its first layers choose by the tokens, not by their states
        quick=True,
    ),
    "exaone_moe": Family(WINDOW),
    "flint": Family(),
    "hy_v3": Family(),
    "kimi_linear": Family(
        {
            **LATENT,
            "linear_attn_config": {
                "full_attn_layers": [2, 4],
                "kda_layers": [1, 3],
                "num_heads": 2,
                "head_dim": 16,
                "short_conv_kernel_size": 4,
            },
        },
        **STATEFUL,
    ),
    "kolibri1": Family(WINDOW),
    "laguna": Family(),
    "longcat_flash": Family(
        {
            **LATENT,
            "num_layers": 2,
            "ffn_hidden_size": 32,
            "expert_ffn_hidden_size": 16,
            "zero_expert_num": 2,
        },
        **UNREAD,
    ),
    "mellum": Family(),
    "nemotron_h": Family(**STATEFUL),
    "solar_open": Family(),
    "zaya": Family({"num_experts_per_tok": 1, "moe_topk": 1}, **STATEFUL, is_asked=False),
    "axk1": Family(LATENT),
    "beam": Family(),
    "doge": Family({"is_moe": True, "num_experts": 16}, **UNREAD),
    "lara_mini": Family(**STATEFUL),
    "inkling_text": Family(),
    "minimax_m3_vl_text": Family(),
    "sarvam_moe": Family(),
}


@cache
def model_of(name: str) -> Any:
    """The model, its weights large enough that the next token depends on what was read."""
    torch.manual_seed(0)
    config = transformers.AutoConfig.for_model(name, **{**SIZES, **FAMILIES[name].options})
    return tiny._sharpened(transformers.AutoModelForCausalLM.from_config(config), seed=3)
