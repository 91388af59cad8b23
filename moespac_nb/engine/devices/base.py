"""The device protocol: four lanes, events and a clock.

A device has four lanes that run side by side. The operations of one lane run in the order in which they were
submitted, each once its lane is free and the events it depends on have completed. `submit` does not wait;
`wait` does, for an operation's event.

Three classes implement the protocol:
`virtual.VirtualDevice`, where time is a number; `host.HostDevice`, with threads and the wall clock on any
computer; and `cuda.CudaDevice`.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple, Protocol, TypeAlias, runtime_checkable

from ...utils.exceptions import ClosedSessionError, InvalidInputError, MoespacError

__all__ = [
    "HOST_THREAD",
    "LANES",
    "Device",
    "Event",
    "Operation",
    "OperationError",
    "attempt",
    "failure",
    "refusal",
]

LANES: Final = ("gpu", "cpu", "link", "draft")
HOST_THREAD: Final = "host"  # not a lane: where a timeline shows what the caller spent on thinking

Event: TypeAlias = Any  # only its device looks into it


class OperationError(RuntimeError):
    """An operation did not do its work: `run` raised, what it came after failed, or the device was closed.

    The exception that `run` raised, if one did, is its `__cause__`.
    """


class Operation(NamedTuple):
    """One thing that ran, in seconds on the device's clock."""

    lane: str
    label: str
    start: float
    end: float
    size_bytes: int = 0  # what a copy moved
    failed: bool = False


@runtime_checkable
class Device(Protocol):
    """Lanes, events and a clock; see the module. Called from one thread."""

    kind: str  # virtual, host or cuda

    def now(self) -> float:
        """Seconds on the caller's clock since the device was made."""

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

        It starts when it has been submitted, its lane is free and every event in `after` has come; if one of
        those failed, it fails too and `run` is not called.
        seconds: its modelled length, 0 or more: all there is on the virtual device, the least a copy takes on
        the host device (its link is throttled), nothing to a CUDA device.
        run: the work, called once at most. What it raises is kept for `wait`, and later operations still run.
        since: for work without `run` that the caller itself did from that time until now, which is what a
        timeline then shows. Where the caller takes no time, on the virtual device, it is one like any other.
        Raises MoespacError for an unknown lane, seconds that are no length of time, and on a closed device.
        """

    def charge(self, seconds: float, label: str = "") -> None:
        """Charge the caller's planning: simulated time passes now; real time has passed already."""

    def done(self, event: Event) -> bool:
        """Whether its operation has finished or failed by now; never waits."""

    def wait(self, event: Event) -> None:
        """Return when its operation has finished. Raises OperationError each time, if it failed."""

    def timeline(self) -> list[Operation]:
        """What has run, by start. Thinking is in it as operations of the lane `HOST`."""

    def close(self) -> None:
        """Cancel what has not started, which then fails; wait for what has. Closing again does nothing."""


def attempt(run: Callable[[], object], kept: type[BaseException] = Exception) -> BaseException | None:
    """Do the work. What it raises is returned, fit to be kept.

    Its traceback becomes a note: the frames would keep the work alive, and the tensors it holds.
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
    """What `wait` raises for an operation that failed: a new one each time."""
    error = OperationError(f"{label or 'an operation'} on lane {lane} failed: {cause}")
    error.__cause__ = cause
    return error


def refusal(lane: str, seconds: float, closed: bool) -> MoespacError:
    """Why a device does not take an operation."""
    if closed:
        return ClosedSessionError("this device is closed; expected: operations until then; make a new device")
    if lane not in LANES and lane != HOST_THREAD:
        return InvalidInputError(f"lane is {lane!r}; expected: {', '.join(LANES)}")
    return InvalidInputError(f"seconds is {seconds}; expected: 0 or more, and finite")
