"""A virtual device with one bus: as the plain one without contention, else no faster than the bus."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.engine.devices import LANES, OperationError, SharedBusDevice, VirtualDevice
from moespac_nb.utils.exceptions import ClosedSessionError, InvalidInputError

OPERATIONS = st.tuples(
    st.just("submit"),
    st.sampled_from(LANES),
    st.sampled_from([0.0, 0.25, 1.0, 3.0]),  # seconds
    st.sampled_from([0, 10, 100]),  # bytes
    st.lists(st.integers(0, 9), max_size=2),  # what it depends on, counted backwards
)
CALLS = st.tuples(st.sampled_from(["wait", "charge", "done"]), st.integers(0, 9))
PROGRAMS = st.lists(OPERATIONS | CALLS, max_size=25)


def played(device: Any, program: list[Any]) -> list[float | bool]:
    """Run a program; return what its calls saw: the time after each, and whether an event had come."""
    events: list[Any] = []
    seen: list[float | bool] = []
    for name, *arguments in program:
        if name == "submit":
            lane, seconds, size_bytes, before = arguments
            after = [events[-1 - back] for back in before if back < len(events)]
            label = f"operation {len(events)}"
            events.append(device.submit(lane, seconds, None, after, label, size_bytes))
        elif name == "charge":
            device.charge(arguments[0] / 4)
        elif arguments[0] < len(events):
            event = events[-1 - arguments[0]]
            seen.append(device.done(event) if name == "done" else not device.wait(event))
        seen.append(device.now())
    return seen


@given(PROGRAMS)
def test_a_wide_bus_is_none(program: list[Any]) -> None:
    plain, wide = VirtualDevice(), SharedBusDevice(math.inf)
    assert played(wide, program) == played(plain, program)
    assert sorted(wide.timeline()) == sorted(plain.timeline())


@given(PROGRAMS, st.sampled_from([20.0, 60.0, 150.0]))
def test_no_more_passes_than_the_bus_has(program: list[Any], bus: float) -> None:
    device = SharedBusDevice(bus)
    played(device, program)
    operations = [op for op in device.timeline() if op.lane in ("cpu", "link") and op.size_bytes]
    lengths = {f"operation {n}": part[2] for n, part in enumerate(p for p in program if p[0] == "submit")}
    for op in operations:
        assert op.end - op.start >= lengths[op.label] - 1e-9
    for first in operations:  # of any interval between two operations, what is wholly inside
        for last in operations:
            inside = [op for op in operations if op.start >= first.start and op.end <= last.end]
            moved = sum(op.size_bytes for op in inside if lengths[op.label])
            assert not moved or moved <= bus * (last.end - first.start) * (1 + 1e-9) + 1e-6


def times(device: SharedBusDevice) -> dict[str, tuple[float, float]]:
    return {op.label: (op.start, op.end) for op in device.timeline()}


def test_what_comes_later_slows_down_what_runs() -> None:
    """By hand: alone each needs the whole bus. 1 s alone, then half speed each until the first is through."""
    device = SharedBusDevice(100)
    device.submit("cpu", 2.0, label="experts", size_bytes=200)
    device.charge(1.0)
    device.submit("link", 2.0, label="copy", size_bytes=200)
    assert times(device) == {"experts": (0, 3), "copy": (1, 4), "": (0, 1)}


def test_what_depends_on_a_slowed_copy_waits_for_it() -> None:
    device = SharedBusDevice(100)
    copy = device.submit("link", 1.0, label="copy", size_bytes=100)
    gpu = device.submit("gpu", 0.5, after=[copy], label="experts")
    device.submit("cpu", 1.0, label="others", size_bytes=100)
    device.wait(gpu)
    assert device.now() == 2.5
    assert times(device)["experts"] == (2, 2.5)


def test_a_bus_with_room_for_both_slows_neither() -> None:
    device = SharedBusDevice(150)
    device.submit("link", 1.0, label="copy", size_bytes=50)
    device.submit("cpu", 1.0, label="experts", size_bytes=100)
    assert times(device) == {"copy": (0, 1), "experts": (0, 1)}


def test_looking_at_the_timeline_changes_nothing() -> None:
    device = SharedBusDevice(100)
    first = device.submit("cpu", 1.0, label="experts", size_bytes=100)
    assert times(device)["experts"] == (0, 1)
    device.submit("link", 1.0, label="copy", size_bytes=100)
    device.wait(first)
    assert device.now() == 2


def test_a_failure_is_kept_and_handed_on() -> None:
    device = SharedBusDevice(100, fails=lambda lane, label: label == "copy")
    copy = device.submit("link", 1.0, label="copy", size_bytes=100)
    ran: list[int] = []
    computed = device.submit("gpu", 1.0, lambda: ran.append(1), [copy])
    for event in (copy, computed, copy):
        with pytest.raises(OperationError):
            device.wait(event)
    assert not ran
    assert device.now() == 1


def test_bad_input_is_refused() -> None:
    for bandwidth in (0, -1, math.nan):
        with pytest.raises(InvalidInputError, match="bus_bytes_per_s is"):
            SharedBusDevice(bandwidth)
    device = SharedBusDevice(1)
    with pytest.raises(InvalidInputError, match="lane is 'disk'"):
        device.submit("disk", 1.0)
    device.close()
    with pytest.raises(ClosedSessionError):
        device.submit("gpu", 1.0)
