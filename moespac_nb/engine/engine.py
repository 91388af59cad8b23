"""Asynchronous Execution Engine: what is in the slots, what is copied next, and where each expert computes.

One order of scores decides what is copied next and what is evicted. The engine has no thread: its caller
calls `pump` wherever time has passed, and the link is handed the best request of that moment, a few copies at
a time, so that no copy is stale.

A request takes a free slot, or evicts the resident with the lowest score if its own is higher. Equal scores
evict nothing; among them the layer that comes sooner is copied first, and the one that comes last is evicted.

The engine knows nothing of weights or models: `copy` does the real work, if there is any.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ..utils.exceptions import InvalidInputError
from ..utils.validation import checked_whole
from .copies import SlotLoader
from .log import LayerEnd, LayerStart, Reset
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
        ``copy(layer, expert, slot)`` brings the weights, on the link's lane; None where time is modelled.
    in_flight : int, default 4
        Copies handed to the link at a time.
    log : list, optional
        Events are appended to it, see `engine.log`.

    Attributes
    ----------
    slots : Slots
        To be read, not changed.
    counters : Counters
        What has happened so far.

    Raises
    ------
    InvalidInputError
        A size is not a whole number, or too small.

    Examples
    --------
    >>> import numpy as np
    >>> from moespac_nb import VirtualDevice, cost_model
    >>> engine = Engine(VirtualDevice(), 1, 8, slots=4, costs=cost_model("rtx4090", "qwen3-30b-a3b"))
    >>> scores = np.arange(8.0)[None]
    >>> engine.set_priorities(scores, scores >= 5)  # once a window; replaces all earlier requests
    >>> engine.pump()                               # after each drafted token, and in each layer
    >>> dispatch = engine.layer(0, [1, 7], [2, 1])  # residency is read once, residents are pinned
    >>> dispatch.cpu  # the copy of expert 7 is under way; it takes longer than the CPU lane
    [1, 7]
    >>> engine.release(dispatch)                    # once the experts have computed
    """

    _gpu_s: tuple[float, ...] = (0.0,)  # modelled seconds of one expert, by positions
    _cpu_s: tuple[float, ...] = (0.0,)

    def update_score(self, layer: int, experts: Sequence[int], score: float) -> None:
        """Raise the score of some experts of a layer, as each use does in LRU."""
        first = layer * self.experts
        for expert in experts:
            self._priority.score[first + expert] = score

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
        slots, counters, gpu_s, cpu_s = self.slots, self.counters, self._gpu_s, self._cpu_s
        # 1. Residency is read once: each expert is ready, late or absent.
        where, state, used = slots.where[layer], slots.state, slots.used
        ready: list[int] = []
        ready_slots: list[int] = []
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
                ready_slots.append(slot)
                ready_s += gpu_s[count]
        missing = len(absent)
        # 2. What is absent is computed on the CPU lane, or copied.
        to_cpu, to_load = absent, []
        if miss == "load" and slots.count():
            to_cpu, to_load = [], absent
        elif miss == "cheaper":
            to_cpu = [pair for pair in absent if cpu_s[pair[1]] <= self._copy_s + gpu_s[pair[1]]]
            to_load = [pair for pair in absent if pair not in to_cpu]
        # 3. What is late is awaited, or joins the CPU lane.
        awaited: list[PendingExpert] = []
        if late:
            now, busy_s = self.device.now(), sum(cpu_s[count] for _, count in to_cpu)
            for expert, slot, count in late:
                if miss == "load" or self._flights[slot].due_s - now <= busy_s + cpu_s[count]:
                    awaited.append(self._await(expert, slot, count))
                else:
                    to_cpu.append((expert, count))
                    busy_s += cpu_s[count]
            awaited.sort(key=lambda pending: self._flights[pending.slot].due_s)
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
        dispatch = LayerDispatch(layer, ready, ready_slots, ready_s, awaited, on_cpu, on_cpu_s, deferred)
        if self._log is not None:
            self._log.append(dispatch)
        return dispatch

    def wait_for(self, pending: PendingExpert) -> bool:
        """Wait for an awaited copy. False if it failed: its expert then counts for the CPU lane."""
        while self._holds(pending) and self.slots.state[pending.slot] == LOADING:
            self._land_oldest()
        if self._holds(pending):
            return True
        self.counters.fallbacks += 1
        self.counters.cpu_pairs += pending.positions
        return False

    def release(self, dispatch: LayerDispatch) -> None:
        """Unpin a layer that has computed. It is now the last to come again."""
        arrived = [pending.slot for pending in dispatch.awaited if self._holds(pending)]
        self._awaited.difference_update(arrived)
        is_last = not dispatch.deferred[0]
        if is_last:
            self._priority.passed(dispatch.layer)
        self.slots.unpin(dispatch.layer, dispatch.slots + arrived)
        if self._log is not None and is_last:
            self._log.append(LayerEnd(dispatch.layer))

    def resize(self, slots: int) -> list[tuple[int, int]]:
        """Wait for the copies under way, and change the number of slots, between two layers.

        Of too many residents, those with the lowest scores are evicted; the others stay, and slots are
        numbered without a gap.

        Parameters
        ----------
        slots : int
            How many there are to be.

        Returns
        -------
        list of (int, int)
            The old and the new slot of each resident that has moved.

        Raises
        ------
        InvalidInputError
            A layer has pinned slots, or `slots` is not a whole number from 0.
        """
        checked_whole("slots", slots, least=0)
        self.drain()
        if PINNED in self.slots.state:
            raise InvalidInputError("a layer has pinned slots; expected: resize once it is released")
        while np.count_nonzero(~self.slots.absent) > slots and (slot := self.slots.victim()) is not None:
            self._empty(slot)
        return self.slots.resize(slots)

    def abort(self) -> None:
        """Drop the requests and pins of a pass that was interrupted, once nothing reads the slots."""
        self._requests = []
        self._awaited.clear()
        pinned = [slot for slot, state in enumerate(self.slots.state) if state == PINNED]
        self.slots.unpin(0, pinned)
        self.slots.reorder()

    def reset(self) -> None:
        """Wait for the copies under way, then empty all slots. The counters stay."""
        self.abort()
        self.drain()
        for slot, owner in enumerate(self.slots.owner):
            if owner != EMPTY:
                self._empty(slot)
        self.slots.sort_free()
        self._priority.score = [0.0] * len(self._priority.score)
        if self._log is not None:
            self._log.append(Reset())

    def _know_times(self, positions: int) -> None:
        if positions >= len(self._gpu_s):
            counts = range(positions + 1)
            self._gpu_s = tuple(map(self._costs.gpu_s, counts))
            self._cpu_s = tuple(map(self._costs.cpu_s, counts))
