"""Who is told how a decode goes on, while it does: an engine that copies experts as tokens are drafted.

    decode(model, prompt, draft=draft, listener=listener)

It is told of the prompt, then of one window after another:

    prompt_begins(positions), prompt_read(), prompt_ends(prefill)
    window_begins(token), drafted(token) for each, draft_complete(), verified(step)

A round that breaks off is told as such, is taken back, and begins anew if the decode goes on.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any

from ..trace.step import Prefill, Step

__all__ = ["Listener", "Listeners"]


class Listener:
    """One that does nothing about it. What a listener raises ends the round, as any error does.

    turn: held in each round, and in the prompt's: a lock where several decodes are to wait for one another.
    """

    turn: AbstractContextManager[Any] = nullcontext()

    def prompt_begins(self, positions: int, /) -> None:
        """The target reads so many tokens, in one pass. Not told of a prompt of a single token."""

    def prompt_read(self) -> None:
        """The target has, and the draft is next. Not told of a prompt of a single token."""

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


class Listeners(Listener):
    """A run's and a user's own. The run hears last of what is to come and first of what has been.

    So whatever the user's does with the model lies outside of the pass that the run was told of. Rounds wait
    for one another as the run has it.
    """

    def __init__(self, run: Listener, own: Listener) -> None:
        self._run, self._own, self.turn = run, own, run.turn

    def prompt_begins(self, positions: int, /) -> None:
        self._own.prompt_begins(positions)
        self._run.prompt_begins(positions)

    def prompt_read(self) -> None:
        self._run.prompt_read()
        self._own.prompt_read()

    def prompt_ends(self, prefill: Prefill, /) -> None:
        self._run.prompt_ends(prefill)
        self._own.prompt_ends(prefill)

    def window_begins(self, token: int, /) -> None:
        self._own.window_begins(token)
        self._run.window_begins(token)

    def drafted(self, token: int, /) -> None:
        self._run.drafted(token)
        self._own.drafted(token)

    def draft_complete(self) -> None:
        self._own.draft_complete()
        self._run.draft_complete()

    def verified(self, step: Step, /) -> None:
        self._run.verified(step)
        self._own.verified(step)

    def broke_off(self) -> None:
        try:
            self._run.broke_off()
        finally:
            self._own.broke_off()
