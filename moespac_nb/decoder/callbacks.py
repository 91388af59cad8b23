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

__all__ = ["DecodeCallback", "Listeners"]


class DecodeCallback:
    """One that does nothing about it. What a listener raises ends the round, as any error does.

    turn: held in each round, and in the prompt's: a lock where several decodes are to wait for one another.
    """

    turn: AbstractContextManager[Any] = nullcontext()

    def on_prefill_start(self, positions: int, /) -> None:
        """The target reads so many tokens, in one pass. Not told of a prompt of a single token."""

    def on_prompt_read(self) -> None:
        """The target has, and the draft is next. Not told of a prompt of a single token."""

    def on_prefill_end(self, prefill: Prefill, /) -> None:
        """The draft has read it too."""

    def on_step_start(self, token: int, /) -> None:
        """The last committed token opens a window."""

    def drafted(self, token: int, /) -> None:
        """One more token is drafted: at once where the draft has one after another, else with the others."""

    def on_draft_end(self) -> None:
        """The target reads the window next, in one pass."""

    def verified(self, step: Step, /) -> None:
        """The round is committed."""

    def on_abort(self) -> None:
        """The prompt, or the round, was not finished."""


class Listeners(DecodeCallback):
    """A run's and a user's own. The run hears last of what is to come and first of what has been.

    So whatever the user's does with the model lies outside of the pass that the run was told of. Rounds wait
    for one another as the run has it.
    """

    def __init__(self, run: DecodeCallback, own: DecodeCallback) -> None:
        self._run, self._own, self.turn = run, own, run.turn

    def on_prefill_start(self, positions: int, /) -> None:
        self._own.on_prefill_start(positions)
        self._run.on_prefill_start(positions)

    def on_prompt_read(self) -> None:
        self._run.on_prompt_read()
        self._own.on_prompt_read()

    def on_prefill_end(self, prefill: Prefill, /) -> None:
        self._run.on_prefill_end(prefill)
        self._own.on_prefill_end(prefill)

    def on_step_start(self, token: int, /) -> None:
        self._own.on_step_start(token)
        self._run.on_step_start(token)

    def drafted(self, token: int, /) -> None:
        self._run.drafted(token)
        self._own.drafted(token)

    def on_draft_end(self) -> None:
        self._own.on_draft_end()
        self._run.on_draft_end()

    def verified(self, step: Step, /) -> None:
        self._run.verified(step)
        self._own.verified(step)

    def on_abort(self) -> None:
        try:
            self._run.on_abort()
        finally:
            self._own.on_abort()
