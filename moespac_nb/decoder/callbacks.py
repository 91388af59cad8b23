"""Hooks that run while a decode goes on: for an engine that copies experts as tokens are drafted.

The hooks are called in this order, first for the prompt, then for each step:

    on_prefill_start(positions), on_prompt_read(), on_prefill_end(prefill)
    on_step_start(token), on_draft_token(token) for each, on_draft_end(), on_verify(step)

A step that fails or is interrupted ends with `on_abort`; if the decode is resumed, the step starts again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from functools import partial
from typing import Any

from ..trace.step import Prefill, Step
from ..utils.exceptions import InvalidInputError

__all__ = ["DecodeCallback", "combine_callbacks"]


class DecodeCallback:
    """Base class of callbacks for `decode`: every hook does nothing until a subclass overrides it.

    An exception raised by a hook ends the step, as any other error does.

    Attributes
    ----------
    turn : context manager
        Held for the whole prefill and for each whole step: a lock makes several decodes wait for one another.

    Examples
    --------
    >>> class PrintSteps(DecodeCallback):
    ...     def on_verify(self, step, /):
    ...         print(step.gamma, step.accepted)
    >>> decode(model, "Once upon a time", draft=draft, callbacks=PrintSteps())  # doctest: +SKIP
    """

    turn: AbstractContextManager[Any] = nullcontext()

    def on_prefill_start(self, positions: int, /) -> None:
        """Hear that the target will read the prompt; not called for a prompt of one token.

        Parameters
        ----------
        positions : int
            How many tokens it will read.
        """

    def on_prompt_read(self) -> None:
        """Hear that the target has read the prompt and the draft will; not for a prompt of one token."""

    def on_prefill_end(self, prefill: Prefill, /) -> None:
        """Hear that target and draft have read the prompt.

        Parameters
        ----------
        prefill : Prefill
            The pass over it.
        """

    def on_step_start(self, token: int, /) -> None:
        """Hear that a step starts.

        Parameters
        ----------
        token : int
            The last committed token, which opens the window.
        """

    def on_draft_token(self, token: int, /) -> None:
        """Hear of a drafted token: at once from a `TokenDraft`, after the last token from other drafts.

        Parameters
        ----------
        token : int
            Its id.
        """

    def on_draft_end(self) -> None:
        """Hear that the target will verify the window in one pass."""

    def on_verify(self, step: Step, /) -> None:
        """Hear that a step is committed.

        Parameters
        ----------
        step : Step
            The step.
        """

    def on_abort(self) -> None:
        """Hear that the prefill or a step failed or was interrupted."""


def combine_callbacks(callbacks: DecodeCallback | Sequence[DecodeCallback]) -> DecodeCallback:
    """Return one callback that calls all of these.

    They nest as `with` blocks do: the last one is closest to the model's passes, so it is called last before
    a pass (`on_prefill_start`, `on_step_start`, `on_draft_token`, `on_draft_end`) and first after one. The
    `turn` of the last one is held.

    Parameters
    ----------
    callbacks : DecodeCallback or sequence of them

    Returns
    -------
    DecodeCallback

    Raises
    ------
    InvalidInputError
        If `callbacks` holds anything but `DecodeCallback` objects.
    """
    several = [callbacks] if isinstance(callbacks, DecodeCallback) else callbacks
    if not isinstance(several, list | tuple) or not all(isinstance(item, DecodeCallback) for item in several):
        raise InvalidInputError(f"callbacks is {callbacks!r}; expected: a DecodeCallback, or a list of them")
    return several[0] if len(several) == 1 else _Callbacks(several) if several else DecodeCallback()


_BEFORE_A_PASS = ("on_prefill_start", "on_step_start", "on_draft_token", "on_draft_end")
_AFTER_A_PASS = ("on_prompt_read", "on_prefill_end", "on_verify")


class _Callbacks(DecodeCallback):
    def __init__(self, callbacks: Sequence[DecodeCallback]) -> None:
        self._callbacks, self.turn = tuple(callbacks), callbacks[-1].turn
        for hooks, ordered in ((_BEFORE_A_PASS, callbacks), (_AFTER_A_PASS, callbacks[::-1])):
            for hook in hooks:
                setattr(self, hook, partial(_call_all, [getattr(callback, hook) for callback in ordered]))

    def on_abort(self) -> None:
        with ExitStack() as stack:  # calls the last one first, and the others even if one raises
            for callback in self._callbacks:
                stack.callback(callback.on_abort)


def _call_all(hooks: Sequence[Callable[..., None]], *arguments: Any) -> None:
    for hook in hooks:
        hook(*arguments)
