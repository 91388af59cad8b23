"""A model of the shape of Qwen3-30B-A3B with made-up weights: as large and as slow, and it says nothing.

Its routing is *made* too. A topic that changes slowly with the position is added to what each gate reads, so
that experts are chosen unevenly and a window's are much like the last one's. The next token follows from the
last one by a fixed rule, with a margin far above rounding: so all contestants decode the same windows, and a
wrong expert shows in the logits, not in the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moespac_nb.decoder.drafts import Proposal
from moespac_nb.decoder.sampling import Sampling
from tools.gpu.stage import Setup
from tools.gpu.stages.computer import free_host_bytes

FULL = {
    "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 6144, "num_attention_heads": 32,
    "num_key_value_heads": 4, "head_dim": 128, "num_experts": 128, "num_experts_per_tok": 8,
    "moe_intermediate_size": 768, "max_position_embeddings": 1024,
}  # fmt: skip
DRY = FULL | {
    "vocab_size": 256, "hidden_size": 64, "intermediate_size": 64, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 16, "num_experts": 16, "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
}  # fmt: skip
LAYERS, DRY_LAYERS = 16, 2
BRANCH = 0.2  # of an embedding's size: what one attention, or one layer's experts, adds
TOPIC, TOPIC_TOKENS = 1.5, 32  # its weight beside the text's, and how long one lasts
ACCEPTED = 0.8


def layers_that_fit(setup: Setup) -> int:
    """As many as memory holds, even where the host keeps a second, pinned copy in larger blocks."""
    if setup.layers is not None or setup.tiny:
        return setup.layers or DRY_LAYERS
    layer_bytes = 2 * 3 * FULL["num_experts"] * FULL["hidden_size"] * FULL["moe_intermediate_size"]
    on_gpu = 0.85 * torch.cuda.mem_get_info()[0] / layer_bytes - 2
    on_host = 0.8 * free_host_bytes() / (2.4 * layer_bytes)
    return max(1, min(LAYERS, int(on_gpu), int(on_host)))


def made_model(setup: Setup, layers: int) -> Any:
    """On the device, in bfloat16: no weight is ever in a file."""
    from transformers import AutoConfig, AutoModelForCausalLM
    from transformers.initialization import no_init_weights

    config = AutoConfig.for_model(
        "qwen3_moe", **(DRY if setup.tiny else FULL), num_hidden_layers=layers, norm_topk_prob=True,
        tie_word_embeddings=False, eos_token_id=None, bos_token_id=None, pad_token_id=None,
    )  # fmt: skip
    with no_init_weights(), torch.device(setup.place):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16).eval()
    torch.manual_seed(0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            if weight.ndim > 1:
                branch = BRANCH if name.endswith(("o_proj.weight", "down_proj")) else 1.0
                weight.normal_(std=1.0 if "embed" in name else branch / weight.shape[-1] ** 0.5)
        head, embedding = model.get_output_embeddings().weight, model.get_input_embeddings().weight
        following = torch.randperm(len(head), device=head.device)
        head[following] = embedding / embedding.shape[-1] ** 0.5
    _follow_topics(model)
    return model


def _follow_topics(model: Any) -> None:
    config = model.config
    count = config.max_position_embeddings // TOPIC_TOKENS + 2
    anchors = np.random.default_rng(0).standard_normal((count, config.hidden_size))
    at = np.arange(config.max_position_embeddings) / TOPIC_TOKENS
    part = (at % 1)[:, None] * np.pi / 2  # from one anchor to the next, of the same length all along
    mixed = np.cos(part) * anchors[at.astype(int)] + np.sin(part) * anchors[at.astype(int) + 1]
    table = torch.tensor(TOPIC * mixed, dtype=torch.bfloat16)
    now: list[Tensor] = []  # the topics of the pass's positions

    def see_positions(_module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        nonlocal table
        positions = kwargs["position_ids"] if "position_ids" in kwargs else args[1]
        table = table.to(positions.device)
        now[:] = [table[positions.reshape(-1)]]

    def add_topic(_gate: Any, args: tuple[Any, ...]) -> tuple[Any, ...]:
        return (args[0] + now[0], *args[1:])

    model.model.rotary_emb.register_forward_pre_hook(see_positions, with_kwargs=True)
    for layer in model.model.layers:
        layer.mlp.gate.register_forward_pre_hook(add_topic)


class Scripted:
    """A draft that knows the text: it proposes each token of it with probability .8, else another one.

    The same at a position each time, and in no time.
    """

    def __init__(self, ids: Sequence[int], vocabulary: int, place: str) -> None:
        self._place = place
        text = np.array(ids)
        right = np.random.default_rng(1).random(len(text)) < ACCEPTED
        self._proposed = np.where(right, text, (text + 1) % vocabulary)

    def prefill(self, _ids: Sequence[int], /) -> None:
        """It knows the prompt."""

    def propose(
        self, ids: Sequence[int], uniforms: np.ndarray, _sampling: Sampling, vocabulary: int, /
    ) -> Proposal:
        drafted = torch.from_numpy(self._proposed[len(ids) : len(ids) + len(uniforms)]).to(self._place)
        probs = torch.zeros(len(drafted), vocabulary, device=self._place)
        return Proposal(drafted, probs.scatter_(1, drafted[:, None], 1.0))
