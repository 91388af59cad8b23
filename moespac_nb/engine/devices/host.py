"""Any computer as a device: a thread a lane, the wall clock, and a link throttled to a stated bandwidth.

Its lanes share the computer's cores, so it shows what waits for what and roughly in which proportion,
not what a GPU would take. `seconds` is the least that an operation of the link takes; the other lanes take as
long as their work does.

Why it cannot lock up: a lane's thread waits for the events that its operation comes after, and these belong
to operations submitted earlier, as events come into being by submission only. So of all operations that have
not finished, the one submitted first waits for nothing, neither in its lane nor beyond.

Work that uses torch: it runs in the lane's thread, and torch keeps `no_grad`, `inference_mode`, autocast and
the current CUDA stream by thread, so the work enters what it needs itself; it writes only to tensors that no
operation running beside it touches. The cpu and the gpu lane may compute at the same time, each with as many
threads as `torch.set_num_threads` said before the lane first computed: on c cores take about c / 2.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

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

__all__ = ["HostDevice", "share_cores"]


class HostDevice:
    """Run lanes as threads. A device that is forgotten without `close` ends them as well.

    Parameters
    ----------
    record : bool, default True
        Whether to keep a timeline.

    Examples
    --------
    >>> from contextlib import closing
    >>> with closing(HostDevice()) as device:
    ...     copied = device.submit("link", 0.01, lambda: None)  # takes 10 ms at least
    ...     device.wait(device.submit("gpu", 0.0, lambda: None, after=[copied]))
    ...     device.now() > 0.01
    True
    """

    kind = "host"

    def __init__(self, record: bool = True) -> None:
        self._start_s = time.perf_counter()
        self._threads = {lane: ThreadPoolExecutor(1, f"moespac-{lane}") for lane in LANES}
        self._ran: list[Operation] | None = [] if record else None
        self._planned_s = 0.0  # when the last planning ended
        self._closed = False

    def now(self) -> float:
        """Return the seconds since the device was made."""
        return time.perf_counter() - self._start_s

    def submit(
        self,
        lane: str,
        seconds: float,
        run: Callable[[], object] | None = None,
        after: Iterable[Any] = (),
        label: str = "",
        size_bytes: int = 0,
        since: float | None = None,
    ) -> Any:
        """Hand an operation to its lane's thread; see `Device.submit`."""
        check_operation(lane, seconds, self._closed)
        if since is not None:
            self._record(Operation(lane, label, since, self.now(), size_bytes))
            return _Submitted(lane, label, _DONE)
        work = self._threads[lane].submit(self._operate, lane, seconds, run, tuple(after), label, size_bytes)
        return _Submitted(lane, label, work)

    def charge(self, seconds: float, label: str = "") -> None:
        """Write down planning that has just ended."""
        check_seconds(seconds)
        end = self.now()
        # Less than `seconds`, where the caller says that it planned longer than it can have.
        start, self._planned_s = max(end - seconds, self._planned_s), end
        if seconds:
            self._record(Operation(HOST_THREAD, label, start, end))

    def done(self, event: Any) -> bool:
        """Return whether an operation has ended; see `Device.done`."""
        return bool(event.done())

    def wait(self, event: Any) -> None:
        """Wait for an operation; see `Device.wait`."""
        error = event.error()
        if error is not None:
            raise failure(event.lane, event.label, error)

    def timeline(self) -> list[Operation]:
        """Return what has run, by start."""
        return sorted(self._ran or (), key=lambda operation: operation.start)

    def close(self) -> None:
        """Cancel what has not started, and end the threads; see `Device.close`."""
        self._closed = True
        # First cancel in every lane, then wait: one lane may be waiting for another's operation.
        for thread in self._threads.values():
            thread.shutdown(wait=False, cancel_futures=True)
        for thread in self._threads.values():
            thread.shutdown()

    def _operate(
        self,
        lane: str,
        seconds: float,
        run: Callable[[], object] | None,
        after: tuple[Any, ...],
        label: str,
        size_bytes: int,
    ) -> BaseException | None:
        """Run one operation in its lane's thread; return why it failed, as raising would keep its tensors."""
        error: BaseException | None = None
        for event in after:
            error = event.error() or error
        if self._closed:
            return error or _cancelled()
        start = self.now()
        if error is None:
            if run is not None:
                error = attempt(run, kept=BaseException)
            left = start + seconds - self.now()
            if lane == "link" and left > 0:
                time.sleep(left)
        self._record(Operation(lane, label, start, self.now(), size_bytes, error is not None))
        return error

    def _record(self, operation: Operation) -> None:
        if self._ran is not None:
            self._ran.append(operation)


@dataclass(frozen=True, slots=True, eq=False)
class _Submitted:
    """The event of an operation in a thread."""

    lane: str
    label: str
    work: Future[BaseException | None]

    def done(self) -> bool:
        return self.work.done()

    def error(self) -> BaseException | None:
        """Wait until it has finished, and return why it failed, if it did."""
        try:
            return self.work.result()
        except CancelledError:
            return _cancelled()


_DONE: Future[BaseException | None] = Future()
_DONE.set_result(None)


def _cancelled() -> OperationError:
    return OperationError("its device was closed before it started")


def share_cores(device: Any) -> None:
    """Give each of the lanes that compute at the same time in threads half of torch's threads."""
    import torch

    lanes = {"virtual": (), "host": ("gpu", "cpu"), "cuda": ("cpu",)}[device.kind]
    threads = torch.get_num_threads()
    if lanes:
        torch.set_num_threads(max(1, threads // 2))
        try:  # a thread keeps the number that it finds when it first asks
            for lane in lanes:
                device.wait(device.submit(lane, 0.0, torch.get_num_threads, label="threads"))
        finally:
            torch.set_num_threads(threads)
