"""A model reading one sequence: its keys and values grow, are cropped, and survive an interrupt.

Knows nothing of drafts or sampling. Nothing that was read is ever computed again.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

from .errors import MoespacError
from .models import context_of


class Reader:
    """A transformers model and the keys and values of the tokens it has read so far."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.context = context_of(model)
        self.device = model.device  # kept: asking walks through the model's parameters
        self._thread: int | None = None  # the one that it reads in
        self.restart()

    def restart(self) -> None:
        """Forget everything read."""
        self._cache = DynamicCache(config=self.model.config)
        if not self._cache.is_croppable:
            raise MoespacError(
                f"{type(self.model).__name__} keeps a state that cannot be wound back to take drafted tokens "
                "out again; accepted: models whose layers all attend to cached keys and values"
            )
        self._cache.activate_past_recording()  # a sliding window must not forget what a crop brings back
        self._floor = 0

    @property
    def length(self) -> int:
        """Tokens whose keys and values are held."""
        return int(self._cache.get_seq_length())

    @property
    def is_reading(self) -> bool:
        """Whether this thread is in `read`: for hooks in its model, which hear every forward."""
        return self._thread == get_ident()

    @torch.inference_mode()
    def read(self, ids: Tensor | Sequence[int], logits_to_keep: int = 0) -> Tensor:
        """Read the ids (n,) that follow; logits (n, vocabulary), or only the last `logits_to_keep` of them.

        Interrupted, it has read nothing.
        """
        ids = torch.as_tensor(ids, device=self.device)
        with self._all_or_nothing():
            out = self.model(
                input_ids=ids[None], cache=self._cache, use_cache=True, logits_to_keep=logits_to_keep
            )
        logits: Tensor = out.logits[0]
        return logits

    def rewind(self, length: int) -> None:
        """Go back to the first `length` tokens.

        Sliding layers have let go of what lies before the last rewind: further back, they start anew.
        """
        if length == 0 or (length < self._floor and any(self._cache.is_sliding)):
            self.restart()
            return
        with self._all_or_nothing():
            self._cache.crop(length - self.length)
            self._floor = length

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Whatever stops the block, the cache is then as it was before.

        Layers grow by concatenation and shrink by slicing, never in place: their attributes are a full copy.
        """
        before = [dict(vars(layer)) for layer in self._cache.layers]
        self._thread = get_ident()
        try:
            yield
        except BaseException:
            for layer, attributes in zip(self._cache.layers, before, strict=True):
                vars(layer).update(attributes)
            raise
        finally:
            self._thread = None
