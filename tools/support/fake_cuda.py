"""A small GPU of numbers and queues, with the part of `torch.cuda` that CudaDevice uses.

A stream is a queue of records, waits, work and gates, and goes on as far as it can whenever anybody asks.
Work is done when its stream reaches it, not when it is launched: what is out of order really goes wrong. All
that was asked for is in `log`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class FakeCuda:
    clock_s = 0.0  # from asking for the time on the clock's stream to its being taken

    def __init__(self, available: bool = True) -> None:
        self.available = available
        self.broken = False
        self.log: list[tuple] = []
        self.changed = threading.Condition()
        self.streams: list[FakeStream] = []
        self.current = self.Stream()
        self.registers = True  # whether the driver pins memory where it is
        self.registered: list[int] = []

    def is_available(self) -> bool:
        return self.available

    def current_stream(self) -> FakeStream:
        return self.current

    @contextmanager
    def stream(self, stream: FakeStream) -> Iterator[None]:
        before, self.current = self.current, stream
        try:
            yield
        finally:
            self.current = before

    def Stream(self) -> FakeStream:  # noqa: N802
        stream = FakeStream(self, ("main", "copies", "clock")[len(self.streams)])
        self.streams.append(stream)
        return stream

    def Event(self, enable_timing: bool, blocking: bool) -> FakeEvent:  # noqa: N802
        assert enable_timing
        assert blocking
        return FakeEvent(self)

    def cudart(self) -> FakeCuda:
        return self

    def cudaHostRegister(self, start: int, _size: int, _flags: int) -> int:  # noqa: N802
        if not self.registers or start in self.registered:
            return 1
        self.registered.append(start)
        return 0

    def cudaHostUnregister(self, start: int) -> int:  # noqa: N802
        self.registered.remove(start)
        return 0

    def launch(self, work: Callable[[], object], name: str = "") -> None:
        """What a kernel or an asynchronous copy does: nothing yet."""
        self.current.add(("launch", name), lambda: (work(), True)[1])

    def hold(self) -> Callable[[], None]:
        """The current stream goes no further until what is returned is called."""
        gate = threading.Event()
        self.current.add(("hold",), gate.is_set)

        def release() -> None:
            gate.set()
            self.settle()

        return release

    def break_down(self) -> None:
        """From now on, everything that asks the GPU gets its error."""
        self.broken = True

    def settle(self) -> None:
        with self.changed:
            while any(stream.step() for stream in self.streams):
                self.changed.notify_all()


class FakeStream:
    def __init__(self, cuda: FakeCuda, name: str) -> None:
        self.cuda, self.name = cuda, name
        self.queue: deque[Callable[[], bool]] = deque()  # each says whether the stream gets past it

    def add(self, entry: tuple, item: Callable[[], bool]) -> None:
        with self.cuda.changed:
            self.cuda.log.append((self.name, *entry))
            self.queue.append(item)
        self.cuda.settle()

    def step(self) -> bool:
        past = bool(self.queue) and self.queue[0]()
        if past:
            self.queue.popleft()
        return past

    def synchronize(self) -> None:
        self.cuda.settle()
        with self.cuda.changed:
            assert self.cuda.changed.wait_for(lambda: not self.queue, timeout=30), "never comes"

    def wait_event(self, event: FakeEvent) -> None:
        self.add(("wait", event), lambda: event.time is not None)

    def wait_stream(self, stream: FakeStream) -> None:
        event = FakeEvent(self.cuda)
        event.record(stream)
        self.wait_event(event)


class FakeEvent:
    def __init__(self, cuda: FakeCuda) -> None:
        self.cuda = cuda
        self.time: float | None = None  # when its stream came to it, seconds

    def record(self, stream: FakeStream) -> None:
        if stream.name == "clock":
            time.sleep(self.cuda.clock_s)
        self.time = None

        def reach() -> bool:
            self.time = time.perf_counter()
            return True

        stream.add(("record", self), reach)

    def query(self) -> bool:
        self.check()
        self.cuda.settle()
        return self.time is not None

    def synchronize(self) -> None:
        self.check()
        self.cuda.settle()
        with self.cuda.changed:
            assert self.cuda.changed.wait_for(lambda: self.time is not None, timeout=30), "never comes"

    def elapsed_time(self, later: FakeEvent) -> float:
        self.check()
        return 1e3 * (later.time - self.time)

    def check(self) -> None:
        if self.cuda.broken:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
