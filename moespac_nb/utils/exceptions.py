"""The one error made for people to read."""

from __future__ import annotations

from collections.abc import Iterable


class MoespacError(ValueError):
    """Says what was given, what is accepted and what to do; the command line prints it and exits with 2."""


def did_you_mean(name: object, accepted: Iterable[str]) -> str:
    """For the end of a message: the accepted name nearest to the one given, if any is near."""
    from difflib import get_close_matches

    nearest = get_close_matches(str(name), list(accepted), n=1, cutoff=0.4)
    return f"; did you mean {nearest[0]!r}?" if nearest else ""
