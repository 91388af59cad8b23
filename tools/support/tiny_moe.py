"""What tests of offloading share: tiny models of every architecture, their plain text, a look at a model."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers
from torch.multiprocessing.reductions import StorageWeakRef

from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from moespac_nb.trace.step import MoEShape
from tools.support import tiny_models as tiny

PROMPT = [5, 9, 33, 12, 7, 7, 60]
TOKENS = 12
QWEN = "qwen3_moe"


@cache
def model_and_draft(name: str) -> tuple[Any, Any]:
    options, _ = ARCHITECTURES[name]
    config = transformers.AutoConfig.for_model(name, **SIZES, **options)
    model = tiny._sharpened(transformers.AutoModelForCausalLM.from_config(config), seed=3)
    return model, tiny.noised(model)


def expert_bytes(model: Any) -> int:
    module = inspect_model(model).experts[0]
    return sum(weight[0].nbytes for weight in module.parameters())


def begun(decode_with: Any, draft: Any, gamma: int = 4, **options: Any) -> Any:
    options = {"max_new_tokens": TOKENS, "stop_ids": ()} | options
    return decode_with(PROMPT, draft=draft, gamma=gamma, **options)


def decoded(decode_with: Any, draft: Any, gamma: int = 4, **options: Any) -> Any:
    decoding = begun(decode_with, draft, gamma, **options)
    list(decoding)
    return decoding


def plainly(model: Any) -> Any:
    return lambda prompt, **options: decode(model, prompt, **options)


@cache
def plain_text(name: str) -> list[int]:
    model, draft = model_and_draft(name)
    return decoded(plainly(model), draft).new_ids


class Untouched:
    """Everything an offload could change in a model: names, objects, places in memory, bytes, forwards."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.before = self._look()
        self.bytes = {name: weight.detach().clone() for name, weight in model.state_dict().items()}

    def _look(self) -> list[Any]:
        parameters = [
            (name, id(weight), weight.data_ptr(), weight.requires_grad, weight.device, weight.shape)
            for name, weight in self.model.named_parameters()
        ]
        modules = [(name, id(module), sorted(vars(module))) for name, module in self.model.named_modules()]
        return [parameters, modules, self.model.config._experts_implementation, tiny.hook_count(self.model)]

    def check(self) -> None:
        assert self._look() == self.before
        for name, weight in self.model.state_dict().items():
            assert torch.equal(weight, self.bytes[name])


def storages(run: Any) -> list[StorageWeakRef]:
    """The memory of a run's slots."""
    return [StorageWeakRef(tensor.untyped_storage()) for tensor in run._store.slots.values()]


SIZES = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 32,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 1,
    "bos_token_id": None,
    "eos_token_id": 0,
    "num_experts_per_tok": 2,
}


LATENT = {
    "q_lora_rank": None,
    "kv_lora_rank": 8,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 8,
    "v_head_dim": 8,
}


ARCHITECTURES = {
    "qwen3_moe": ({"num_experts": 8, "moe_intermediate_size": 16, "head_dim": 16}, MoEShape(3, 8, 2)),
    "mixtral": ({"num_local_experts": 6}, MoEShape(3, 6, 2)),
    "olmoe": ({"num_experts": 8}, MoEShape(3, 8, 2)),
    "gpt_oss": ({"num_local_experts": 8, "head_dim": 16, "sliding_window": 8}, MoEShape(3, 8, 2)),
    "deepseek_v2": (
        {
            "n_routed_experts": 8,
            "n_shared_experts": 1,
            "moe_intermediate_size": 16,
            "first_k_dense_replace": 1,
            "topk_method": "greedy",
            "n_group": 1,
            "topk_group": 1,
            **LATENT,
        },
        MoEShape(2, 8, 2),  # its first layer is dense
    ),
}
