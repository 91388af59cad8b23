"""The device protocol: four lanes, events and a clock.

A device has four lanes that run side by side. The operations of one lane run in the order in which they were
submitted, each once its lane is free and the events it depends on have completed. `submit` does not wait;
`wait` does, for an operation's event.

Three classes implement the protocol:
`virtual.VirtualDevice`, where time is a number; `host.HostDevice`, with threads and the wall clock on any
computer; and `cuda.CudaDevice`.
"""

from __future__ import annotations

import math
import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from ...utils.exceptions import ClosedSessionError, InvalidInputError
from ...utils.validation import check_choice

__all__ = [
    "HOST_THREAD",
    "LANES",
    "Device",
    "Event",
    "Operation",
    "OperationError",
    "attempt",
    "check_operation",
    "check_seconds",
    "failure",
]

LANES: Final = ("draft", "gpu", "cpu", "link")
HOST_THREAD: Final = "host"  # not a lane: where a timeline shows what the caller spent on planning

Event: TypeAlias = Any  # only its device looks into it


class OperationError(RuntimeError):
    """An operation did not do its work: `run` raised, what it depends on failed, or the device was closed.

    The exception that `run` raised, if one did, is its `__cause__`.
    """


class Operation(NamedTuple):
    """One thing that ran, in seconds on the device's clock.

    Attributes
    ----------
    lane : str
        One of `LANES`, or `HOST_THREAD`.
    label : str
        What it was, such as "copy L0 E1".
    start, end : float
        Seconds on the device's clock.
    size_bytes : int
        What a copy moved, or what the CPU lane read of the host's memory.
    failed : bool
        Whether it did not do its work.

    Examples
    --------
    >>> from moespac_nb import VirtualDevice
    >>> device = VirtualDevice()
    >>> device.wait(device.submit("link", 2.0, label="copy L0 E1", size_bytes=600))
    >>> device.timeline()[0]
    Operation(lane='link', label='copy L0 E1', start=0.0, end=2.0, size_bytes=600, failed=False)
    """

    lane: str
    label: str
    start: float
    end: float
    size_bytes: int = 0
    failed: bool = False


@runtime_checkable
class Device(Protocol):
    """Protocol of a device: lanes, events and a clock. All calls come from one thread.

    Attributes
    ----------
    kind : str
        "virtual", "host" or "cuda".
    """

    kind: str

    def now(self) -> float:
        """Return the seconds on the caller's clock since the device was made."""

    def submit(
        self,
        lane: str,
        seconds: float,
        run: Callable[[], object] | None = None,
        after: Iterable[Event] = (),
        label: str = "",
        size_bytes: int = 0,
        since: float | None = None,
    ) -> Event:
        """Queue one operation, and return its event at once.

        It starts when its lane is free and every event in `after` has completed; if one of those failed, it
        fails too and `run` is not called.

        Parameters
        ----------
        lane : str
            One of `LANES`.
        seconds : float
            Modelled length, 0 or more. It is all there is on the virtual device, and the least that a copy
            takes on the host device, whose link is throttled; a CUDA device ignores it.
        run : callable, optional
            The work, called once at most. What it raises is kept for `wait`, and later operations still run.
        after : iterable of Event
            What the operation depends on.
        label : str
            For the timeline.
        size_bytes : int
            What a copy moves, or what the CPU lane reads of the host's memory.
        since : float, optional
            For work without `run` that the caller itself did from that time until now, which is what a
            timeline then shows. The virtual device ignores it, as the caller takes no time there.

        Returns
        -------
        Event
            Only the device looks into it.

        Raises
        ------
        InvalidInputError
            The lane is unknown, or `seconds` is no length of time.
        ClosedSessionError
            The device is closed.
        """

    def charge(self, seconds: float, label: str = "") -> None:
        """Charge the caller's planning: simulated time passes now; real time has passed already."""

    def done(self, event: Event) -> bool:
        """Return whether an operation has finished or failed by now; never waits."""

    def wait(self, event: Event) -> None:
        """Return when an operation has finished; raise `OperationError` each time, if it failed."""

    def timeline(self) -> list[Operation]:
        """Return what has run, by start; planning is in it as operations on `HOST_THREAD`."""

    def close(self) -> None:
        """Cancel what has not started, which then fails; wait for what has. Closing again does nothing."""


def attempt(run: Callable[[], object], kept: type[BaseException] = Exception) -> BaseException | None:
    """Do the work, and return what it raises, fit to be kept.

    The traceback becomes a note: the frames would keep the work alive, and the tensors it holds.
    """
    handled = sys.exception()  # the caller's own, if any: the context of what is raised here
    try:
        run()
    except kept as error:
        chain: list[BaseException | None] = [error]
        while chain:
            link = chain.pop()
            if link is not None and link is not handled and link.__traceback__ is not None:
                link.add_note("".join(traceback.format_tb(link.__traceback__)))
                link.__traceback__ = None
                chain += link.__cause__, link.__context__
        return error
    return None


def failure(lane: str, label: str, cause: BaseException) -> OperationError:
    """Return what `wait` raises for an operation that failed: a new exception each time."""
    error = OperationError(f"{label or 'an operation'} on lane {lane} failed: {cause}")
    error.__cause__ = cause
    return error


def check_operation(lane: str, seconds: float, is_closed: bool) -> None:
    """Raise unless a device can take an operation."""
    if is_closed:
        raise ClosedSessionError("this device is closed; expected: operations until then; make a new device")
    check_choice("lane", lane, LANES)
    check_seconds(seconds)


def check_seconds(seconds: float) -> None:
    """Raise unless this is a length of time."""
    if not 0 <= seconds < math.inf:
        raise InvalidInputError(f"seconds is {seconds}; expected: 0 or more, and finite")
