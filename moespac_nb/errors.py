"""The one error made for people to read."""


class MoespacError(ValueError):
    """Says what was given, what is accepted and what to do; the command line prints it and exits with 2."""
