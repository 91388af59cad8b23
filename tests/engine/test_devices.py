"""The device contract, kept by all: the virtual device, the host's, and CUDA's, on a GPU and on a stand-in.

A held operation ends when the test says so: the tests are about what comes before what, never about how long
it takes.
"""

from __future__ import annotations

import contextlib
import gc
import itertools
import math
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moespac_nb.engine.devices import (
    HOST_THREAD,
    LANES,
    CudaDevice,
    Device,
    HostDevice,
    OperationError,
    SharedBusDevice,
    VirtualDevice,
)
from moespac_nb.engine.devices import cuda as cuda_module
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.interrupts import InterruptAtLine, ctrl_c_is_heard, lines_of
from tools.support.fake_cuda import FakeCuda

SHORT_S, LONG_S = 0.001, 1.0
KINDS = ("virtual", "shared-bus", "host", "stand-in", "cuda")
WITHOUT_GPU = KINDS[:-1]
PAIRS = list(itertools.permutations(LANES, 2))


def make_device(kind: str) -> Device:
    if kind == "cuda":
        torch = pytest.importorskip("torch")
        if not torch.cuda.is_available():
            pytest.skip("no GPU: the order of streams, events and waits is tested on the stand-in")
    makers = {
        "virtual": VirtualDevice,
        "shared-bus": partial(SharedBusDevice, 100.0),
        "host": HostDevice,
        "cuda": CudaDevice,
    }
    return CudaDevice(cuda=FakeCuda()) if kind == "stand-in" else makers[kind]()


class Bench:
    """A device, and work for it that is done or held as the test says. `log`: what was done, in order."""

    def __init__(self, kind: str) -> None:
        self.kind = "virtual" if kind == "shared-bus" else kind
        self.log: list[str] = []
        self.device = make_device(kind)
        self.gates: list[Callable[[], None]] = []
        self.helpers: list[threading.Thread] = []

    def is_stream(self, lane: str) -> bool:
        return self.kind in ("stand-in", "cuda") and lane != "cpu"

    def is_thread(self, lane: str) -> bool:
        return self.kind != "virtual" and not self.is_stream(lane)

    def submit(self, lane: str, name: str, after=()):
        note = partial(self.log.append, name)
        if self.kind == "stand-in" and self.is_stream(lane):
            note = partial(self.device._cuda.launch, note, name)
        return self.device.submit(lane, SHORT_S, note, after, name)

    def hold(self, lane: str, name: str):
        """An operation that does not end before its release, and the release."""
        gate, releases = threading.Event(), []
        releases.append(gate.set)

        def held() -> None:
            if self.kind == "stand-in" and self.is_stream(lane):
                releases.append(self.device._cuda.hold())
                self.device._cuda.launch(lambda: self.log.append(name), name)
                return
            if self.kind == "cuda" and self.is_stream(lane):
                sys.modules["torch"].cuda._sleep(200_000_000)
            elif self.is_thread(lane):
                assert gate.wait(30)
            self.log.append(name)

        def release() -> None:
            for call in releases:
                call()

        self.gates.append(release)
        seconds = LONG_S if self.kind == "virtual" else SHORT_S
        return self.device.submit(lane, seconds, held, (), name), release

    def soon(self, call: Callable[[], None]) -> None:
        """Has another thread call it while this one waits."""
        self.helpers.append(threading.Timer(0.01, call))
        self.helpers[-1].start()

    def wait_until_started(self, lane: str, left: int = 0) -> None:
        """Return once a lane's thread has taken up all but so many operations."""
        while self.device._threads[lane]._work_queue.qsize() > left:
            time.sleep(0.001)

    def end(self) -> None:
        for release in self.gates:
            release()
        for helper in self.helpers:
            helper.join()
        self.device.close()


def breaking() -> tuple[ValueError, Callable[[], None]]:
    """An error, and work that raises it."""
    error = ValueError("a page is missing")

    def breaks() -> None:
        raise error

    return error, breaks


@pytest.fixture(params=KINDS)
def bench(request) -> Iterator[Bench]:
    before = set(threading.enumerate())
    bench = Bench(request.param)
    yield bench
    bench.end()
    assert set(threading.enumerate()) <= before


def operations(device: Device) -> dict[str, tuple]:
    return {operation.label: operation for operation in device.timeline()}


def test_each_is_a_device(bench):
    assert isinstance(bench.device, Device)
    assert bench.device.kind == {"stand-in": "cuda"}.get(bench.kind, bench.kind)


@pytest.mark.parametrize("lane", LANES)
def test_a_lane_runs_one_after_the_other_as_submitted(bench, lane):
    held, release = bench.hold(lane, "first")
    second = bench.submit(lane, "second")
    assert not bench.device.done(held)
    assert not bench.device.done(second)
    release()
    bench.device.wait(second)
    assert bench.device.done(held)
    assert bench.log == ["first", "second"]
    ran = operations(bench.device)
    assert ran["first"].end <= ran["second"].start


@pytest.mark.parametrize(("held_lane", "lane"), PAIRS)
def test_lanes_run_side_by_side(bench, held_lane, lane):
    if bench.is_stream(lane) and {held_lane, lane} == {"gpu", "draft"}:
        pytest.skip("on CUDA the draft shares the caller's stream")
    held, release = bench.hold(held_lane, "held")
    other = bench.submit(lane, "other")
    bench.device.wait(other)
    assert not bench.device.done(held)
    release()
    bench.device.wait(held)
    assert sorted(bench.log) == ["held", "other"]


@pytest.mark.parametrize(("held_lane", "lane"), PAIRS)
def test_an_operation_starts_when_its_events_have_come(bench, held_lane, lane):
    held, release = bench.hold(held_lane, "first")
    submit_waits = bench.is_stream(lane) and not bench.is_stream(held_lane)
    if submit_waits:  # it launches for a stream only what no thread is still to do
        bench.soon(release)
    second = bench.submit(lane, "second", after=[held])
    if not submit_waits:
        assert not bench.device.done(second)
        release()
    bench.device.wait(second)
    assert bench.log == ["first", "second"]
    ran = operations(bench.device)
    assert ran["first"].end <= ran["second"].start


def test_waiting_again_for_what_is_done_returns(bench):
    event = bench.submit("gpu", "work")
    for _ in range(2):
        bench.device.wait(event)
        assert bench.device.done(event)
    assert bench.log == ["work"]


@pytest.mark.parametrize("lane", LANES)
def test_a_failure_surfaces_at_each_wait_and_nowhere_else(bench, lane):
    error, breaks = breaking()
    failed = bench.device.submit(lane, SHORT_S, breaks, label="copy")
    later = bench.submit(lane, "later")
    elsewhere = bench.submit("cpu" if lane == "gpu" else "gpu", "elsewhere")
    for _ in range(2):
        with pytest.raises(OperationError, match=f"copy on lane {lane} failed: a page is missing") as raised:
            bench.device.wait(failed)
        assert raised.value.__cause__ is error
        assert "in breaks" in error.__notes__[0]
        assert bench.device.done(failed)
    bench.device.wait(later)
    bench.device.wait(elsewhere)
    assert sorted(bench.log) == ["elsewhere", "later"]
    assert [op.label for op in bench.device.timeline() if op.failed] == ["copy"]


@pytest.mark.parametrize("lane", LANES)
def test_what_comes_after_a_failure_fails_with_it_and_is_not_run(bench, lane):
    error, breaks = breaking()
    failed = bench.device.submit("link", SHORT_S, breaks, label="copy")
    fine = bench.submit("cpu", "fine")
    dependent = bench.submit(lane, "dependent", after=[failed, fine])
    last = bench.submit("gpu", "last", after=[dependent])
    for event in (dependent, last):
        with pytest.raises(OperationError, match="a page is missing") as raised:
            bench.device.wait(event)
        assert raised.value.__cause__ is error
    assert bench.log == ["fine"]


def test_planning_is_written_down_beside_the_lanes(bench):
    start = bench.device.now()
    bench.device.charge(SHORT_S, "policy")
    bench.device.charge(SHORT_S, "policy")
    bench.device.charge(0.0, "nothing")
    assert bench.device.now() >= start
    first, second = bench.device.timeline()
    assert {first.lane, second.lane} == {HOST_THREAD}
    assert {first.label, second.label} == {"policy"}
    assert 0 <= first.start <= first.end <= second.start <= second.end <= bench.device.now()


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_seconds_that_are_no_length_of_time_are_refused(bench, seconds):
    for lane in LANES:
        with pytest.raises(MoespacError, match="seconds is"):
            bench.device.submit(lane, seconds)
    with pytest.raises(MoespacError, match="seconds is"):
        bench.device.charge(seconds)
    assert bench.device.timeline() == []


def test_an_unknown_lane_is_refused_by_name(bench):
    with pytest.raises(MoespacError, match="lane is 'disk'; expected: draft, gpu, cpu, link"):
        bench.device.submit("disk", 0.0)


def test_a_closed_device_takes_nothing_more_and_keeps_what_ran(bench):
    events = [bench.submit(lane, lane) for lane in LANES]
    for event in events:
        bench.device.wait(event)
    bench.device.close()
    bench.device.close()
    for lane in LANES:
        with pytest.raises(MoespacError, match="closed"):
            bench.device.submit(lane, 0.0)
    for event in events:
        bench.device.wait(event)
    assert {operation.label for operation in bench.device.timeline()} == set(LANES)


@pytest.mark.parametrize("lane", LANES)
def test_closing_waits_for_what_runs(bench, lane):
    event, release = bench.hold(lane, "running")
    if bench.is_thread(lane):
        bench.wait_until_started(lane)
    bench.soon(release)
    with contextlib.closing(bench.device):
        pass
    assert bench.log == ["running"]
    bench.device.wait(event)


def test_closing_cancels_what_has_not_started(bench):
    if bench.kind == "virtual":
        pytest.skip("on the virtual device all that is submitted has run")
    running, release = bench.hold("cpu", "running")
    queued = bench.submit("cpu", "queued")
    dependents = [queued]
    if bench.kind == "host":  # waits in a lane of its own, taken up but not started
        dependents.append(bench.submit("gpu", "waiting", after=[running]))
        dependents.append(bench.submit("link", "waiting for what is cancelled", after=[queued]))

    def release_once_cancelled() -> None:
        while not bench.device.done(queued):
            time.sleep(0.001)
        release()

    bench.wait_until_started("cpu", left=1)
    bench.soon(release_once_cancelled)
    bench.device.close()
    bench.device.wait(running)
    for event in dependents:
        assert bench.device.done(event)
        with pytest.raises(OperationError, match="closed before it started"):
            bench.device.wait(event)
    assert bench.log == ["running"]
    assert [operation.label for operation in bench.device.timeline()] == ["running"]


class Payload:
    """Stands for a tensor."""


@pytest.mark.parametrize("lane", LANES)
def test_no_event_keeps_alive_what_its_work_held(bench, lane):
    alive = []

    def work(fails: bool) -> Callable[[], None]:
        payload = Payload()
        alive.append(weakref.ref(payload))

        def inner() -> None:
            local = payload
            try:
                if fails:
                    raise ValueError("inner")
            except ValueError as error:
                raise KeyError("outer") from error
            del local

        return inner

    gc.disable()
    try:
        events = [bench.device.submit(lane, 0.0, work(fails)) for fails in (False, True)]
        events.append(bench.device.submit(lane, 0.0, work(False), after=events[1:]))
        bench.device.wait(events[0])
        for event in events[1:]:
            with contextlib.suppress(OperationError):
                bench.device.wait(event)
        if bench.is_thread(lane):
            _, release = bench.hold(lane, "held")
            events.append(bench.device.submit(lane, 0.0, work(False)))
            bench.soon(release)
        bench.device.close()
        assert len(alive) == len(events)
        assert [ref() for ref in alive] == [None] * len(alive)
    finally:
        gc.enable()


@pytest.mark.parametrize("kind", ["host", "stand-in"])
def test_a_forgotten_device_leaves_no_thread(kind):
    before = set(threading.enumerate())
    bench = Bench(kind)
    bench.device.wait(bench.submit("cpu", "work"))
    threads = set(threading.enumerate()) - before
    assert threads
    del bench
    gc.collect()
    for thread in threads:
        thread.join(timeout=30)
    assert set(threading.enumerate()) <= before


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs a signal to one thread")
@pytest.mark.parametrize("kind", ["host", "stand-in"])
def test_ctrl_c_ends_a_wait_and_nothing_else(kind):
    bench = Bench(kind)
    held, release = bench.hold("cpu", "held")
    main = threading.main_thread().ident
    assert main is not None
    with ctrl_c_is_heard():
        bench.soon(lambda: signal.pthread_kill(main, signal.SIGINT))
        with pytest.raises(KeyboardInterrupt):
            bench.device.wait(held)
    assert not bench.device.done(held)
    release()
    bench.device.wait(held)
    bench.device.wait(bench.submit("gpu", "next", after=[held]))
    bench.end()
    assert bench.log == ["held", "next"]


def test_after_an_interrupt_at_any_line_a_device_works_and_closes(bench):
    watched_files = {sys.modules[kind.__module__].__file__ for kind in (type(bench.device), HostDevice)}
    log: list[int] = []

    def program(made: Bench) -> None:
        copied = made.device.submit("link", 0.0, lambda: log.append(1))
        made.device.charge(0.0)
        computed = made.device.submit("cpu", 0.0, lambda: log.append(2), [copied])
        made.device.wait(made.device.submit("gpu", 0.0, lambda: log.append(3), [computed]))
        made.device.timeline()
        made.device.close()

    def watched(code) -> bool:
        return code.co_filename in watched_files and code.co_name != "__init__"

    before = set(threading.enumerate())
    for nth in range(1, lines_of(watched, lambda: program(Bench(bench.kind))) + 1):
        made = Bench(bench.kind)
        with contextlib.suppress(KeyboardInterrupt), InterruptAtLine(watched, nth):
            program(made)
        if not made.device._closed:
            made.device.wait(made.submit("gpu", "after the interrupt"))
            assert made.log == ["after the interrupt"]
        made.device.close()
        assert set(threading.enumerate()) <= before


def test_an_interrupt_in_the_callers_thread_is_the_callers(bench):
    def interrupted() -> None:
        raise KeyboardInterrupt

    if bench.is_thread("gpu"):
        with pytest.raises(OperationError):
            bench.device.wait(bench.device.submit("gpu", 0.0, interrupted))
    else:
        with pytest.raises(KeyboardInterrupt):
            bench.device.submit("gpu", 0.0, interrupted)
    bench.device.wait(bench.submit("gpu", "next"))
    assert bench.log == ["next"]


# Programs: operations (lane, positions of earlier ones it comes after, whether its work fails).
programs = st.lists(
    st.tuples(
        st.sampled_from(LANES),
        st.sets(st.integers(1, 6), max_size=3),
        st.integers(0, 5).map(lambda n: n == 0),
    ),
    min_size=1,
    max_size=12,
).map(
    lambda ops: [
        (lane, [at - back for back in backs if back <= at], fails)
        for at, (lane, backs, fails) in enumerate(ops)
    ]
)


def assert_keeps_order(program, kind: str) -> None:
    bench = Bench(kind)
    events = []
    for at, (lane, after, fails) in enumerate(program):
        earlier = [events[i] for i in after]
        if fails:
            events.append(bench.device.submit(lane, SHORT_S / 10, lambda: [][0], earlier, str(at)))
        else:
            events.append(bench.submit(lane, str(at), earlier))
    failed, expected = set(), set()
    for at, (_, after, fails) in enumerate(program):
        try:
            bench.device.wait(events[at])
        except OperationError:
            failed.add(at)
        if fails or expected.intersection(after):
            expected.add(at)
    bench.device.close()
    done = [int(name) for name in bench.log]
    ran = {int(op.label): op for op in bench.device.timeline()}
    assert failed == expected == {at for at, op in ran.items() if op.failed}
    assert sorted(done) == sorted(set(range(len(program))) - expected)
    assert sorted(ran) == list(range(len(program)))
    last: dict[str, int] = {}
    for at, (lane, after, _) in enumerate(program):
        assert ran[at].lane == lane
        assert ran[at].start <= ran[at].end
        before = [*after, last[lane]] if lane in last else after
        last[lane] = at
        for earlier in before:
            assert ran[earlier].end <= ran[at].start
            if earlier in done and at in done:
                assert done.index(earlier) < done.index(at)


@pytest.mark.parametrize("kind", WITHOUT_GPU)
@given(program=programs)
@settings(max_examples=40)
def test_any_program_keeps_the_same_order_on_every_device(kind, program):
    assert_keeps_order(program, kind)


@pytest.mark.full
@pytest.mark.parametrize("kind", KINDS)
@given(program=programs)
@settings(max_examples=1000)
def test_many_programs_keep_the_same_order_on_every_device(kind, program):
    assert_keeps_order(program, kind)


# What only some of them do.


def test_the_hosts_link_is_throttled_and_no_other_lane():
    with contextlib.closing(HostDevice()) as device:
        events = [device.submit(lane, s, label=lane) for lane, s in (("link", 0.02), ("gpu", 1e6))]
        for event in events:
            device.wait(event)
        link = operations(device)["link"]
    assert link.end - link.start >= 0.02


@pytest.mark.parametrize("kind", [VirtualDevice, HostDevice, partial(CudaDevice, cuda=FakeCuda())])
def test_a_device_that_keeps_no_timeline_still_works(kind):
    with contextlib.closing(kind(record=False)) as device:
        device.charge(0.0)
        device.wait(device.submit("gpu", 0.0, after=[device.submit("link", 0.0)]))
        assert device.timeline() == []


@pytest.fixture
def fake() -> FakeCuda:
    return FakeCuda()


@pytest.fixture
def cuda(fake: FakeCuda) -> Iterator[CudaDevice]:
    with contextlib.closing(CudaDevice(cuda=fake)) as device:
        yield device


def test_cuda_copies_on_its_own_stream_and_computes_on_the_callers(fake, cuda):
    """A weight is read once its copy has finished, and overwritten once it has been read."""
    fake.log.clear()
    slot: list[str] = []
    read: list[list[str]] = []
    held = []

    def copy() -> None:
        held.append(fake.hold())
        fake.launch(lambda: slot.append("first"), "copy")

    def compute() -> None:
        fake.launch(lambda: read.append(list(slot)), "compute")

    copied = cuda.submit("link", 0.0, copy)
    computed = cuda.submit("gpu", 0.0, compute, after=[copied])
    again = cuda.submit("link", 0.0, lambda: fake.launch(slot.clear, "overwrite"), after=[computed])
    assert [(stream, *(entry if entry[0] != "record" else entry[:1])) for stream, *entry in fake.log] == [
        ("copies", "record"), ("copies", "hold"), ("copies", "launch", "copy"), ("copies", "record"),
        ("main", "wait", copied.finish),
        ("main", "record"), ("main", "launch", "compute"), ("main", "record"),
        ("copies", "wait", computed.finish),
        ("copies", "record"), ("copies", "launch", "overwrite"), ("copies", "record"),
    ]  # fmt: skip
    assert fake.log[3][-1] is copied.finish
    assert fake.log[7][-1] is computed.finish
    assert read == []
    held[0]()
    cuda.wait(again)
    assert read == [["first"]]
    assert slot == []


def test_cuda_work_finds_its_stream_current(fake, cuda):
    main = fake.current_stream()
    names = []
    for lane in ("gpu", "link", "draft"):
        cuda.submit(lane, 0.0, lambda: names.append(fake.current_stream().name))
        assert fake.current_stream() is main
    assert names == ["main", "copies", "main"]


def test_room_for_copies_waits_for_the_kernels_that_had_it_before(fake, cuda):
    class Tensor:
        def record_stream(self, stream) -> None:
            self.kept_for = stream

    release = fake.hold()  # kernels of the memory's last owner
    done = []
    tensor = cuda.room(Tensor())
    event = cuda.submit("link", 0.0, lambda: fake.launch(lambda: done.append("copy")))
    assert not cuda.done(event)
    release()
    cuda.wait(event)
    assert tensor.kept_for is cuda._copies


def test_memory_is_pinned_where_it_is_until_the_device_closes(fake, cuda):
    torch = pytest.importorskip("torch")
    weights = [torch.zeros(3, 4), torch.zeros(5)]
    assert [cuda.pinned(weight) is weight for weight in weights] == [True, True]
    assert fake.registered == [weight.data_ptr() for weight in weights]
    cuda.close()
    assert fake.registered == []


class Refused:
    """A tensor whose memory the driver does not pin, or cannot."""

    nbytes = 8

    def __init__(self, contiguous: bool = True, pinned: bool = False) -> None:
        self.is_contiguous = lambda: contiguous
        self.is_pinned = lambda: pinned

    def data_ptr(self) -> int:
        return 64

    def pin_memory(self) -> str:
        return "a copy"


def test_memory_that_cannot_be_pinned_where_it_is_is_copied_once(fake, cuda):
    fake.registers = False
    assert cuda.pinned(Refused()) == "a copy"
    fake.registers = True
    assert cuda.pinned(Refused(contiguous=False)) == "a copy"
    pinned = Refused(pinned=True)
    assert cuda.pinned(pinned) is pinned
    assert fake.registered == []


@pytest.mark.parametrize("lane", LANES)
def test_what_the_caller_did_itself_is_in_its_lane(bench, lane):
    began = bench.device.now()
    bench.device.charge(0.0)
    time.sleep(0.002)
    event = bench.device.submit(lane, LONG_S, label="own", since=began)
    if bench.kind != "virtual":
        time.sleep(0.002)
        assert bench.device.done(event)
    bench.device.wait(event)
    (own,) = bench.device.timeline()
    assert (own.lane, own.label, own.start, own.failed) == (lane, "own", began, False)
    if bench.kind == "virtual":
        assert own.end == began + LONG_S
    else:
        assert began + 0.002 < own.end <= bench.device.now()


def test_a_gpu_that_breaks_down_fails_the_wait_and_closes(fake, cuda):
    event = cuda.submit("gpu", 0.0, fake.hold, label="compute")
    fake.break_down()
    assert cuda.done(event)
    message = "compute on lane gpu failed: CUDA error: an illegal memory access"
    with pytest.raises(OperationError, match=message):
        cuda.wait(event)
    cuda.close()
    assert [op.failed for op in cuda.timeline()] == [True]


@pytest.mark.parametrize("clock_s", [0.0, 0.005])
@pytest.mark.parametrize("good_for_s", [0.0, 10.0])
def test_the_timeline_stays_whole_however_the_clock_is_read(monkeypatch, clock_s, good_for_s):
    monkeypatch.setattr(FakeCuda, "clock_s", clock_s)
    monkeypatch.setattr(cuda_module, "CLOCK_GOOD_FOR_S", good_for_s)
    program = [(lane, [at - 1] if at else [], False) for at, lane in enumerate(10 * ("link", "gpu", "cpu"))]
    assert_keeps_order(program, "stand-in")


def test_without_a_gpu_cuda_says_what_was_found_and_what_to_use():
    message = r"device is cuda, but torch .*; expected: .*GPU.*; or use the device host"
    with pytest.raises(MoespacError, match=message):
        CudaDevice(cuda=FakeCuda(available=False))
