"""What tests of offloading share: tiny models of every architecture, their plain text, a look at a model."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
import transformers
from torch.multiprocessing.reductions import StorageWeakRef

from moespac_nb.decoder.speculative import decode
from moespac_nb.models.inspection import inspect_model
from tests.models.test_routing import ARCHITECTURES, SIZES
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


def decoded(decode_with: Any, draft: Any, gamma: int = 4, **options: Any) -> Any:
    options = {"max_new_tokens": TOKENS, "stop_ids": ()} | options
    decoding = decode_with(PROMPT, draft=draft, gamma=gamma, **options)
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
