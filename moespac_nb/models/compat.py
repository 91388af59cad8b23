"""What differs between releases of transformers: no other module asks which one is installed.

Names of arguments are taken from the model, so that a model of older code works on a newer release too. All
else is the same over the whole range: `crop` takes the negative number of tokens to remove, sliding layers
record the past once told to, and a decorator marks experts that go through the experts interface.
"""

from __future__ import annotations

import functools
import inspect
from importlib import metadata
from typing import TYPE_CHECKING, Any

from ..utils.exceptions import InvalidInputError

if TYPE_CHECKING:
    from packaging.version import Version

__all__ = [
    "cache_argument",
    "check_versions",
    "crops_by_type",
    "goes_through_the_interface",
    "new_cache",
]

FIRST, LAST, BEYOND = "5.17", "5.39", "5.40"  # what runs here
WINDOWS_FROM = "5.20"  # before it, sliding layers lose what a crop should bring back


def _version(version: str | None = None) -> Version:
    """Return a version that can be compared; None is the installed transformers'."""
    from packaging.version import Version

    return Version(version or metadata.version("transformers"))


@functools.cache
def check_versions() -> None:
    """Check that the installed transformers is of the supported range.

    Raises
    ------
    InvalidInputError
        If it is older or newer; the message says which versions run and how to install one.
    """
    installed = _version()
    if not _version(FIRST) <= installed < _version(BEYOND):
        raise InvalidInputError(
            f"transformers {installed} is installed; expected: {WINDOWS_FROM} to {LAST}, from {FIRST} for "
            f"models without sliding windows; run: pip install 'transformers>={WINDOWS_FROM},<{BEYOND}'"
        )


def cache_argument(model: Any) -> str:
    """Return the name of the argument of a model's forward that takes keys and values.

    Parameters
    ----------
    model : transformers.PreTrainedModel

    Returns
    -------
    {"cache", "past_key_values"}
        The former from transformers 5.24 on.
    """
    # Asked of the class: a model's own forward may be wrapped. Later releases still take the older name.
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def new_cache(model: Any, *, can_crop: bool) -> Any:
    """Return an empty cache for a model.

    Parameters
    ----------
    model : transformers.PreTrainedModel
    can_crop : bool
        Whether sliding windows keep what a crop restores.

    Returns
    -------
    transformers.DynamicCache

    Raises
    ------
    InvalidInputError
        If the installed transformers cannot crop the model's sliding windows.
    """
    from transformers import DynamicCache

    cache = DynamicCache(config=model.config)
    if can_crop:
        if any(cache.is_sliding) and (installed := _version()) < _version(WINDOWS_FROM):
            raise InvalidInputError(
                f"{type(model).__name__} has sliding windows, and transformers {installed} cannot "
                f"wind them back; expected: transformers from {WINDOWS_FROM}, or decoding without a draft"
            )
        cache.activate_past_recording()
    return cache


def crops_by_type(cache: Any) -> bool:
    """Tell whether all layers of a cache are known to crop well: plain, sliding, with a sparse index.

    Parameters
    ----------
    cache : transformers.DynamicCache

    Returns
    -------
    bool
    """
    from transformers import cache_utils

    kinds = ("DynamicLayer", "DynamicSlidingWindowLayer", "DynamicIndexedLayer")
    known = {getattr(cache_utils, name, None) for name in kinds}
    return all(type(layer) in known for layer in cache.layers)


def goes_through_the_interface(experts: Any) -> bool:
    """Tell whether a layer's experts are called as `experts(hidden, indices, weights)`.

    Parameters
    ----------
    experts : torch.nn.Module
        The `experts` of a layer.

    Returns
    -------
    bool
    """
    # A decorator of transformers sets both.
    return hasattr(experts, "is_transposed") and isinstance(getattr(experts, "num_experts", None), int)
