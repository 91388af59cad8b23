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
    """Count what has happened so far. Each expert of one layer in one pass is counted once.

    Every expert that a layer asks for is ready, late or a miss. Bytes are those handed to the link.

    Attributes
    ----------
    ready, late, miss : int
        Experts whose copy had completed, was under way, or neither.
    loaded : int
        Misses that were copied on demand.
    pairs, cpu_pairs : int
        Positions served, over all experts; of these, those that the CPU lane served.
    copies, bytes : int
        Copies, and their bytes.
    wasted_bytes : int
        Bytes of copies that were evicted without use, or failed.
    evictions : int
        Experts evicted.
    failed_copies : int
        Copies that failed.
    fallbacks : int
        Experts computed on the CPU lane because their copy failed.
    """

    ready: int = 0
    late: int = 0
    miss: int = 0
    loaded: int = 0
    pairs: int = 0
    cpu_pairs: int = 0
    copies: int = 0
    bytes: int = 0
    wasted_bytes: int = 0
    evictions: int = 0
    failed_copies: int = 0
    fallbacks: int = 0

    @property
    def requested(self) -> int:
        """Experts that layers asked for."""
        return self.ready + self.late + self.miss

    @property
    def hit_rate(self) -> float:
        """Share of the requested experts whose copy had completed."""
        return self.ready / self.requested

    @property
    def late_rate(self) -> float:
        """Share of the requested experts whose copy was under way."""
        return self.late / self.requested

    @property
    def cpu_share(self) -> float:
        """Share of all pairs of a position and an expert that the CPU lane served."""
        return self.cpu_pairs / self.pairs


class PendingExpert(NamedTuple):
    """An expert that computes from a slot once its copy has completed."""

    expert: int
    slot: int
    generation: int  # of the slot: once it has another one, the expert is not there
    positions: int
    event: Event


class LayerDispatch(NamedTuple):
    """Where one layer's experts compute. Times are modelled, of the whole share.

    Attributes
    ----------
    layer : int
        The layer.
    ready, slots : list of int
        Experts that are in a slot, and their slots.
    ready_s : float
        Seconds to compute them.
    awaited : list of PendingExpert
        Experts whose copy is under way, or starts on demand, in the order of the link.
    cpu : list of int
        Experts for the CPU lane.
    cpu_s : float
        Seconds to compute those.
    deferred : (list of int, list of int)
        Experts, and positions of each, that take their turn after this.
    """

    layer: int
    ready: list[int]
    slots: list[int]
    ready_s: float
    awaited: list[PendingExpert]
    cpu: list[int]
    cpu_s: float
    deferred: tuple[list[int], list[int]]

    @property
    def groups(self) -> list[list[PendingExpert]]:
        """Awaited experts that are computed together, once the last of their copies has completed.

        Each time half of those that are left: few calls, and after the last copy one expert's work.
        """
        left, groups = self.awaited, []
        while left:
            half = (len(left) + 1) // 2 if len(left) > 2 else 1
            groups.append(left[:half])
            left = left[half:]
        return groups
