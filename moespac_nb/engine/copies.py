"""Copies into slots: which are requested, which are on the link, and which residents make room for them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from heapq import heapify, heappop, heapreplace
from typing import NamedTuple

import numpy as np

from ..hardware.costs import Costs
from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole
from .devices import Device, Event, OperationError
from .log import Log, Requests, SlotChange
from .placement import Counters, PendingExpert
from .slots import EMPTY, Priority, Slots

__all__ = ["SlotLoader"]


class _Flight(NamedTuple):
    """A copy on the link."""

    event: Event
    due_s: float  # when it is expected, by the costs


class SlotLoader:
    """Fill slots over the link, and evict what makes room. Parameters are those of `Engine`."""

    def __init__(
        self,
        device: Device,
        layers: int,
        experts: int,
        slots: int,
        costs: Costs,
        copy: Callable[[int, int, int], object] | None = None,
        in_flight: int = 4,
        log: Log | None = None,
    ) -> None:
        self.device = device
        self.layers = checked_whole("layers", layers, least=1)
        self.experts = checked_whole("experts", experts, least=1)
        self.counters = Counters()
        self._costs = costs
        self._copy = copy
        self._in_flight = checked_whole("in_flight", in_flight, least=1)
        self._log = log
        self._evicted = (EMPTY, 0.0)  # the key that has just had to go, and its score, where there is a log
        self._priority = Priority(layers, experts)
        self.slots = Slots(layers, experts, checked_whole("slots", slots, least=0), self._priority)
        self._requests: list[tuple[float, int]] = []  # a heap of (-priority as it was or less, key)
        self._flights: dict[int, _Flight] = {}  # by slot, in the order of the link
        self._link_due_s = 0.0
        self._awaited: set[int] = set()  # loading slots that a layer waits for
        self._copy_s = costs.copy_s()
        self._labels = [f"copy L{key // experts} E{key % experts}" for key in range(layers * experts)]

    def set_priorities(self, scores: np.ndarray, prefetch: np.ndarray | None = None) -> None:
        """Replace all scores and requests; copies under way go on.

        Parameters
        ----------
        scores : ndarray, shape (layers, experts)
            Experts with higher scores are copied first and evicted last.
        prefetch : ndarray of bool, shape (layers, experts), optional
            Experts to copy if they are absent; None for none.

        Raises
        ------
        InvalidInputError
            A shape is wrong, or a score is not finite.
        """
        shape = (self.layers, self.experts)
        for name, array in (("scores", scores), ("prefetch", prefetch)):
            if array is not None and array.shape != shape:
                raise InvalidInputError(
                    f"{name} has shape {array.shape}; expected: {shape}, layers × experts"
                )
        flat = np.ascontiguousarray(scores, np.float64).ravel()
        if not np.isfinite(flat.sum()):
            raise InvalidInputError("the scores hold a number that is not finite; expected: finite numbers")
        self._priority.score = flat.tolist()
        self.slots.reorder()
        self._requests = []
        if prefetch is not None:
            keys = np.flatnonzero(prefetch.ravel() & self.slots.absent)
            priorities = flat[keys] + np.array(self._priority.nearness)[keys // self.experts]
            self._requests = list(zip((-priorities).tolist(), keys.tolist(), strict=True))
            heapify(self._requests)
            if self._log is not None:
                self._log.append(Requests(prefetch.copy()))

    def begin_pass(self) -> None:
        """Begin a pass: the first layer comes next, which reorders equal scores."""
        self._priority.begin_pass()
        self.slots.reorder()
        self._requests = sorted((-self._priority.of(key), key) for _, key in self._requests)  # a heap too

    def pump(self) -> None:
        """Note completed copies, and hand the link the best requests, up to `in_flight` copies."""
        if self._flights:
            self._land_finished()
        requests, priority, slots = self._requests, self._priority, self.slots
        while requests and len(self._flights) < self._in_flight:
            noted, key = requests[0]
            if not slots.absent[key]:
                heappop(requests)
                continue
            now = -priority.of(key)
            if now != noted:  # its layer has passed
                heapreplace(requests, (now, key))
                continue
            slot = slots.take_free()
            if slot is None:
                slot = slots.victim()
                if slot is None or priority.score[slots.owner[slot]] >= priority.score[key]:
                    return
                self._evict(slot)
            heappop(requests)
            self._start(key, slot)

    def drain(self) -> None:
        """Wait for the copies under way."""
        while self._flights:
            self._land_oldest()

    def _start(self, key: int, slot: int, demand: bool = False) -> None:
        run = partial(self._copy, *divmod(key, self.experts), slot) if self._copy else None
        size_bytes = self._costs.expert_bytes
        self.slots.load(slot, key)
        event = self.device.submit("link", self._copy_s, run, (), self._labels[key], size_bytes)
        self._link_due_s = max(self._link_due_s, self.device.now()) + self._copy_s
        self._flights[slot] = _Flight(event, self._link_due_s)
        self.counters.copies += 1
        self.counters.bytes += size_bytes
        self._note(slot, key, loading=True, demand=demand)

    def _await(self, expert: int, slot: int, positions: int) -> PendingExpert:
        self._awaited.add(slot)
        event = self._flights[slot].event
        return PendingExpert(expert, slot, self.slots.generation[slot], positions, event)

    def _holds(self, pending: PendingExpert) -> bool:
        slots = self.slots
        return slots.generation[pending.slot] == pending.generation and slots.owner[pending.slot] != EMPTY

    def _room(self, waits: bool) -> int | None:
        """Return a slot for a copy on demand: a free one or the victim's, whatever its score."""
        while True:
            slot = self.slots.take_free()
            if slot is None and (slot := self.slots.victim()) is not None:
                self._evict(slot)
            if slot is not None or not waits or not self._flights:
                return slot
            self._land_oldest()

    def _land_finished(self) -> None:
        flights, done = self._flights, self.device.done
        while flights and done(next(iter(flights.values())).event):
            self._land_oldest()

    def _land_oldest(self) -> None:
        slot = next(iter(self._flights))
        flight = self._flights.pop(slot)
        try:
            self.device.wait(flight.event)
        except OperationError:
            self.counters.failed_copies += 1
            self.counters.wasted_bytes += self._costs.expert_bytes
            self._awaited.discard(slot)
            self.slots.evict(slot)
            self.slots.free(slot)
            self._note(slot, EMPTY)
            return
        pinned = slot in self._awaited
        self.slots.used[slot] = pinned
        self.slots.arrive(slot, pinned)
        self._note(slot, self.slots.owner[slot])

    def _evict(self, slot: int) -> None:
        self.counters.evictions += 1
        if not self.slots.used[slot]:
            self.counters.wasted_bytes += self._costs.expert_bytes
        if self._log is not None:
            key = self.slots.owner[slot]
            self._evicted = (key, self._priority.score[key])
        self.slots.evict(slot)

    def _empty(self, slot: int) -> None:
        self._evict(slot)
        self.slots.free(slot)
        self._note(slot, EMPTY)

    def _note(self, slot: int, key: int, loading: bool = False, demand: bool = False) -> None:
        if self._log is not None:
            (evicted, evicted_score), self._evicted = self._evicted, (EMPTY, 0.0)
            score = 0.0 if key == EMPTY else self._priority.score[key]
            self._log.append(SlotChange(slot, key, loading, evicted, score, evicted_score, demand))
