"""An NVIDIA GPU as a device: lanes that are streams, events that are CUDA events, and a thread for the CPU.

    gpu    the caller's: the stream that was current when the device was made
    draft  the same: a draft and its verification need each other's tokens and have nothing to overlap
    link   the one copy stream
    cpu    a thread, as on the host device

The work of the first three launches kernels or copies and returns; it is called within `submit`, in the
caller's thread. A stream waits for a stream on the GPU. What comes after an operation of the cpu lane is
launched once that has finished: `submit` waits for it, as no stream can. This cannot lock up, since that
operation waits for earlier ones only. `close` cancels in the cpu lane; what a stream was given has started.

A copy overlaps with kernels only out of pinned memory: see `pinned`; and room that the copy stream writes to
is announced once: see `room`. Everything else about threads and torch is as `host` says. Without a GPU the
order of streams, events and waits is tested on a stand-in.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from ...utils.exceptions import InvalidInputError, MoespacError
from .base import LANES, Operation, attempt, check_operation
from .host import HostDevice

__all__ = ["CudaDevice"]

# Past this, the GPU's clock is compared with the caller's again, as soon as no operation runs that would be
# measured by both: they drift apart, and an elapsed time is a float32 of milliseconds, good to 1 us so far.
CLOCK_GOOD_FOR_S: Final = 10.0


class CudaDevice(HostDevice):
    """Run lanes as streams of the current CUDA device.

    Parameters
    ----------
    record : bool, default True
        Whether to keep a timeline.
    cuda : module, optional
        `torch.cuda`, or a stand-in with what is used of it.

    Raises
    ------
    InvalidInputError
        There is no GPU that torch can use.
    """

    kind = "cuda"
    place = "cuda"  # where torch puts what is in its memory

    def __init__(self, record: bool = True, cuda: Any = None) -> None:
        if cuda is None:
            import torch

            cuda = torch.cuda
        if not cuda.is_available():
            raise _no_gpu()
        super().__init__(record)
        self._cuda = cuda
        self._kernels = cuda.current_stream()
        self._copies = cuda.Stream()
        self._clock = cuda.Stream()  # idle but for reading the GPU's time
        self._spare: list[Any] = []  # events that are no longer asked
        self._read = self._read_clock()
        self._launched: dict[str, deque[_Launched]] = {lane: deque() for lane in LANES}
        self._registered: list[Any] = []  # tensors whose memory the driver has pinned where it is

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
        """Launch an operation on its lane's stream; see `Device.submit`."""
        if lane == "cpu":
            return super().submit(lane, seconds, run, after, label, size_bytes, since)
        check_operation(lane, seconds, self._closed)
        stream = self._copies if lane == "link" else self._kernels
        error: BaseException | None = None
        for event in after:
            if isinstance(event, _Launched):
                stream.wait_event(event.finish)
                error = event.failure or error
            else:
                error = event.error() or error
        if self.now() - self._read[0] > CLOCK_GOOD_FOR_S and self._idle():
            self._read = self._read_clock()
        issued = self.now()
        start = self._event() if since is None else None
        finish = self._event()
        with self._cuda.stream(stream):
            if start is not None:
                start.record(stream)
            if run is not None and error is None:
                error = attempt(run)
            # After a failure too: what was launched before it still reads and writes.
            finish.record(stream)
        launched = _Launched(lane, label, size_bytes, issued, since, *self._read, start, finish, error)
        self._launched[lane].append(launched)
        self._collect(lane)
        return launched

    def timeline(self) -> list[Operation]:
        """Return what has run, by start."""
        self._idle()
        return super().timeline()

    def close(self) -> None:
        """End the CPU lane, wait for the streams, and unpin memory; see `Device.close`."""
        super().close()
        for launched in self._launched.values():
            for event in launched:
                event.error()
        self._idle()
        while self._registered:
            self._cuda.cudart().cudaHostUnregister(self._registered[-1].data_ptr())
            self._registered.pop()

    def pinned(self, tensor: Any) -> Any:
        """Pin a CPU tensor's memory until the device closes, so that copies from it overlap with kernels.

        Parameters
        ----------
        tensor : torch.Tensor
            Stays where it is, if the driver allows it.

        Returns
        -------
        torch.Tensor
            The tensor; or a copy in pinned memory, for which torch takes a power of two of bytes, where the
            driver refuses (a file mapped for reading, or too little memory that may be locked).
        """
        if tensor.is_pinned():
            return tensor
        if tensor.is_contiguous() and tensor.nbytes:
            self._registered.append(tensor)
            if not int(self._cuda.cudart().cudaHostRegister(tensor.data_ptr(), tensor.nbytes, 0)):
                return tensor
            self._registered.pop()
            self._forget_error()
        return tensor.pin_memory()

    def fetched(self, *tensors: Any) -> list[Any]:
        """Return on the host what the caller's stream has computed: through pinned memory, with one wait."""
        copies = [self._staging(tensor).copy_(tensor, non_blocking=True) for tensor in tensors]
        self._kernels.synchronize()
        return copies

    def sent(self, *tensors: Any) -> list[Any]:
        """Return CPU tensors on the GPU for the caller's stream: through pinned memory, without a wait."""
        return [self._staging(tensor).copy_(tensor).to(self.place, non_blocking=True) for tensor in tensors]

    def _staging(self, like: Any) -> Any:
        """Pinned memory; torch keeps it, and gives it out again once no copy uses it."""
        import torch

        return torch.empty(like.shape, dtype=like.dtype, pin_memory=True)

    def _forget_error(self) -> None:
        """Take back the error that a failed call leaves to the next kernel."""
        import torch

        with suppress(RuntimeError, AssertionError):  # the latter: torch without CUDA, on a stand-in
            torch.ones((), device=self.place)

    def room(self, tensor: Any) -> Any:
        """Announce a GPU tensor to the copy stream, which may write to it from now on; fill it before.

        Its memory may have been another tensor's, which kernels still use; and once freed, it may not be
        another's before the copies to it have ended. Kernels launched on it later are no longer waited for.
        """
        self._copies.wait_stream(self._kernels)
        tensor.record_stream(self._copies)
        return tensor

    def _event(self) -> Any:
        if self._spare:
            return self._spare.pop()
        # blocking: a thread that waits for it on the host sleeps, and leaves the core to the CPU lane.
        return self._cuda.Event(enable_timing=True, blocking=True)

    def _read_clock(self) -> tuple[float, Any]:
        """Return a time on the caller's clock, and an event that came at that time or a little later."""
        event, at = self._event(), self.now()
        event.record(self._clock)
        event.synchronize()
        return at, event

    def _idle(self) -> bool:
        """Return whether no stream has anything left to do; what has been done is written down."""
        for lane in LANES:
            self._collect(lane)
        return not any(self._launched.values())

    def _collect(self, lane: str) -> None:
        """Write down what has finished. A lane's operations finish in order."""
        launched = self._launched[lane]
        while launched and launched[0].done():
            finished = launched.popleft()
            self._record(finished.operation())
            if finished.start is not None:
                self._spare.append(finished.start)


@dataclass(frozen=True, slots=True, eq=False)
class _Launched:
    """The event of an operation on a stream."""

    lane: str
    label: str
    size_bytes: int
    issued: float  # when `submit` launched it, seconds on the caller's clock
    since: float | None  # when the caller began it, if that did
    read_at: float  # the same, of an event of which the time is known
    read: Any
    start: Any  # CUDA events, recorded on the operation's stream before (None if the caller's) and after
    finish: Any
    failure: BaseException | None

    def done(self) -> bool:
        try:
            return bool(self.finish.query())
        except RuntimeError:  # the GPU itself has failed, see `error`
            return True

    def error(self) -> BaseException | None:
        """Wait until it has finished, and return why it failed, if it did."""
        try:
            self.finish.synchronize()
        except RuntimeError as error:
            return error
        return self.failure

    def operation(self) -> Operation:
        """Return what to write down, once it has finished.

        `read` is taken for a little older than it is, by a launch. So no time is later than the true one, and
        none is earlier than the launch: an operation is never shown before what it came after.
        """
        try:
            end = max(self._at(self.finish), self.issued)
            start = max(self._at(self.start), self.issued) if self.since is None else self.since
        except RuntimeError:
            return Operation(self.lane, self.label, self.issued, self.issued, self.size_bytes, True)
        failed = self.failure is not None
        return Operation(self.lane, self.label, start, max(start, end), self.size_bytes, failed)

    def _at(self, event: Any) -> float:
        return float(self.read_at + self.read.elapsed_time(event) / 1e3)


def _no_gpu() -> MoespacError:
    import torch

    built = torch.version.cuda
    reason = "is built without CUDA" if built is None else f"is built for CUDA {built} and finds no GPU"
    return InvalidInputError(
        f"the device is cuda, but torch {torch.__version__} {reason}; expected: a computer with an NVIDIA "
        "GPU, its driver, and a torch built for it (see moespac doctor); or use the device host, or virtual"
    )
