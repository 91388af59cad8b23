"""What differs between the releases of transformers: nothing else here asks which one is installed.

The names of arguments are asked of the model, so that a model of older code works on a newer release too.
All else is the same over the whole range: `crop` takes the negative number of tokens to remove, sliding
layers record the past once they are told to, a decorator marks experts that go through the one interface.
"""

from __future__ import annotations

import inspect
from functools import cache
from importlib import metadata
from typing import Any

from ..utils.exceptions import MoespacError

__all__ = [
    "cache_argument",
    "check_versions",
    "crops_by_type",
    "goes_through_the_interface",
    "new_cache",
]

FIRST, LAST, BEYOND = "5.17", "5.39", "5.40"  # what runs here
WINDOWS_FROM = "5.20"  # before it, sliding layers lose what a crop should bring back


@cache
def check_versions() -> None:
    """Raises MoespacError where the transformers that is installed is out of the range: at first use."""
    from packaging.version import Version

    found = metadata.version("transformers")
    if not Version(FIRST) <= Version(found) < Version(BEYOND):
        raise MoespacError(
            f"transformers {found} is installed; expected: {WINDOWS_FROM} to {LAST}, from {FIRST} for "
            f"models without sliding windows; run: pip install 'transformers>={WINDOWS_FROM},<{BEYOND}'"
        )


def cache_argument(model: Any) -> str:
    """The name under which the model's forward takes its keys and values: `cache` from 5.24 on."""
    # Asked of the class: a model's own forward may be wrapped. Later releases still take the older name.
    return "cache" if "cache" in inspect.signature(type(model).forward).parameters else "past_key_values"


def new_cache(model: Any, *, can_crop: bool) -> Any:
    """An empty cache for the model; can_crop: its sliding windows keep what a crop is to bring back."""
    from transformers import DynamicCache

    held = DynamicCache(config=model.config)
    if can_crop:
        _check_windows(model, held)
        held.activate_past_recording()
    return held


def crops_by_type(held: Any) -> bool:
    """Whether all layers are of kinds that are known to crop well: plain, sliding, with a sparse index."""
    from transformers import cache_utils

    kinds = ("DynamicLayer", "DynamicSlidingWindowLayer", "DynamicIndexedLayer")
    known = {getattr(cache_utils, name, None) for name in kinds}
    return all(type(layer) in known for layer in held.layers)


def goes_through_the_interface(experts: Any) -> bool:
    """Whether a layer's experts are called as `experts(hidden, indices, weights)`: a decorator says so."""
    return hasattr(experts, "is_transposed") and isinstance(getattr(experts, "num_experts", None), int)


def _check_windows(model: Any, held: Any) -> None:
    from packaging.version import Version

    found = metadata.version("transformers")
    if any(held.is_sliding) and Version(found) < Version(WINDOWS_FROM):
        raise MoespacError(
            f"{type(model).__name__} has sliding windows, and transformers {found} cannot wind them back; "
            f"expected: transformers from {WINDOWS_FROM}, or decoding without a draft"
        )
