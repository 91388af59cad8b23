"""Checks of arguments, with errors that say what was given and what is accepted."""

from __future__ import annotations

import sys
import warnings
from typing import Any

import numpy as np

from .exceptions import MoespacError

__all__ = ["checked_whole", "warn"]

_PACKAGE = __name__.partition(".")[0] + "."


def checked_whole(name: str, value: Any, least: int) -> int:
    """The value, if it is a whole number of at least `least`."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < least:
        raise MoespacError(f"{name} is {value!r}; expected: a whole number from {least}")
    return int(value)


def warn(message: str) -> None:
    """Warn at the line, outside this package, that led here."""
    level, frame = 1, sys._getframe()
    while (caller := frame.f_back) is not None and frame.f_globals["__name__"].startswith(_PACKAGE):
        level, frame = level + 1, caller
    warnings.warn(message, stacklevel=level)
