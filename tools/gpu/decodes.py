"""What the stages share that decode: one text from slots, held against the same of the plain model."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moespac_nb import decode
from moespac_nb.hardware.costs import Costs, cost_model
from moespac_nb.trace.step import Step
from tools.gpu.stage import Setup


@dataclass(frozen=True, eq=False)
class Case:
    """A model, its draft and a prompt, and what the plain model makes of it on the same device."""

    name: str
    model: Any  # on the host, to be offloaded
    plain: Any  # the same weights, on the device
    draft: Any
    prompt: list[int]
    gamma: int
    new_tokens: int
    new_ids: list[int]
    logits: Tensor  # (prompt, vocabulary) of one forward over the prompt
    usage: np.ndarray  # (layers, experts): what static-hot is told

    @classmethod
    def of(
        cls,
        name: str,
        model: Any,
        draft: Any,
        prompt: list[int],
        setup: Setup,
        *,
        gamma: int,
        new_tokens: int,
    ) -> Case:
        plain = copy.deepcopy(model).to(setup.place)
        draft = copy.deepcopy(draft).to(setup.place)
        decoding = decode(plain, prompt, draft=draft, gamma=gamma, max_new_tokens=new_tokens, stop_ids=())
        steps = list(decoding)
        return cls(
            name, model, plain, draft, prompt, gamma, new_tokens, decoding.new_ids,
            logits_of(plain, prompt, setup), usage_of(steps),
        )  # fmt: skip

    def decoded(self, run: Any) -> list[int]:
        """The new ids of the same text from slots."""
        steps = run.decode(
            self.prompt, draft=self.draft, gamma=self.gamma, max_new_tokens=self.new_tokens, stop_ids=()
        )
        return list(chain.from_iterable(step.emitted.tolist() for step in steps))

    def difference(self, new_ids: Sequence[int], apart: float, setup: Setup) -> str:
        """ "equal", or where the texts part: at a near tie of the plain model's own logits, or not.

        apart: how far two logits may be from what they are, of the largest one.
        """
        at = next((i for i, (a, b) in enumerate(zip(self.new_ids, new_ids, strict=False)) if a != b), None)
        if at is None:
            return "equal" if len(new_ids) == len(self.new_ids) else "another length"
        last = logits_of(self.plain, [*self.prompt, *self.new_ids[:at]], setup)[-1]
        gap = float(last[self.new_ids[at]] - last[new_ids[at]]) / float(last.abs().max())
        return (
            "near tie" if abs(gap) <= 2 * apart else f"differs at token {at}, {gap:.2g} of the largest logit"
        )


@torch.inference_mode()
def logits_of(model: Any, ids: Sequence[int], setup: Setup) -> Tensor:
    """(tokens, vocabulary) in float32, of one forward."""
    logits: Tensor = model(torch.tensor([list(ids)], device=setup.place), use_cache=False).logits[0]
    return logits.float()


def usage_of(steps: Sequence[Step]) -> np.ndarray:
    """How often these windows used each expert, (layers, experts)."""
    usage: np.ndarray = np.sum([step.counts for step in steps], axis=0)
    return usage


def slow_cpu() -> Costs:
    """Costs by which every policy has experts copied, however small they are."""
    return replace(cost_model("rtx4090", "qwen3-30b-a3b"), cpu_bytes_per_s=1e6)


def tiny_family(name: str) -> tuple[Any, Any, list[int]]:
    """A tiny random model of one architecture, a draft for it and a prompt, as the tests have them."""
    threads = torch.get_num_threads()
    try:
        from tools.support.tiny_moe import PROMPT, model_and_draft

        return (*model_and_draft(name), PROMPT)
    finally:
        torch.set_num_threads(threads)  # the tests take one


def bundled_pair(dtype: str = "float32") -> tuple[Any, Any, list[int]]:
    from moespac_nb import load_pair, load_prompts

    target, draft = load_pair(dtype)
    return target, draft, target.tokenizer(load_prompts("chat", "report")[0].prompt)["input_ids"]
