"""A virtual device on which copies and the CPU lane share the bandwidth of the host's memory.

A copy that is submitted later slows down what already runs. So operations are simulated as time passes, from
one completion to the next, and an event knows its time only once it has come.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable
from copy import copy

from ...utils.exceptions import InvalidInputError
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
from .virtual import VirtualDevice

__all__ = ["SharedBusDevice", "virtual_device"]

ON_THE_BUS = ("cpu", "link")  # lanes that read the host's memory


def virtual_device(
    bus_bytes_per_s: float | None = None, record: bool = True
) -> VirtualDevice | SharedBusDevice:
    """Return the device in simulated time for a bus, or for none.

    Parameters
    ----------
    bus_bytes_per_s : float, optional
        What the host's memory gives to copies and the CPU lane together; None for lanes that do not share.
    record : bool, default True
        Whether to keep a timeline.

    Returns
    -------
    VirtualDevice or SharedBusDevice
    """
    if bus_bytes_per_s is None:
        return VirtualDevice(record=record)
    return SharedBusDevice(bus_bytes_per_s, record=record)


class SharedBusDevice:
    """Lanes in simulated time, of which the CPU lane and the link share one bus.

    An operation of these lanes that moves `size_bytes` in its `seconds` needs that rate. Where both run and
    need more than the bus has, both are slowed by the same factor. Everything else is as on
    `VirtualDevice`.

    Parameters
    ----------
    bus_bytes_per_s : float
        What the host's memory gives to both lanes together, above 0.
    fails : callable, optional
        ``fails(lane, label)`` says whether an operation fails; it then takes its time and does nothing.
    record : bool, default True
        Whether to keep a timeline.

    Raises
    ------
    InvalidInputError
        If the bandwidth is no number above 0.

    Examples
    --------
    Alone, each takes a second; together they need twice what the bus has.

    >>> device = SharedBusDevice(bus_bytes_per_s=100)
    >>> copy = device.submit("link", 1.0, size_bytes=100)
    >>> computed = device.submit("cpu", 1.0, size_bytes=100)
    >>> device.wait(copy)
    >>> device.now()
    2.0
    """

    kind = "virtual"

    def __init__(
        self,
        bus_bytes_per_s: float,
        fails: Callable[[str, str], bool] | None = None,
        record: bool = True,
    ) -> None:
        if not bus_bytes_per_s > 0:
            raise InvalidInputError(f"bus_bytes_per_s is {bus_bytes_per_s!r}; expected: a number above 0")
        self._bus_bytes_per_s = bus_bytes_per_s
        self._now = 0.0  # the caller's time; the lanes follow
        self._lanes = _Lanes(bus_bytes_per_s, record)
        self._fails = fails
        self._closed = False

    def now(self) -> float:
        """Return the simulated time."""
        return self._now

    def submit(
        self,
        lane: str,
        seconds: float,
        run: Callable[[], object] | None = None,
        after: Iterable[_Work] = (),
        label: str = "",
        size_bytes: int = 0,
        since: float | None = None,  # noqa: ARG002
    ) -> _Work:
        """Queue one operation; see `Device.submit`. Work that is given runs at once."""
        check_operation(lane, seconds, self._closed)
        self._lanes.advance(self._now)
        work = _Work(lane, label, seconds, tuple(after), size_bytes)
        work.error = next((other.error for other in work.after if other.error is not None), None)
        if work.error is not None:
            work.left_s = work.seconds = 0.0
        elif self._fails is not None and self._fails(lane, label):
            work.error = OperationError(f"{label or 'an operation'} on lane {lane}: its device made it fail")
        elif run is not None:
            work.error = attempt(run)
        self._lanes.add(work, self._now)
        return work

    def charge(self, seconds: float, label: str = "") -> None:
        """Let the caller's time pass."""
        check_seconds(seconds)
        start = self._now
        self._now += seconds
        if seconds and self._lanes.ran is not None:
            self._lanes.ran.append(Operation(HOST_THREAD, label, start, self._now))

    def done(self, event: _Work) -> bool:
        """Return whether an operation has ended by now."""
        if event.end_s is None:
            self._lanes.advance(self._now)
        return event.end_s is not None

    def wait(self, event: _Work) -> None:
        """Let time pass until an operation has ended."""
        self._lanes.advance(self._now)
        while event.end_s is None:
            self._lanes.step()
        self._now = max(self._now, event.end_s)
        if event.error is not None:
            raise failure(event.lane, event.label, event.error)

    def timeline(self) -> list[Operation]:
        """Return all operations by start; those that have not ended as if nothing else were submitted."""
        lanes = self._lanes.copy()
        lanes.advance(math.inf)
        return sorted(lanes.ran or (), key=lambda operation: operation.start)

    def close(self) -> None:
        """Take no more operations."""
        self._closed = True


class _Work:
    """An operation, and its own event."""

    __slots__ = ("after", "bytes_per_s", "end_s", "error", "label", "lane", "left_s", "seconds", "size_bytes",
                 "slowed", "start_s")  # fmt: skip

    def __init__(
        self, lane: str, label: str, seconds: float, after: tuple[_Work, ...], size_bytes: int
    ) -> None:
        self.lane, self.label, self.after, self.size_bytes = lane, label, after, size_bytes
        self.seconds = self.left_s = seconds  # alone
        self.bytes_per_s = size_bytes / seconds if lane in ON_THE_BUS and seconds else 0.0
        self.start_s: float | None = None
        self.end_s: float | None = None
        self.slowed = False
        self.error: BaseException | None = None

    def operation(self) -> Operation:
        """Return the ended operation as a timeline has it."""
        assert self.start_s is not None
        assert self.end_s is not None
        failed = self.error is not None
        return Operation(self.lane, self.label, self.start_s, self.end_s, self.size_bytes, failed)


class _Lanes:
    """The lanes' queues, simulated from one completion to the next; the first of each runs, if it may."""

    def __init__(self, bus_bytes_per_s: float, record: bool) -> None:
        self.ran: list[Operation] | None = [] if record else None
        self._queues: dict[str, deque[_Work]] = {lane: deque() for lane in LANES}
        self._bus_bytes_per_s = bus_bytes_per_s
        self._time_s = 0.0  # since when the same operations have been running
        self._running: list[_Work] | None = None  # None: to be found out
        self._speed = 1.0  # of what is on the bus
        self._next_end_s = math.inf

    def copy(self) -> _Lanes:
        """Return the same lanes, to be simulated apart."""
        lanes = _Lanes(self._bus_bytes_per_s, record=False)
        lanes.ran, lanes._time_s = copy(self.ran), self._time_s
        copies = {work: copy(work) for queue in self._queues.values() for work in queue}
        for work in copies.values():
            work.after = tuple(copies.get(other, other) for other in work.after)
        lanes._queues = {lane: deque(copies[work] for work in queue) for lane, queue in self._queues.items()}
        return lanes

    def add(self, work: _Work, now_s: float) -> None:
        """Queue an operation at a time up to which all has been simulated."""
        queue = self._queues[work.lane]
        queue.append(work)
        if queue[0] is work:  # it may run, and slow down what does
            self._pass(now_s)

    def advance(self, until_s: float) -> None:
        """Simulate up to this time."""
        while self._find_next_end_s() <= until_s and self._running:
            self.step()

    def step(self) -> None:
        """Simulate up to the next completion."""
        end_s = self._find_next_end_s()
        ended = [work for work in self._running or () if self._end_s(work) == end_s]
        self._pass(end_s)
        for work in ended:
            work.end_s, work.after = end_s, ()
            self._queues[work.lane].popleft()
            if self.ran is not None:
                self.ran.append(work.operation())

    def _find_next_end_s(self) -> float:
        """Start what may run now, unless nothing has changed; return when the first will have ended."""
        if self._running is not None:
            return self._next_end_s
        self._running = []
        needed_bytes_per_s = 0.0
        for queue in self._queues.values():
            if not queue:
                continue
            work = queue[0]
            if work.start_s is None:
                if work.after and any(other.end_s is None for other in work.after):
                    continue
                work.start_s = self._time_s
            self._running.append(work)
            needed_bytes_per_s += work.bytes_per_s
        has = self._bus_bytes_per_s
        self._speed = has / needed_bytes_per_s if needed_bytes_per_s > has else 1.0
        self._next_end_s = min(map(self._end_s, self._running), default=math.inf)
        return self._next_end_s

    def _end_s(self, work: _Work) -> float:
        if work.bytes_per_s and (self._speed < 1 or work.slowed):
            return self._time_s + work.left_s / self._speed
        assert work.start_s is not None
        return work.start_s + work.seconds  # as exact as on a device without a bus

    def _pass(self, now_s: float) -> None:
        """Let what runs go on until now, when that changes."""
        self._find_next_end_s()
        passed_s = now_s - self._time_s
        for work in self._running or ():
            speed = self._speed if work.bytes_per_s else 1.0
            work.slowed |= speed < 1
            work.left_s = max(0.0, work.left_s - passed_s * speed)
        self._time_s, self._running = now_s, None
