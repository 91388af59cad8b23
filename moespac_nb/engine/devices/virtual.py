"""A machine whose time is a number: no thread, no clock, the same result each time.

An operation's times are known the moment it is submitted, so its event is the time at which it completes.
Work runs at once, in the order of submission: time says when it would have been done.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

from .base import (
    HOST_THREAD,
    LANES,
    Operation,
    OperationError,
    attempt,
    check_operation,
    check_seconds,
    failure,
)

__all__ = ["VirtualDevice"]


class VirtualDevice:
    """Simulate a machine: each lane is the time at which it is free again.

    Parameters
    ----------
    fails : callable, optional
        ``fails(lane, label)`` tells whether an operation fails; it then takes its time and does nothing.
    record : bool, default True
        Whether to keep a timeline.

    Examples
    --------
    >>> device = VirtualDevice()
    >>> copied = device.submit("link", 2.0, label="copy")
    >>> device.wait(device.submit("gpu", 0.5, after=[copied], label="compute"))
    >>> device.now(), device.timeline()[1].start
    (2.5, 2.0)
    """

    kind = "virtual"

    def __init__(self, fails: Callable[[str, str], bool] | None = None, record: bool = True) -> None:
        self._now = 0.0
        self._free = dict.fromkeys(LANES, 0.0)
        self._fails = fails
        self._ran: list[tuple[str, str, float, float, int, bool]] | None = [] if record else None
        self._closed = False

    def now(self) -> float:
        """Return the simulated seconds."""
        return self._now

    def submit(
        self,
        lane: str,
        seconds: float,
        run: Callable[[], object] | None = None,
        after: Iterable[float] = (),
        label: str = "",
        size_bytes: int = 0,
        since: float | None = None,  # noqa: ARG002
    ) -> float:
        """Work out when an operation starts and ends, and do its work; see `Device.submit`."""
        if lane not in self._free or not 0 <= seconds < math.inf or self._closed:
            check_operation(lane, seconds, self._closed)
        start = self._free[lane]
        if start < self._now:
            start = self._now
        cause: BaseException | None = None
        for event in after:
            if event > start:
                start = event
            if isinstance(event, _Failed):
                cause, run, seconds = event.error, None, 0.0
        end = start + seconds
        if cause is None and self._fails is not None and self._fails(lane, label):
            cause = OperationError(f"{label or 'an operation'} on lane {lane}: its device made it fail")
        elif run is not None:
            cause = attempt(run)
        self._free[lane] = end
        if self._ran is not None:
            self._ran.append((lane, label, start, end, size_bytes, cause is not None))
        return end if cause is None else _Failed(end, lane, label, cause)

    def charge(self, seconds: float, label: str = "") -> None:
        """Let the time of planning pass."""
        check_seconds(seconds)
        start = self._now
        self._now += seconds
        if self._ran is not None and seconds:
            self._ran.append((HOST_THREAD, label, start, self._now, 0, False))

    def done(self, event: float) -> bool:
        """Return whether the time of an event has come."""
        return event <= self._now

    def wait(self, event: float) -> None:
        """Let time pass until an event; see `Device.wait`."""
        if event > self._now:
            self._now = event
        if isinstance(event, _Failed):
            raise failure(event.lane, event.label, event.error)

    def timeline(self) -> list[Operation]:
        """Return what has run, by start."""
        return sorted(map(Operation._make, self._ran or ()), key=lambda operation: operation.start)

    def close(self) -> None:
        """Take no more operations."""
        self._closed = True  # what was submitted has run


class _Failed(float):
    """The time at which an operation has failed, and why."""

    lane: str
    label: str
    error: BaseException

    def __new__(cls, end: float, lane: str, label: str, error: BaseException) -> _Failed:
        self = super().__new__(cls, end)
        self.lane, self.label, self.error = lane, label, error
        return self
