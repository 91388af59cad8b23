"""The models that routing is fitted to: their shapes, sources, and which captures are held out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from moespac_nb.trace.step import MoEShape

from .captures import Capture

__all__ = ["MODELS", "PUBLISHED", "Fitted", "split"]


@dataclass(frozen=True)
class Fitted:
    """What is particular to a model.

    So many `replicates` of its captures are generated for a fit; `common` are parameters of the generator
    that were chosen by hand; `remarks` say what the figures of the report mean.
    """

    geometry: MoEShape
    replicates: int
    common: dict[str, Any]
    sources: tuple[str, ...]
    remarks: str


MODELS = {
    "gpt-oss-20b": Fitted(
        MoEShape(24, 32, 4),
        1,
        {"directions": 6, "frequent": 15, "seed": 20},
        (
            "AmanPriyanshu/GPT-OSS-MoE-ExpertFingerprinting 72b368f, Apache-2.0: greedy decodes of 114 MMLU "
            "prompts of one template",
        ),
        "The texts held out are as many as those fitted, and all are answers to questions of one template. "
        "What fits least: the most popular quarter of the experts has too few uses, and the last window's "
        "counts predict the next window less well than they do in the captures.",
    ),
    "olmoe-1b-7b": Fitted(
        MoEShape(16, 64, 8),
        8,
        {"directions": 10, "frequent": 20, "seed": 7, "gates_of_chosen": False},
        (
            "DamianoCeka/moevm-lab f35caf4, Apache-2.0: 5 short texts, two thirds of them prompt, T = 0.7",
            "sqliteai/warp 7f1fbba, Apache-2.0: 299 decoded tokens",
        ),
        "The texts fitted are matched. Two short ones are held out, 84 tokens, mostly prompt: hits of "
        "caches and overlap are as generated, but the two use more of the same experts than generated "
        "texts of different topics, so popularity and the recall of frequency are higher. With so few "
        "tokens chance alone makes 2 to 3 percentage points: this cannot show whether the aim is met.",
    ),
    "qwen3-30b-a3b": Fitted(
        MoEShape(48, 128, 8),
        16,
        {"directions": 10, "frequent": 20, "seed": 30},
        (
            "Helldez/BigMoeOnEdge 2d4f2b1, Apache-2.0: 128 decoded tokens of one text, Q4_K_M",
            "doramirdor/mbolt e7e9dbf, MIT: usage counts of 75,773 decoded tokens, IQ3_XXS",
            "gajsanders/moe-trace, findings 004 to 007: hit rates and overlap, 4-bit",
            "equal tokens share as many experts as in gpt-oss-20b, as no capture has token ids",
        ),
        "No text is held out: there is one, of a phone, and it holds 6 of 8 experts. Its neighbours share "
        "less than those of the published 25 prompts; what is generated lies between the two, nearer to the "
        "published table, whose Belady rates were not fitted. LRU with twice the experts of a "
        "token fits least. The spread over layers is that of the phone's text, not of the published table.",
    ),
}

PUBLISHED = {
    "qwen3-30b-a3b": {
        "experts shared with the next token": 42.7,
        "the same, in the layer that shares least": 7.9,
        "the same, in the layer that shares most": 59.7,
        "LRU hits, 8 slots": 42.4,
        "LRU hits, 16 slots": 64.7,
        "LRU hits, 32 slots": 81.0,
        "LRU hits, 64 slots": 91.8,
        "Belady hits, 8 slots": 60.8,
        "Belady hits, 16 slots": 78.4,
        "Belady hits, 32 slots": 88.8,
        "Belady hits, 64 slots": 92.9,
    }
}


def split(model: str, captures: list[Capture]) -> tuple[list[Capture], list[Capture]]:
    """Share captures out to fitting and to holding out, by text: every second one is held out.

    A fit needs what only few captures have: token ids of gpt-oss-20b, a long decode of OLMoE. Of Qwen3 there
    is one text.
    """
    needed = {
        "gpt-oss-20b": lambda capture: capture.token_ids is not None,
        "olmoe-1b-7b": lambda capture: len(capture.experts) > 100,
        "qwen3-30b-a3b": lambda _: True,
    }[model]
    fitting = [i % 2 == 0 or needed(capture) for i, capture in enumerate(captures)]
    chosen = list(zip(captures, fitting, strict=True))
    return [capture for capture, fit in chosen if fit], [capture for capture, fit in chosen if not fit]
