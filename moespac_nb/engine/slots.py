"""Slots on the device: the expert that each holds, its state, and which resident is evicted next.

A slot goes FREE → LOADING (its copy is under way) → READY (may be read, may be evicted) ⇄ PINNED (is being
read), and READY or LOADING → FREE. Each time it is given to another expert its generation goes up.

Each expert has a score; among equal scores the layer that the pass comes to sooner ranks higher. An expert's
key is layer · experts + expert. Plain lists: they are read and written one by one, many times a
layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heappop, heappush, heapreplace
from typing import Any

import numpy as np

__all__ = ["EMPTY", "FREE", "LOADING", "PINNED", "READY", "STATES", "Priority", "Slots"]

FREE, LOADING, READY, PINNED = range(4)
STATES = ("free", "loading", "ready", "pinned")
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
        """Return the priority of a key: its score, tie-break included."""
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
    priority : Priority
        The scores.

    Attributes
    ----------
    state : list of int
        Each slot's, see `STATES`.
    owner : list of int
        The key that each slot holds or is loading; `EMPTY` for none.
    where : list of dict
        By layer, from expert to slot, loading ones too.
    absent : ndarray of bool, shape (layers * experts,)
        The keys that are neither in a slot nor on their way.

    Examples
    --------
    >>> slots = Slots(layers=2, experts=4, slots=3, priority=Priority(2, 4))
    >>> slots.load(slots.take_free(), key=5)  # expert 1 of layer 1
    >>> slots.arrive(0, pinned=False)
    >>> slots.where, slots.victim(), slots.count()
    ([{}, {1: 0}], 0, 3)
    """

    def __init__(self, layers: int, experts: int, slots: int, priority: Priority) -> None:
        self.experts = experts
        self.priority = priority
        self.state = [FREE] * slots
        self.owner = [EMPTY] * slots
        self.generation = [0] * slots
        self.used = [False] * slots  # since it was copied
        self.where: list[dict[int, int]] = [{} for _ in range(layers)]
        self.absent = np.ones(layers * experts, bool)
        self._free = list(range(slots))[::-1]
        # A heap of (priority, slot) in which each READY slot has an entry, at most its priority of now; None
        # until it is needed. Layers whose residents have been unpinned, and may lack an entry, are listed.
        self._victims: list[tuple[float, int]] | None = None
        self._unpinned: list[int] = []

    def count(self) -> int:
        """Return the number of slots."""
        return len(self.state)

    def resident(self) -> np.ndarray:
        """Return which experts can be read now, (layers, experts) bool."""
        resident = ~self.absent
        pairs = zip(self.owner, self.state, strict=True)
        resident[[key for key, state in pairs if state == LOADING]] = False
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
            heappush(self._victims, (self.priority.of(self.owner[slot]), slot))

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
        """Return a slot that was taken or evicted."""
        self._free.append(slot)

    def victim(self) -> int | None:
        """Return the READY slot with the lowest score, or None. It is not evicted."""
        heap, state, owner = self._heap(), self.state, self.owner
        while heap:
            noted, slot = heap[0]
            if state[slot] != READY:
                heappop(heap)
            elif (priority := self.priority.of(owner[slot])) == noted:
                return slot
            else:
                heapreplace(heap, (priority, slot))  # it has gained since
        return None

    def reorder(self) -> None:
        """Note that scores or the pass have changed."""
        self._victims = None
        self._unpinned = []

    def resize(self, slots: int) -> list[tuple[int, int]]:
        """Change the number of slots, with none loading or pinned, and room for all residents.

        Parameters
        ----------
        slots : int
            How many there are to be.

        Returns
        -------
        list of (int, int)
            The old and the new slot of each resident that has moved.
        """
        moves = []
        empty = (slot for slot in range(slots) if self.owner[slot] == EMPTY)
        for old in range(slots, self.count()):
            if (key := self.owner[old]) != EMPTY:
                new = next(empty)
                self.evict(old)
                self.load(new, key)
                self.state[new], self.used[new] = READY, self.used[old]
                moves.append((old, new))
        columns: list[tuple[list[Any], Any]] = [
            (self.state, FREE), (self.owner, EMPTY), (self.generation, 0), (self.used, False)
        ]  # fmt: skip
        for column, initial in columns:
            del column[slots:]
            column.extend([initial] * (slots - len(column)))
        self._free = [slot for slot in range(slots) if self.owner[slot] == EMPTY][::-1]
        self.reorder()
        return moves

    def _heap(self) -> list[tuple[float, int]]:
        state, owner, score, near = self.state, self.owner, self.priority.score, self.priority.nearness
        if self._victims is None:
            self._victims = [  # `priority.of`, written out: this is most of a rebuild
                (score[key] + near[key // self.experts], slot)
                for slot, key in enumerate(owner)
                if state[slot] == READY
            ]
            heapify(self._victims)
        else:
            for layer in self._unpinned:
                for slot in self.where[layer].values():
                    if state[slot] == READY:
                        heappush(self._victims, (score[owner[slot]] + near[layer], slot))
        self._unpinned = []
        return self._victims
