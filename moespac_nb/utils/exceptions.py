"""Exceptions: a message names what was given, what is expected and what to do.

Each exception is also the built-in one that a Python user would catch.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "ClosedSessionError",
    "InvalidInputError",
    "MissingDataError",
    "MoespacError",
    "TraceFormatError",
    "did_you_mean",
]


class MoespacError(Exception):
    """Base of all exceptions of this package; the command line prints the message and exits with 2.

    Examples
    --------
    >>> from moespac_nb import load_machine
    >>> try:
    ...     load_machine("rtx409")
    ... except MoespacError as error:
    ...     print(error)
    machine is 'rtx409'; expected: a100, ...; did you mean 'rtx4090'?
    """


class InvalidInputError(MoespacError, ValueError):
    """An argument has a wrong type or value, or does not fit the other arguments."""


class TraceFormatError(MoespacError, ValueError):
    """A trace, or the file of one, is damaged or contradicts itself."""


class MissingDataError(MoespacError, FileNotFoundError):
    """A file that is needed, bundled or named by the caller, does not exist."""


class ClosedSessionError(MoespacError, RuntimeError):
    """A session was used after it had been closed."""


def did_you_mean(name: object, choices: Iterable[str]) -> str:
    """Return the end of an error message that suggests the choice most similar to a mistyped name.

    Parameters
    ----------
    name : object
        What was given.
    choices : iterable of str
        What is expected.

    Returns
    -------
    str
        Empty where no choice is similar.

    Examples
    --------
    >>> did_you_mean("recent", ["recency", "popularity"])
    "; did you mean 'recency'?"
    """
    from difflib import get_close_matches

    nearest = get_close_matches(str(name), list(choices), n=1, cutoff=0.4)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
