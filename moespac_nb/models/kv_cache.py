"""A model and its key-value cache for one sequence: it grows, is cropped, and survives an interrupt.

Knows nothing of drafts or sampling. No token is computed twice, except by a model whose state cannot be
cropped: there, an interrupt or a crop starts again from nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from threading import get_ident
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from ..utils.exceptions import InvalidInputError
from .compat import cache_argument, check_versions, crops_by_type, new_cache
from .loading import context_of, vocabulary_of

SAME = 0.1  # of the logits' norm: far above rounding, far below what a state that was not wound back does


class CachedModel:
    """A transformers model with the keys and values of the tokens it has read so far.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    can_crop : bool
        Whether `crop` must keep the tokens before. If not, a model whose state cannot be cropped starts again
        from nothing.

    Raises
    ------
    InvalidInputError
        If `can_crop` is asked of a model that keeps a state of another kind, such as a recurrent one.

    Examples
    --------
    >>> from moespac_nb import load_pair
    >>> cached = CachedModel(load_pair()[1])
    >>> logits = cached.forward([5, 6, 7])
    >>> cached.crop(1)
    >>> cached.length
    1
    """

    def __init__(self, model: Any, *, can_crop: bool = True) -> None:
        check_versions()
        self.model = model
        self.context = context_of(model)
        self.device = model.device  # kept: asking walks through the model's parameters
        self._can_crop = can_crop
        self._argument = cache_argument(model)
        if can_crop:
            _check_crop(model)
        self._thread: int | None = None  # the one that it reads in
        self.reset()

    def reset(self) -> None:
        """Empty the cache."""
        cache = new_cache(self.model, can_crop=self._can_crop)
        self._is_plain = crops_by_type(cache)
        # A model with another kind of state makes what fits it, as it does for its own generate.
        self._cache: Any = cache if self._can_crop or self._is_plain else None
        self._floor = 0

    @property
    def length(self) -> int:
        """Number of cached tokens."""
        return 0 if self._cache is None else int(self._cache.get_seq_length())

    @property
    def is_reading(self) -> bool:
        """Whether this thread is in `forward`; for hooks in the model, which also run in other passes."""
        return self._thread == get_ident()

    @torch.inference_mode()
    def forward(self, ids: Tensor | Sequence[int], logits_to_keep: int = 0) -> Tensor:
        """Pass tokens through the model and add them to the cache.

        An interrupt or an error leaves the cache as it was.

        Parameters
        ----------
        ids : Tensor or sequence of int, (n,)
            The tokens that follow what is cached.
        logits_to_keep : int
            Return the logits of so many last positions; 0 returns all.

        Returns
        -------
        Tensor, (n or logits_to_keep, vocabulary)
        """
        ids = torch.as_tensor(ids, device=self.device)
        with self._all_or_nothing():
            out = self.model(
                input_ids=ids[None],
                use_cache=True,
                logits_to_keep=logits_to_keep,
                **{self._argument: self._cache},
            )
            if self._cache is None:
                self._cache = getattr(out, self._argument)
        logits: Tensor = out.logits[0]
        return logits

    def crop(self, length: int) -> None:
        """Remove all but the first `length` tokens from the cache.

        Where that is impossible, the cache is empty afterwards: `self.length` says which. Sliding layers have
        dropped what lies before the last crop.

        Parameters
        ----------
        length : int
            At most `self.length`.
        """
        if not self._can_crop:
            if length != self.length:
                self.reset()
            return
        if length == 0 or (length < self._floor and any(self._cache.is_sliding)):
            self.reset()
            return
        with self._all_or_nothing():
            self._cache.crop(length - self.length)
            self._floor = length

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """Restore the cache, or empty it, if the block is interrupted or fails."""
        # Plain layers grow by concatenation and shrink by slicing, never in place: their attributes are a
        # full copy. Of others that is not known.
        before = [dict(vars(layer)) for layer in self._cache.layers] if self._is_plain else []
        self._thread = get_ident()
        try:
            yield
        except BaseException:
            if not self._is_plain:
                self.reset()
                raise
            for layer, attributes in zip(self._cache.layers, before, strict=True):
                vars(layer).update(attributes)
            raise
        finally:
            self._thread = None


_tried: WeakKeyDictionary[Any, str | None] = WeakKeyDictionary()  # by model, why it cannot be cropped


def _check_crop(model: Any) -> None:
    """Check that drafted tokens can be removed from the model's cache."""
    if crops_by_type(new_cache(model, can_crop=True)):
        return
    if model not in _tried:
        _tried[model] = _why_no_crop(model)
    if _tried[model] is not None:
        raise InvalidInputError(
            f"{type(model).__name__} keeps a state that cannot be wound back to take drafted tokens out "
            f"again ({_tried[model]}); expected: models whose layers all attend to cached keys and values, "
            "or decoding without a draft"
        )


@torch.inference_mode()
def _why_no_crop(model: Any) -> str | None:
    """Try it: read, crop and read again. None where all is well."""
    cache = new_cache(model, can_crop=True)
    # Long enough that windows are full and what is compressed has been.
    spans = [
        int(getattr(layer, name, 0)) for layer in cache.layers for name in ("sliding_window", "compress_rate")
    ]
    before = min(max([*spans, 8]) + 9, context_of(model) - 4)
    ids = (torch.arange(before + 4, device=model.device) % vocabulary_of(model))[None]

    def read(start: int, end: int, into: Any) -> Tensor:
        options = {cache_argument(model): into, "use_cache": True, "logits_to_keep": 3}
        logits: Tensor = model(input_ids=ids[:, start:end], **options).logits[0, -3:].float()
        return logits

    try:
        whole = read(0, before + 4, new_cache(model, can_crop=True))
        read(0, before, cache)
        if not cache.is_croppable:
            return "its cache says so"
        cache.crop(0)
        first = read(before, before + 4, cache)
        cache.crop(-3)
        again = read(before + 1, before + 4, cache)
    except (RuntimeError, ValueError, TypeError, IndexError, KeyError, AttributeError) as error:
        return f"when that was tried: {type(error).__name__}: {str(error).splitlines()[0]}"
    if max(float((logits - whole).norm()) for logits in (first, again)) > SAME * float(whole.norm()):
        return "when that was tried, its logits were others"
    return None
