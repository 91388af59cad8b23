"""Where the experts of one layer compute, and what is counted of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

from .devices import Event

__all__ = ["MISSES", "Counters", "LayerDispatch", "Miss", "PendingExpert"]

Miss = Literal["cpu", "load", "cheaper"]
MISSES: dict[Miss, str] = {
    "cpu": "a missing expert computes on the CPU lane",
    "load": "it is copied now and waited for; experts beyond the slots take turns",
    "cheaper": "either, by which takes less time for this many positions (Fiddler's rule)",
}


@dataclass
class Counters:
    """What has happened so far. An event is one layer in one pass; experts are counted once in each.

    Every expert of an event is ready, late or a miss. Bytes are those handed to the link.
    """

    ready: int = 0  # its copy had come
    late: int = 0  # its copy was under way
    miss: int = 0  # neither
    loaded: int = 0  # misses that were copied on demand
    pairs: int = 0  # positions served, over all experts
    cpu_pairs: int = 0  # of these on the CPU lane
    copies: int = 0
    bytes: int = 0
    wasted_bytes: int = 0  # of copies that were evicted without use, or failed
    evictions: int = 0
    failed_copies: int = 0
    fallbacks: int = 0  # experts computed on the CPU lane because their copy failed


class PendingExpert(NamedTuple):
    """An expert that computes from a slot once its copy has come."""

    expert: int
    slot: int
    generation: int  # of the slot: another one, and the expert is not there
    positions: int
    event: Event


class LayerDispatch(NamedTuple):
    """Where one layer's experts compute. Times are modelled, of the whole share."""

    layer: int
    ready: list[int]  # experts in their slots
    slots: list[int]  # theirs
    ready_s: float
    awaited: list[PendingExpert]  # under way, or copied on demand, in the order of the link
    cpu: list[int]
    cpu_s: float
    deferred: tuple[list[int], list[int]]  # experts and positions that take their turn after this

    @property
    def groups(self) -> list[list[PendingExpert]]:
        """Awaited experts that are computed together, once the last of them has come.

        Half of those that are left each time: few calls, and after the last copy one expert's work.
        """
        left, groups = self.awaited, []
        while left:
            half = (len(left) + 1) // 2 if len(left) > 2 else 1
            groups.append(left[:half])
            left = left[half:]
        return groups
