"""Slots on the device: the expert that each holds, its state, and which resident is evicted next.

A slot goes FREE → LOADING (its copy is under way) → READY (may be read, may be evicted) ⇄ PINNED (is being
read), and READY or LOADING → FREE. Each time it is given to another expert its generation goes up. A slot
that a smaller budget took away is RETIRED.

Each expert has a score; among equal scores the layer that the pass comes to sooner ranks higher. An expert's
key is layer · experts + expert. Plain lists: they are read and written one by one, many times a
layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace

import numpy as np

__all__ = ["EMPTY", "FREE", "LOADING", "PINNED", "READY", "RETIRED", "STATES", "Priority", "Slots"]

FREE, LOADING, READY, PINNED, RETIRED = range(5)
STATES = ("free", "loading", "ready", "pinned", "retired")
EMPTY = -1
# Weighs one layer of distance against scores: it never outweighs a difference of 1e-4 in them.
NEARER = 2.0**-24


class Priority:
    """A score for each expert, and a tie-break by the layer that the pass comes to sooner."""

    def __init__(self, layers: int, experts: int) -> None:
        self.experts = experts
        self.score = [0.0] * (layers * experts)  # by key
        self._start = [NEARER * (layers - layer) for layer in range(layers)]
        self._passed = [near - NEARER * layers for near in self._start]
        self.nearness = self._start.copy()  # by layer

    def of(self, key: int) -> float:
        """Return the score of a key, tie-break included."""
        return self.score[key] + self.nearness[key // self.experts]

    def begin_pass(self) -> None:
        """Begin a pass: the first layer comes next."""
        self.nearness[:] = self._start

    def passed(self, layer: int) -> None:
        """Note that this layer comes again in the next pass only."""
        self.nearness[layer] = self._passed[layer]


class Slots:
    """The states of all slots, and the residents by score.

    Parameters
    ----------
    layers, experts : int
        The model's layers, and experts in each.
    slots : int
        Slots in all.
    worth : Priority
        The scores.
    """

    def __init__(self, layers: int, experts: int, slots: int, worth: Priority) -> None:
        self.experts = experts
        self.worth = worth
        self.state = [FREE] * slots
        self.owner = [EMPTY] * slots  # the key it holds or is loading
        self.generation = [0] * slots
        self.used = [False] * slots  # since it was copied
        self.where: list[dict[int, int]] = [{} for _ in range(layers)]  # expert → slot, loading ones too
        self.absent = np.ones(layers * experts, bool)  # by key: neither here nor on its way
        self._free = list(range(slots))[::-1]
        self.surplus = 0  # slots that a smaller budget has yet to take away
        # A heap of (worth, slot) in which each READY slot has an entry, at most its worth of now; None until
        # it is asked for. Layers whose residents have been let go, and may lack one, are listed.
        self._victims: list[tuple[float, int]] | None = None
        self._unpinned: list[int] = []

    def count(self) -> int:
        """Return the number of slots, without those that are retired or about to be."""
        return len(self.state) - self.state.count(RETIRED) - self.surplus

    def resident(self) -> np.ndarray:
        """Return which experts can be read now, (layers, experts) bool."""
        held = zip(self.owner, self.state, strict=True)
        keys = [key for key, state in held if state in (READY, PINNED)]
        resident = np.zeros(len(self.absent), bool)
        resident[keys] = True
        return resident.reshape(-1, self.experts)

    def take_free(self) -> int | None:
        """Take a free slot, or return None. The caller must load it or return it with `free`."""
        return self._free.pop() if self._free else None

    def sort_free(self) -> None:
        """Order the free slots, so that they are taken by their number."""
        self._free.sort(reverse=True)

    def load(self, slot: int, key: int) -> None:
        """Give a free slot to an expert whose copy starts."""
        layer, expert = divmod(key, self.experts)
        self.state[slot] = LOADING
        self.owner[slot] = key
        self.generation[slot] += 1
        self.used[slot] = False
        self.where[layer][expert] = slot
        self.absent[key] = False

    def arrive(self, slot: int, pinned: bool) -> None:
        """Mark a slot whose copy has completed as readable."""
        self.state[slot] = PINNED if pinned else READY
        if self._victims is not None and not pinned:
            heappush(self._victims, (self.worth.of(self.owner[slot]), slot))

    def unpin(self, layer: int, slots: Iterable[int]) -> None:
        """Allow the eviction of what this layer pinned."""
        for slot in slots:
            if self.state[slot] == PINNED:
                self.state[slot] = READY
        if self._victims is not None:
            self._unpinned.append(layer)

    def evict(self, slot: int) -> None:
        """Evict the slot's expert. The caller must refill the slot or return it with `free`."""
        key = self.owner[slot]
        layer, expert = divmod(key, self.experts)
        del self.where[layer][expert]
        self.absent[key] = True
        self.state[slot] = FREE
        self.owner[slot] = EMPTY

    def free(self, slot: int) -> None:
        """Return an evicted slot; it retires where there are too many."""
        if self.surplus:
            self.surplus -= 1
            self.state[slot] = RETIRED
        else:
            self._free.append(slot)

    def victim(self) -> int | None:
        """Return the READY slot with the lowest score, or None. It is not evicted."""
        heap, state, owner, worth = self._heap(), self.state, self.owner, self.worth
        while heap:
            value, slot = heap[0]
            if state[slot] != READY:
                heappop(heap)
                continue
            now = worth.of(owner[slot])
            if now == value:
                return slot
            heapreplace(heap, (now, slot))  # it has gained since
        return None

    def reorder(self) -> None:
        """Note that scores or the pass have changed."""
        self._victims = None
        self._unpinned = []

    def resize(self, slots: int) -> None:
        """Change the number of slots: new ones are free; of too many, free ones retire at once."""
        more = slots - self.count()
        spared = max(0, min(more, self.surplus))
        self.surplus += max(0, -more) - spared
        while self.surplus and self._free:
            self.free(self._free.pop())
        for _ in range(more - spared):
            if RETIRED in self.state:
                slot = self.state.index(RETIRED)
                self.state[slot] = FREE
            else:
                slot = len(self.state)
                self.state.append(FREE)
                self.owner.append(EMPTY)
                self.generation.append(0)
                self.used.append(False)
            self._free.append(slot)

    def compact(self) -> list[tuple[int, int]]:
        """Number the remaining slots without a gap; none may be loading, pinned or surplus.

        Returns
        -------
        list of (int, int)
            The old and the new slot of each resident that has moved.
        """
        size = self.count()
        moves = []
        empty = (slot for slot in range(size) if self.owner[slot] == EMPTY)
        for old in range(size, len(self.state)):
            key = self.owner[old]
            if key == EMPTY:
                continue
            new = next(empty)
            self.evict(old)
            self.load(new, key)
            self.state[new], self.used[new] = READY, self.used[old]
            moves.append((old, new))
        for column in (self.state, self.owner, self.generation, self.used):
            del column[size:]
        self._free = [slot for slot in range(size) if self.owner[slot] == EMPTY][::-1]
        for slot in self._free:
            self.state[slot] = FREE
        self.reorder()
        return moves

    def _heap(self) -> list[tuple[float, int]]:
        state, worth = self.state, self.worth
        if self._victims is None:
            score, near, experts = worth.score, worth.nearness, self.experts
            self._victims = [
                (score[key] + near[key // experts], slot)  # `worth.of`, written out: most of a rebuild
                for slot, key in enumerate(self.owner)
                if state[slot] == READY
            ]
            heapify(self._victims)
            self._unpinned = []
        elif self._unpinned:
            heap = self._victims
            for layer in self._unpinned:
                score, nearness, first = worth.score, worth.nearness[layer], layer * self.experts
                for expert, slot in self.where[layer].items():
                    if state[slot] == READY:
                        heappush(heap, (score[first + expert] + nearness, slot))
            self._unpinned = []
        return self._victims
