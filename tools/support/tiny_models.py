"""Tiny random models that behave: logits far from uniform, routing that varies, a draft often right."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from transformers import Qwen3Config, Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM
from transformers.modeling_outputs import CausalLMOutput

from tools.support import tiny_models as tiny

torch.set_num_threads(1)
VOCABULARY = 256
CONTEXT = 160
EOS = 0


def _sharpened(model: Any, seed: int, gain: float = 6.0) -> Any:
    """Random weights large enough that the next token depends on what was read."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                fan_in = weight.shape[-1]
                scale = (1.0 if "embed" in name else gain if "gate.weight" in name else 2.0) / fan_in**0.5
                weight.copy_(torch.randn(weight.shape, generator=generator) * scale)
    return model.eval()


def moe(seed: int = 0, vocabulary: int = VOCABULARY, layers: int = 4, context: int = CONTEXT) -> Any:
    config = Qwen3MoeConfig(
        vocab_size=vocabulary,
        hidden_size=64,
        intermediate_size=64,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        num_experts=16,
        num_experts_per_tok=4,
        moe_intermediate_size=32,
        norm_topk_prob=True,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        eos_token_id=EOS,
        pad_token_id=1,
        bos_token_id=None,
    )
    return _sharpened(Qwen3MoeForCausalLM(config), seed)


def dense(seed: int = 1, vocabulary: int = VOCABULARY, context: int = CONTEXT) -> Any:
    config = Qwen3Config(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
        head_dim=16,
        max_position_embeddings=context,
        tie_word_embeddings=False,
        eos_token_id=EOS,
        pad_token_id=1,
        bos_token_id=None,
    )
    return _sharpened(Qwen3ForCausalLM(config), seed)


def noised(model: Any, noise: float = 0.004, seed: int = 2) -> Any:
    """A draft that agrees with the target most of the time: the target with noise on its weights."""
    copy = type(model)(model.config)
    copy.load_state_dict(model.state_dict())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(torch.randn(weight.shape, generator=generator) * noise * weight.std().nan_to_num(0.0))
    return copy.eval()


class MarkovChain(torch.nn.Module):
    """A causal language model with known logits: the next token depends on the last one alone."""

    def __init__(self, logits: torch.Tensor) -> None:
        super().__init__()
        self.config = Qwen3Config(
            vocab_size=len(logits), num_hidden_layers=1, max_position_embeddings=CONTEXT, eos_token_id=None
        )
        self.generation_config = self.config
        self.device = torch.device("cpu")
        self.logits = logits

    def forward(self, input_ids: torch.Tensor, cache: Any, use_cache: bool, logits_to_keep: int) -> Any:
        held = torch.zeros(1, 1, input_ids.shape[1], 1)
        cache.update(held, held, 0)
        return CausalLMOutput(logits=self.logits[input_ids[:, -logits_to_keep:]])


@cache
def pair() -> tuple[Any, Any]:
    """A target, and its noised copy as draft."""
    target = moe()
    return target, noised(target)


def generated(model: Any, prompt: list[int], new_tokens: int, **options: Any) -> list[int]:
    """The new ids of the model's own `generate`, greedy unless options say otherwise."""
    options = {"do_sample": False, "max_new_tokens": new_tokens} | options
    ids = torch.tensor([prompt], device=model.device)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), **options)
    return out[0, len(prompt) :].tolist()


def hook_count(model: Any) -> int:
    """Forward hooks anywhere in the model."""
    return sum(len(module._forward_pre_hooks) + len(module._forward_hooks) for module in model.modules())


def random_prompt(seed: int, length: int = 12) -> list[int]:
    return torch.randint(
        2, tiny.VOCABULARY, (length,), generator=torch.Generator().manual_seed(seed)
    ).tolist()
