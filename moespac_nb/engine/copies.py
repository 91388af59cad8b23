"""Copies into slots: which are on the link, and which residents made room for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial

from ..hardware.costs import Costs
from .devices import Device, Event, OperationError
from .log import Log, SlotChange
from .placement import Counters, PendingExpert
from .slots import EMPTY, Priority, Slots

__all__ = ["SlotLoader"]


class SlotLoader:
    """Fill slots over the link, and evict what makes room. The part of an `Engine` that does not decide.

    Parameters
    ----------
    device : Device
        Runs the copies on its link.
    layers, experts : int
        The model's layers, and experts in each.
    slots : int
        Experts that there is room for, over all layers.
    costs : Costs
        Modelled times, and the size of an expert.
    copy : callable, optional
        ``copy(layer, expert, slot)`` brings the weights, on the link's lane. None where time is modelled.
    log : list, optional
        Events are appended to it, see `engine.log`.
    """

    def __init__(
        self,
        device: Device,
        layers: int,
        experts: int,
        slots: int,
        costs: Costs,
        copy: Callable[[int, int, int], object] | None,
        log: Log | None,
    ) -> None:
        self.device = device
        self.layers, self.experts = layers, experts
        self.counters = Counters()
        self._costs = costs
        self._copy = copy
        self._log = log
        self._evicted = (EMPTY, 0.0)  # the key that has just had to go, and its score, where there is a log
        self._worth = Priority(layers, experts)
        self._slots = Slots(layers, experts, slots, self._worth)
        self._flights: deque[int] = deque()  # slots being loaded, in the order of the link
        self._event: dict[int, Event] = {}  # of each of them
        self._due: dict[int, float] = {}  # when each is expected, by the costs
        self._link_due = 0.0
        self._awaited: set[int] = set()  # loading slots that a layer waits for
        self._copy_s = costs.copy_s()
        self._labels = [f"copy L{key // experts} E{key % experts}" for key in range(layers * experts)]

    @property
    def slots(self) -> Slots:
        """The slots, to be read."""
        return self._slots

    def drain(self) -> None:
        """Wait for the copies under way."""
        while self._flights:
            self._land(self._flights.popleft())

    def _start(self, key: int, slot: int, demand: bool = False) -> None:
        run = partial(self._copy, *divmod(key, self.experts), slot) if self._copy else None
        size_bytes = self._costs.expert_bytes
        self._slots.load(slot, key)
        self._event[slot] = self.device.submit("link", self._copy_s, run, (), self._labels[key], size_bytes)
        self._link_due = max(self._link_due, self.device.now()) + self._copy_s
        self._due[slot] = self._link_due
        self._flights.append(slot)
        self.counters.copies += 1
        self.counters.bytes += size_bytes
        self._note(slot, key, loading=True, demand=demand)

    def _await(self, expert: int, slot: int, positions: int) -> PendingExpert:
        self._awaited.add(slot)
        return PendingExpert(expert, slot, self._slots.generation[slot], positions, self._event[slot])

    def _holds(self, pending: PendingExpert) -> bool:
        slots = self._slots
        return slots.generation[pending.slot] == pending.generation and slots.owner[pending.slot] != EMPTY

    def _land_finished(self) -> None:
        flights, done, event = self._flights, self.device.done, self._event
        while flights and done(event[flights[0]]):
            self._land(flights.popleft())

    def _land(self, slot: int) -> None:
        try:
            self.device.wait(self._event.pop(slot))
        except OperationError:
            self.counters.failed_copies += 1
            self.counters.wasted_bytes += self._costs.expert_bytes
            self._awaited.discard(slot)
            self._slots.evict(slot)
            self._slots.free(slot)
            self._note(slot, EMPTY)
            return
        pinned = slot in self._awaited
        self._slots.used[slot] = pinned
        self._slots.arrive(slot, pinned)
        self._note(slot, self._slots.owner[slot])
        if self._slots.surplus:
            self._shrink()

    def _evict(self, slot: int) -> None:
        self.counters.evictions += 1
        if not self._slots.used[slot]:
            self.counters.wasted_bytes += self._costs.expert_bytes
        if self._log is not None:
            key = self._slots.owner[slot]
            self._evicted = (key, self._worth.score[key])
        self._slots.evict(slot)

    def _empty(self, slot: int) -> None:
        self._evict(slot)
        self._slots.free(slot)
        self._note(slot, EMPTY)

    def _shrink(self) -> None:
        while self._slots.surplus and (slot := self._slots.victim()) is not None:
            self._empty(slot)

    def _note(self, slot: int, key: int, loading: bool = False, demand: bool = False) -> None:
        if self._log is not None:
            (evicted, evicted_score), self._evicted = self._evicted, (EMPTY, 0.0)
            score = 0.0 if key == EMPTY else self._worth.score[key]
            self._log.append(SlotChange(slot, key, loading, evicted, score, evicted_score, demand))
