"""Asynchronous Execution Engine: what is in the slots, what is copied next, and where each expert computes.

One order of scores decides what is copied next and what is evicted. The engine has no thread: its caller
calls `pump` wherever time has passed, and the link is handed the best request of that moment, a few copies at
a time, so that no copy is stale.

    engine.set_priorities(scores, prefetch)              # once a window; replaces all earlier requests
    engine.pump()                     # after each drafted token, and in each layer
    placement = engine.layer(3, [1, 5, 9], [2, 1, 1])    # residency is read once, residents are pinned
    ...                               # the experts compute
    engine.release(placement)

A request takes a free slot, or evicts the resident with the lowest score if its own is higher. Equal scores
evict nothing; among them the layer that comes sooner is copied first, and the one that comes last is evicted.

The engine knows nothing of weights or models: `copy` does the real work, if there is any.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from heapq import heapify, heappop, heapreplace

import numpy as np

from ..hardware.costs import Costs
from ..utils.exceptions import InvalidInputError
from .copies import SlotLoader
from .devices import Device
from .log import LayerEnd, LayerStart, Log, Requests, Reset
from .placement import LayerDispatch, Miss, PendingExpert
from .slots import EMPTY, LOADING, PINNED

__all__ = ["Engine"]


class Engine(SlotLoader):
    """Decide what is copied, what is evicted, and where each expert computes.

    Not thread-safe: the device's lanes are what runs side by side.

    Parameters
    ----------
    device : Device
        Runs the copies, and has the clock.
    layers, experts : int
        The model's layers, and experts in each.
    slots : int
        Experts that there is room for, over all layers; 0 is allowed.
    costs : Costs
        Modelled times, and the size of an expert.
    copy : callable, optional
        ``copy(layer, expert, slot)`` brings the weights, on the link's lane.
    in_flight : int, default 4
        Copies handed to the link at a time.
    log : list, optional
        Events are appended to it, see `engine.log`.

    Raises
    ------
    MoespacError
        A size is not a whole number, or too small.
    """

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
        for name, value, least in (
            ("layers", layers, 1),
            ("experts", experts, 1),
            ("slots", slots, 0),
            ("in_flight", in_flight, 1),
        ):
            if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
                raise InvalidInputError(f"{name} is {value!r}; expected: a whole number, {least} and more")
        super().__init__(device, layers, experts, slots, costs, copy, log)
        self._in_flight = in_flight
        self._requests: list[tuple[float, int]] = []  # a heap of (-worth, key), worth as it was or less
        self._gpu_s: list[float] = [0.0]  # by positions
        self._cpu_s: list[float] = [0.0]

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
        MoespacError
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
        self._worth.score = flat.tolist()
        self._slots.reorder()
        self._requests = []
        if prefetch is not None:
            keys = np.flatnonzero(prefetch.ravel() & self._slots.absent)
            nearness = np.array(self._worth.nearness)
            worth = flat[keys] + nearness[keys // self.experts]
            self._requests = list(zip((-worth).tolist(), keys.tolist(), strict=True))
            heapify(self._requests)
            if self._log is not None:
                self._log.append(Requests(prefetch.copy()))

    def update_score(self, layer: int, experts: Sequence[int], score: float) -> None:
        """Raise the score of some experts of a layer, as each use does in LRU."""
        first = layer * self.experts
        for expert in experts:
            self._worth.score[first + expert] = score

    def begin_pass(self) -> None:
        """Begin a pass: the first layer comes next, which reorders equal scores."""
        self._worth.begin_pass()
        self._slots.reorder()
        self._requests = sorted((-self._worth.of(key), key) for _, key in self._requests)  # a heap too

    def pump(self) -> None:
        """Note completed copies, and hand the link the best requests up to `in_flight`."""
        if self._flights:
            self._land_finished()
        requests, worth = self._requests, self._worth
        while requests and len(self._flights) < self._in_flight:
            value, key = requests[0]
            if not self._slots.absent[key]:
                heappop(requests)
                continue
            now = -worth.of(key)
            if now != value:  # its layer has passed
                heapreplace(requests, (now, key))
                continue
            slot = self._slots.take_free()
            if slot is None:
                slot = self._slots.victim()
                if slot is None or worth.score[self._slots.owner[slot]] >= worth.score[key]:
                    return
                self._evict(slot)
            heappop(requests)
            self._start(key, slot)

    def layer(
        self, layer: int, experts: Sequence[int], positions: Sequence[int], miss: Miss = "cpu"
    ) -> LayerDispatch:
        """Decide where one layer's distinct experts compute, and pin those in slots until `release`.

        An expert whose copy is under way is awaited if the copy is expected before the CPU lane would be done
        with it; where misses are loaded, in any case.

        Parameters
        ----------
        layer : int
            The layer.
        experts : sequence of int
            Its distinct experts.
        positions : sequence of int
            Positions that each of them serves.
        miss : {"cpu", "load", "cheaper"}
            What a missing expert does, see `placement.MISSES`.

        Returns
        -------
        LayerDispatch
        """
        if self._log is not None:
            self._log.append(LayerStart(layer))
        if self._flights:
            self._land_finished()
        self._know_times(max(positions, default=0))
        slots, counters, cpu_s = self._slots, self.counters, self._cpu_s
        # 1. Residency is read once: each expert is ready, late or absent.
        where, state, used, gpu_s = slots.where[layer], slots.state, slots.used, self._gpu_s
        ready: list[int] = []
        seated: list[int] = []
        late: list[tuple[int, int, int]] = []
        absent: list[tuple[int, int]] = []
        ready_s = 0.0
        for expert, count in zip(experts, positions, strict=True):
            slot = where.get(expert)
            if slot is None:
                absent.append((expert, count))
            elif state[slot] == LOADING:
                late.append((expert, slot, count))
            else:
                state[slot] = PINNED
                used[slot] = True
                ready.append(expert)
                seated.append(slot)
                ready_s += gpu_s[count]
        # 2. What is absent goes to the CPU lane or is to be copied.
        missing = len(absent)
        to_cpu, to_load = self._shared_out(absent, miss)
        # 3. What is late is awaited, or joins the CPU lane.
        awaited: list[PendingExpert] = []
        if late:
            now, busy_s = self.device.now(), sum(cpu_s[count] for _, count in to_cpu)
            for expert, slot, count in late:
                if miss == "load" or self._due[slot] - now <= busy_s + cpu_s[count]:
                    awaited.append(self._await(expert, slot, count))
                else:
                    to_cpu.append((expert, count))
                    busy_s += cpu_s[count]
            awaited.sort(key=lambda pending: self._due[pending.slot])
        # 4. Copies on demand, as far as there is room.
        deferred: tuple[list[int], list[int]] = ([], [])
        for expert, count in to_load:
            slot = self._room(waits=miss == "load" and not ready and not awaited)
            if slot is not None:
                self._start(layer * self.experts + expert, slot, demand=True)
                awaited.append(self._await(expert, slot, count))
                counters.loaded += 1
            elif miss == "load" and (ready or awaited):
                deferred[0].append(expert)
                deferred[1].append(count)
            else:
                to_cpu.append((expert, count))
        counters.ready += len(ready)
        counters.late += len(late)
        counters.miss += missing - len(deferred[0])
        counters.pairs += sum(positions) - sum(deferred[1])
        counters.cpu_pairs += sum(count for _, count in to_cpu)
        on_cpu, on_cpu_s = [expert for expert, _ in to_cpu], sum(cpu_s[count] for _, count in to_cpu)
        placement = LayerDispatch(layer, ready, seated, ready_s, awaited, on_cpu, on_cpu_s, deferred)
        if self._log is not None:
            self._log.append(placement)
        return placement

    def wait_for(self, pending: PendingExpert) -> bool:
        """Wait for an awaited copy. False if it failed: its expert then counts for the CPU lane."""
        while self._holds(pending) and self._slots.state[pending.slot] == LOADING:
            self._land(self._flights.popleft())
        if self._holds(pending):
            return True
        self.counters.fallbacks += 1
        self.counters.cpu_pairs += pending.positions
        return False

    def release(self, placement: LayerDispatch) -> None:
        """Unpin a layer that has computed. It is now the last to come again."""
        if not placement.deferred[0]:
            self._worth.passed(placement.layer)
        arrived = [pending.slot for pending in placement.awaited if self._holds(pending)]
        self._awaited.difference_update(arrived)
        self._slots.unpin(placement.layer, placement.slots + arrived)
        if self._slots.surplus:
            self._shrink()
        if self._log is not None and not placement.deferred[0]:
            self._log.append(LayerEnd(placement.layer))

    def resize(self, slots: int) -> None:
        """Change the number of slots.

        When shrinking, evict the lowest-scoring residents; slots that are loading or pinned are retired as
        soon as they are released.
        """
        if slots < 0:
            raise InvalidInputError(f"slots is {slots}; expected: 0 and more")
        self._slots.resize(slots)
        self._shrink()

    def compact(self) -> list[tuple[int, int]]:
        """Wait for copies under way, then number the slots without a gap; see `Slots.compact`."""
        self.drain()
        return self._slots.compact()

    def abort(self) -> None:
        """Drop the requests and pins of a pass that was interrupted, once nothing reads the slots."""
        self._requests = []
        self._awaited.clear()
        pinned = [slot for slot, state in enumerate(self._slots.state) if state == PINNED]
        self._slots.unpin(0, pinned)
        self._slots.reorder()
        self._shrink()

    def reset(self) -> None:
        """Wait for the copies under way, then empty all slots. The counters stay."""
        self.abort()
        self.drain()
        for slot, owner in enumerate(self._slots.owner):
            if owner != EMPTY:
                self._empty(slot)
        self._slots.sort_free()
        self._worth.score = [0.0] * len(self._worth.score)
        if self._log is not None:
            self._log.append(Reset())

    def _shared_out(
        self, absent: list[tuple[int, int]], miss: Miss
    ) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
        """Experts and their positions: those that go to the CPU lane, and those to be copied."""
        if miss == "cpu" or (miss == "load" and absent and not self._slots.count()):
            return absent, []
        if miss == "load":
            return [], absent
        cpu_s, gpu_s, copy_s = self._cpu_s, self._gpu_s, self._copy_s
        stays: list[tuple[int, int]] = []
        goes: list[tuple[int, int]] = []
        for one in absent:
            (stays if cpu_s[one[1]] <= copy_s + gpu_s[one[1]] else goes).append(one)
        return stays, goes

    def _room(self, waits: bool) -> int | None:
        """A slot for a copy on demand: a free one or the weakest's, whatever its score."""
        while True:
            slot = self._slots.take_free()
            if slot is None and (slot := self._slots.victim()) is not None:
                self._evict(slot)
            if slot is not None or not waits or not self._flights:
                return slot
            self._land(self._flights.popleft())

    def _know_times(self, positions: int) -> None:
        for count in range(len(self._gpu_s), positions + 1):
            self._gpu_s.append(self._costs.gpu_s(count))
            self._cpu_s.append(self._costs.cpu_s(count))
