"""What `decode`, `record` and `dashboard` share: which models and prompt, and how it is decoded."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..utils.exceptions import InvalidInputError
from .output import working

if TYPE_CHECKING:
    from ..decoder.sampling import Sampling

__all__ = ["DecodeOptions"]

DRAFTS = ("model", "ngram", "none")


@dataclass(frozen=True)
class DecodeOptions:
    """Options; those that the core checks, too, are left to it."""

    domain: str | None = None
    prompt: str | None = None
    prompt_index: int = 0
    model_path: str | None = None
    download: bool = False
    draft: str | None = None
    dtype: str | None = None
    gamma: int | None = None
    mode: str = "greedy"
    temperature: float = 0.8
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    seed: int = 0
    max_new_tokens: int = 128
    stop: list[str] | None = None

    def sampling(self) -> Sampling:
        """Return how tokens are chosen."""
        from ..decoder.sampling import Sampling

        mode: Any = self.mode  # checked there
        return Sampling(mode, self.temperature, self.top_k, self.top_p, self.min_p)

    def text(self) -> str:
        """Return the prompt, given or bundled."""
        from ..datasets.prompts import DOMAINS, load_prompts

        if (self.domain is None) is (self.prompt is None):
            raise InvalidInputError(
                f"--domain and --prompt are {'missing' if self.domain is None else 'both given'}; expected: "
                f"--prompt with a text of your own, or --domain with one of {', '.join(DOMAINS)}"
            )
        if self.domain is None:
            return str(self.prompt)
        prompts = load_prompts(self.domain)
        if not 0 <= self.prompt_index < len(prompts):
            raise InvalidInputError(
                f"--prompt-index is {self.prompt_index}; expected for {self.domain}: 0 to {len(prompts) - 1}"
            )
        return str(prompts[self.prompt_index].prompt)

    def drafter(self) -> str:
        """Return what drafts, checked before anything is loaded."""
        draft = self.draft
        if draft is None:
            draft = "model" if self.model_path is None else "none"
        if self.model_path is None and draft not in DRAFTS:
            raise InvalidInputError(
                f"--draft is {draft!r}; expected: model, ngram or none; with --model-path a folder or hub "
                "name too"
            )
        if self.model_path is not None and draft == "model":
            raise InvalidInputError(
                "--draft is 'model', the bundled draft, which has another tokenizer than a model of your "
                "own; expected with --model-path: ngram, none, or a folder or hub name"
            )
        return draft

    def models(self) -> tuple[Any, Any]:
        """Load the target and what drafts for it."""
        import torch

        from ..decoder.drafts import NgramDraft
        from ..models import loading

        drafter = self.drafter()
        if self.model_path is None:
            # The bundled models' matrices are too small to share out: on a busy machine, threads that wait
            # for one another made decoding twenty times slower.
            torch.set_num_threads(1)
            with working("loading the bundled models"):
                target, draft = loading.load_pair() if self.dtype is None else loading.load_pair(self.dtype)
        else:
            for name in {self.model_path, drafter} - {*DRAFTS}:
                loading.checked_name(name)  # both, before one is loaded
            target = self._loaded(self.model_path)
            draft = None if drafter in DRAFTS else self._loaded(drafter)
        return target, {"ngram": NgramDraft(), "none": None}.get(drafter, draft)

    def _loaded(self, name: str) -> Any:
        from ..models import loading
        from ..models.checkpoint import without_bars

        with nullcontext() if sys.stderr.isatty() else without_bars():
            return loading.load_model(name, dtype=self.dtype or loading.AUTO, download=self.download)
