"""Who is told how a decode goes on, while it does: an engine that copies experts as tokens are drafted.

    decode(model, prompt, draft=draft, listener=listener)

It is told of the prompt, then of one window after another:

    prompt_begins(positions), prompt_ends(prefill)
    window_begins(token), drafted(token) for each, draft_complete(), verified(step)

A round that breaks off is told as such, is taken back, and begins anew if the decode goes on.
"""

from __future__ import annotations

from .step import Prefill, Step

__all__ = ["Listener"]


class Listener:
    """One that does nothing about it. What a listener raises ends the round, as any error does."""

    def prompt_begins(self, positions: int, /) -> None:
        """The target reads so many tokens, in one pass. Not told of a prompt of a single token."""

    def prompt_ends(self, prefill: Prefill, /) -> None:
        """The draft has read it too."""

    def window_begins(self, token: int, /) -> None:
        """The last committed token opens a window."""

    def drafted(self, token: int, /) -> None:
        """One more token is drafted: at once where the draft has one after another, else with the others."""

    def draft_complete(self) -> None:
        """The target reads the window next, in one pass."""

    def verified(self, step: Step, /) -> None:
        """The round is committed."""

    def broke_off(self) -> None:
        """The prompt, or the round, was not finished."""
