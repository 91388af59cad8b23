"""Exercises of notebook 06: what a timeline tells, a layer without a race, a slot's states, one order."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.engine.devices import Operation, VirtualDevice
from moespac_nb.engine.engine import Engine
from moespac_nb.engine.slots import STATES
from moespac_nb.hardware.costs import Costs, cost_model

from ..exercise import Exercise

__all__ = ["EXERCISES"]

COPY = 2
Expert = tuple[str, int, int]  # its name, its score, its layer


@lru_cache(maxsize=1)
def _costs() -> Costs:
    """Return costs with copies of 2, and a CPU lane that is never waited for.

    Seconds stand for whole milliseconds.
    """
    costs = cost_model("rtx4090", "qwen3-30b-a3b")
    return replace(costs, copy_alpha_s=float(COPY), expert_bytes=1, link_bytes_per_s=1e30, expert_flops=1)


# 06.1


def _judged(answer: Callable[..., Any], case: tuple[list[int], int, int, int]) -> str | None:
    copied, pump_at_ms, after_ms, expert = case
    device = VirtualDevice()
    engine = Engine(device, 1, 4, 4, _costs())
    device.charge(pump_at_ms)
    wanted = np.isin(np.arange(4), copied)[None]
    engine.set_priorities(-np.arange(4.0)[None], wanted)
    engine.pump()
    device.charge(after_ms)
    at_ms = pump_at_ms + after_ms
    engine.layer(0, [expert], [1])
    right = next(name for name in ("ready", "late", "miss") if getattr(engine.counters, name))
    copies = [(int(op.label.rpartition("E")[2]), *_span(op)) for op in _link(device)]
    returned = answer(list(copies), at_ms, expert)
    if returned == right:
        return None
    if returned not in ("ready", "late", "miss"):
        return f'for expert {expert} it returned {returned!r}; one of "ready", "late", "miss" is asked for'
    why = {
        "ready": "its copy had come by then",
        "late": "the link had been given its copy, which had not come",
        "miss": "no copy of it had been given to the link",
    }[right]
    return (
        f"copies {copies}; the layer begins at {at_ms} ms and asks for expert {expert}: it returned "
        f"{returned!r}, but {why}"
    )


def _link(device: VirtualDevice) -> list[Operation]:
    return [op for op in device.timeline() if op.lane == "link"]


def _span(op: Operation) -> tuple[int, int]:
    return round(op.start), round(op.end)


# 06.2


def _safe(answer: Callable[..., Any], case: tuple[int, int, int, int]) -> str | None:
    copy_ms, ready_ms, late_ms, cpu_ms = case
    device, copy = _copying(copy_ms)
    returned = answer(device, copy, ready_ms, late_ms, cpu_ms)
    returned_ms = round(device.now())
    call = (
        f"the copy takes {copy_ms} ms, the experts in their slots {ready_ms} ms, the late one {late_ms} ms, "
        f"the CPU's share {cpu_ms} ms"
    )
    ran = {op.label: op for op in device.timeline() if op.lane != "link"}
    for label, lane, ms in (("ready", "gpu", ready_ms), ("late", "gpu", late_ms), ("cpu", "cpu", cpu_ms)):
        op = ran.get(label)
        if op is None or op.lane != lane or _span(op)[1] - _span(op)[0] != ms:
            return f"{call}: no operation of {ms} ms with the label {label!r} was submitted to lane {lane!r}"
    if len(ran) > 3:
        return f"{call}: three operations are asked for, and {len(ran)} were submitted"
    if _span(ran["late"])[0] < copy_ms:
        return (
            f"{call}: the late expert is read from {_span(ran['late'])[0]} ms on, and its copy comes at "
            f"{copy_ms} ms. What it reads before is the expert that was there"
        )
    last_ms = max(_span(op)[1] for op in ran.values())
    if returned_ms < last_ms:
        return f"{call}: it returns at {returned_ms} ms, while something computes until {last_ms} ms"
    if returned != device.now():
        return f"{call}: it returned {returned!r}; asked for is device.now(), which was {returned_ms}"
    least_ms = _least_ms(case)
    if returned_ms > least_ms:
        late = f"safe, but through at {returned_ms} ms, and {least_ms} ms would do"
        return f"{call}: {late}. Who waits for whom?"
    return None


def _least_ms(case: tuple[int, int, int, int]) -> int:
    copy_ms, ready_ms, late_ms, cpu_ms = case
    device, copy = _copying(copy_ms)
    device.submit("gpu", ready_ms)
    cpu = device.submit("cpu", cpu_ms)
    for event in (device.submit("gpu", late_ms, after=[copy]), cpu):
        device.wait(event)
    return round(device.now())


def _copying(copy_ms: int) -> tuple[VirtualDevice, Any]:
    device = VirtualDevice()
    return device, device.submit("link", copy_ms, label="copy")


# 06.3

EVENTS = {
    "wanted": "an expert that is worth more is wanted",
    "come": "its copy comes",
    "failed": "its copy fails",
    "begins": "the layer of its expert begins",
    "through": "the layer is through",
}
MOMENTS = (
    ("free", "wanted"),
    ("loading", "come"),
    ("loading", "wanted"),
    ("loading", "begins"),
    ("loading", "failed"),
    ("ready", "begins"),
    ("ready", "wanted"),
    ("pinned", "wanted"),
    ("pinned", "through"),
)
WHY = {
    ("loading", "wanted"): "a copy under way cannot be called back",
    ("loading", "begins"): "what has not come cannot be read",
    ("loading", "failed"): "there is no expert in it",
    ("ready", "wanted"): "it makes room at once, and the link copies into it",
    ("pinned", "wanted"): "a layer reads from it",
    ("pinned", "through"): "the expert stays, until somebody needs the room",
}


def _state(answer: Callable[..., Any], case: tuple[str, str]) -> str | None:
    state, event = case
    returned, right = answer(state, event), _after(state, event)
    if returned == right:
        return None
    if returned not in STATES:
        return f"{returned!r} is no state of a slot; expected: {', '.join(STATES)}"
    why = WHY.get(case)
    return f"the slot is {state} and {EVENTS[event]}: it returned {returned!r}" + (
        f", but {why}" if why else ""
    )


def _after(state: str, event: str) -> str:
    """Return what becomes of an engine's only slot."""
    fails = event == "failed"
    engine = Engine(VirtualDevice(fails=lambda *_: fails), 1, 2, 1, _costs())

    def want(expert: int) -> None:
        scores = np.eye(2)[[expert]] * (1.0 + expert)
        engine.set_priorities(scores, scores > 0)
        engine.pump()

    if state == "free":
        want(1)
        return STATES[engine.slots.state[0]]
    want(0)
    placement = None
    if state != "loading":
        engine.drain()
    if state == "pinned":
        placement = engine.layer(0, [0], [1])
    if event == "wanted":
        want(1)
    elif event in ("come", "failed"):
        engine.drain()
    elif event == "begins":
        engine.layer(0, [0], [1])
    elif placement is not None:
        engine.release(placement)
    return STATES[engine.slots.state[0]]


# 06.4


def _ordered(answer: Callable[..., Any], case: tuple[list[tuple[int, int]], int, int]) -> str | None:
    cells, held, free = case
    everybody: list[Expert] = [(f"E{at}", score, layer) for at, (score, layer) in enumerate(cells)]
    residents, requests = everybody[:held], everybody[held:]
    returned = answer(list(residents), list(requests), free)
    moves = _moves(residents, requests, free)
    call = f"in slots {residents}, {free} free, wanted {requests}: it returned {returned!r}"
    if not _are_moves(returned):
        return f"{call}; a list of pairs of names is asked for: who comes, and who goes or None"
    got = [tuple(move) for move in returned]
    for at, (mine, right) in enumerate(zip(got, moves, strict=False), 1):
        if mine != right:
            return f"{call}. Copy {at} is not right: {_why(mine, right, everybody)}"
    if len(got) < len(moves):
        return f"{call}. The link goes on after that: somebody wanted beats a resident, or a slot is free"
    if len(got) > len(moves):
        return f"{call}. Copy {len(moves) + 1} must not be: who is wanted beats nobody, and no slot is free"
    return None


def _why(mine: tuple[Any, ...], right: tuple[Any, ...], everybody: Sequence[Expert]) -> str:
    score = {name: score for name, score, _ in everybody}
    if mine[0] != right[0]:
        if score.get(mine[0]) == score[right[0]]:
            return "of equal scores the layer that comes sooner is copied first"
        return "the highest score is copied first, whoever asked first"
    if right[1] is None:
        return "while a slot is free nobody has to go"
    if mine[1] is None:
        return "no slot is free"
    if score.get(mine[1]) == score[right[1]]:
        return "of equal scores the one whose layer comes last makes room"
    return "the weakest resident makes room"


def _are_moves(moves: Any) -> bool:
    return isinstance(moves, list | tuple) and all(
        isinstance(move, list | tuple) and len(move) == 2 for move in moves
    )


def _moves(
    residents: Sequence[Expert], requests: Sequence[Expert], free: int
) -> list[tuple[str, str | None]]:
    """Return what the engine does, a copy at a time."""
    everybody = [*residents, *requests]
    device = VirtualDevice()
    engine = Engine(device, 3, max(1, len(everybody)), len(residents) + free, _costs(), in_flight=1)
    scores, wanted = np.zeros((3, engine.experts)), np.zeros((3, engine.experts), bool)
    moves: list[tuple[str, str | None]] = []
    for experts in (residents, requests):
        wanted[:] = False
        for at, (_, score, layer) in enumerate(everybody):
            scores[layer, at] = score
            wanted[layer, at] = everybody[at] in experts
        engine.set_priorities(scores, wanted)
        moves.clear()
        while True:
            before = set(engine.slots.owner)
            engine.pump()
            engine.drain()
            came, went = set(engine.slots.owner) - before, before - set(engine.slots.owner)
            if not came:
                break
            names = [
                {everybody[key % engine.experts][0] for key in keys if key >= 0} for keys in (came, went)
            ]
            moves.append((names[0].pop(), names[1].pop() if names[1] else None))
    return moves


EXERCISES = (
    Exercise(
        "06.1",
        "Ready, late or missed?",
        takes="a function of (copies, at_ms, expert)",
        cases=st.tuples(
            st.lists(st.integers(0, 3), max_size=4, unique=True),
            st.integers(0, 2),
            st.integers(0, 8),
            st.integers(0, 3),
        ),
        fault=_judged,
    ),
    Exercise(
        "06.2",
        "A layer without a race",
        takes="a function of (device, copy, ready, late, cpu)",
        cases=st.tuples(*[st.integers(1, 4)] * 4),
        fault=_safe,
    ),
    Exercise("06.3", "What a slot may do", takes="a function of (state, event)", cases=MOMENTS, fault=_state),
    Exercise(
        "06.4",
        "One order",
        takes="a function of (residents, requests, free)",
        cases=st.lists(
            st.tuples(st.integers(1, 3), st.integers(0, 2)), min_size=1, max_size=5, unique=True
        ).flatmap(lambda cells: st.tuples(st.just(cells), st.integers(0, len(cells)), st.integers(0, 1))),
        fault=_ordered,
    ),
)
