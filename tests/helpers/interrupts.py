"""A Ctrl-C at a chosen line of chosen code, so that a test can try them all."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from linecache import getline
from types import CodeType, FrameType

Watched = Callable[[CodeType], bool]


@contextmanager
def ctrl_c_is_heard() -> Iterator[None]:
    """A job in the background ignores SIGINT, and all that stands for it: a test that waits for one hangs."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class InterruptAtLine:
    """Raises KeyboardInterrupt as the nth line of the watched code is about to run; None only counts them.

    Lines that say `with` or `try` are passed over: no signal is heard there, as Python looks for one after a
    call or a jump back. What a trace raises there, even before a block's own exit, no block could see to.
    """

    def __init__(self, watched: Watched, nth: int | None) -> None:
        self.watched, self.nth, self.lines = watched, nth, 0

    def __enter__(self) -> InterruptAtLine:
        sys.settrace(self._call)
        return self

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _call(self, frame, _event, _argument):
        return self._line if self.watched(frame.f_code) else None

    def _line(self, frame, event, _argument):
        if event == "line" and not getline(*place(frame)).lstrip().startswith(("with ", "try:")):
            self.lines += 1
            if self.lines == self.nth:
                sys.settrace(None)
                raise KeyboardInterrupt
        return self._line


def place(frame: FrameType) -> tuple[str, int]:
    return frame.f_code.co_filename, frame.f_lineno


def lines_of(watched: Watched, work: Callable[[], object]) -> int:
    """How many of the watched lines the work runs through."""
    with InterruptAtLine(watched, None) as dry_run:
        work()
    return dry_run.lines
