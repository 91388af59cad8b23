"""Checks of arguments, and warnings that point at the caller's line."""

from __future__ import annotations

import math
import sys
import warnings
from collections.abc import Collection
from typing import Any, TypeVar

import numpy as np

from .exceptions import InvalidInputError, did_you_mean

__all__ = ["check_choice", "check_number", "checked_whole", "is_whole", "warn"]

_PACKAGE = __name__.partition(".")[0] + "."
_T = TypeVar("_T")


def is_whole(value: Any, least: int, most: int | None = None) -> bool:
    """Tell whether a value is an integer (no bool) from `least` to `most`; None is no upper limit."""
    return (
        isinstance(value, int | np.integer)
        and not isinstance(value, bool)
        and bool(least <= value)
        and (most is None or bool(value <= most))
    )


def checked_whole(name: str, value: Any, least: int, most: int | None = None) -> int:
    """Return an integer argument that lies in a range.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : object
        What was given; a bool is no integer.
    least, most : int
        Limits, both included. None is no upper limit.

    Returns
    -------
    int

    Raises
    ------
    InvalidInputError
        If it is no integer, or out of the range.

    Examples
    --------
    >>> checked_whole("gamma", 8, least=0)
    8
    >>> checked_whole("gamma", -1, least=0)
    Traceback (most recent call last):
        ...
    moespac_nb.utils.exceptions.InvalidInputError: gamma is -1; expected: a whole number from 0
    """
    if not is_whole(value, least, most):
        to = "" if most is None else f" to {most}"
        raise InvalidInputError(f"{name} is {value!r}; expected: a whole number from {least}{to}")
    return int(value)


def check_number(
    name: str, value: Any, *, least: float | None = None, above: float | None = None, most: float = math.inf
) -> float:
    """Return a finite real argument that lies in a range.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : object
        What was given; a bool is no number.
    least, above : float
        Lower limit, included or excluded; give one of them, or none.
    most : float
        Upper limit, included.

    Returns
    -------
    float

    Raises
    ------
    InvalidInputError
        If it is no finite number, or out of the range.

    Examples
    --------
    >>> check_number("share", 0.25, above=0, most=1)
    0.25
    >>> check_number("share", 2, above=0, most=1)
    Traceback (most recent call last):
        ...
    moespac_nb.utils.exceptions.InvalidInputError: share is 2; expected: a number above 0, at most 1
    """
    is_number = isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)
    if not (
        is_number
        and math.isfinite(value)
        and (least is None or value >= least)
        and (above is None or value > above)
        and value <= most
    ):
        lower = [f"above {above}"] if above is not None else [] if least is None else [f"from {least}"]
        limits = ", ".join(lower + ([f"at most {most}"] if most < math.inf else []))
        raise InvalidInputError(f"{name} is {value!r}; expected: a number {limits}".rstrip())
    return float(value)


def check_choice(name: str, value: _T, choices: Collection[str]) -> _T:
    """Return an argument that is one of some names.

    Parameters
    ----------
    name : str
        Name of the argument, for the error message.
    value : object
        What was given.
    choices : collection of str
        The names that are expected, a registry for example.

    Returns
    -------
    object
        The value.

    Raises
    ------
    InvalidInputError
        If it is none of them; the message lists them and suggests the most similar one.

    Examples
    --------
    >>> check_choice("rule", "level", ("ema", "level"))
    'level'
    >>> check_choice("rule", "emo", ("ema", "level"))
    Traceback (most recent call last):
        ...
    moespac_nb.utils.exceptions.InvalidInputError: rule is 'emo'; expected: ema, level; did you mean 'ema'?
    """
    if not isinstance(value, str) or value not in choices:
        raise InvalidInputError(
            f"{name} is {value!r}; expected: {', '.join(choices)}{did_you_mean(value, choices)}"
        )
    return value


def warn(message: str) -> None:
    """Emit a UserWarning that points at the line outside this package that led here.

    Parameters
    ----------
    message : str
        The warning.
    """
    level, frame = 1, sys._getframe()
    while (caller := frame.f_back) is not None and frame.f_globals["__name__"].startswith(_PACKAGE):
        level, frame = level + 1, caller
    warnings.warn(message, stacklevel=level)
