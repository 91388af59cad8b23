"""Slot history of a replay: residents, loads and evictions per window, with the scores behind each eviction.

    seen = slot_history(trace, "spac-joint", "17%", machine="rtx4090")
    seen.owners(window=12, moment=3)           # (slots,) which expert each slot held
    seen.why(12, layer=4, expert=17)           # its last eviction: its score, and that of who took its slot

A moment of a window is 0 until its draft stands, and 1 + l while layer l computes. An expert's key is
layer · experts + expert. The replay is the ordinary one, with a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..engine.log import (
    LayerEnd,
    LayerStart,
    Log,
    Requests,
    Reset,
    SlotChange,
    WindowEnd,
    WindowStart,
)
from ..engine.placement import LayerDispatch
from ..engine.slots import EMPTY
from ..policies import Policy
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.defaults import BUDGET, POLICY
from .demand import expert_demand
from .replay import replay
from .result import Result

__all__ = ["CPU", "LATE", "LOADED", "READY", "SERVED", "SlotEvent", "SlotHistory", "read_log", "slot_history"]

SERVED = ("not asked for", "from its slot", "from its slot, awaited", "copied on demand", "on the CPU lane")
_NOT, READY, LATE, LOADED, CPU = range(5)


class SlotEvent(NamedTuple):
    """A copy that starts, one that has come (`key` alone is then told), or a slot emptied for nobody.

    The last has come too, and its `key` is NOBODY.
    """

    window: int
    moment: int
    came: bool
    slot: int
    key: int
    old: int  # the key that had to go, NOBODY for none
    score: float  # of the key, when it was copied
    old_score: float  # of who had to go
    demand: bool  # copied because a layer was waiting for it; such a copy need not beat anyone


@dataclass(frozen=True, eq=False)
class SlotHistory:
    """Windows × layers × experts, and all moves in the order in which they happened."""

    result: Result
    geometry: MoEShape
    slots: int
    counts: np.ndarray  # (windows, layers, experts) positions that asked for each expert
    served: np.ndarray  # alike, an index into SERVED
    wanted: np.ndarray  # alike, bool: an order of the window, or that it began with, wanted it copied
    scores: np.ndarray  # alike: what it was worth as the window ended
    tau: np.ndarray | None  # (windows, layers): scores from here on were wanted; None: no threshold
    moves: tuple[SlotEvent, ...] = field(repr=False)

    @property
    def windows(self) -> int:
        return len(self.counts)

    def owners(self, window: int, moment: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Each slot's key, NOBODY for none, and whether its copy was still under way, (slots,) both."""
        owner, loading = np.full(self.slots, EMPTY), np.zeros(self.slots, bool)
        for move in self.moves:
            if (move.window, move.moment) > (window, moment):
                break
            owner[move.slot], loading[move.slot] = move.key, not move.came
        return owner, loading

    @property
    def resident(self) -> np.ndarray:
        """Whose copy was in a slot as each window began, (windows, layers, experts) bool."""
        held = np.zeros((self.windows, self.geometry.layers * self.geometry.experts), bool)
        now, window = np.zeros(held.shape[1], bool), 0
        for move in self.moves:
            while (window, 0) < (move.window, move.moment):
                held[window], window = now, window + 1
            if move.old != EMPTY:
                now[move.old] = False
            elif move.came:
                now[move.key] = True
        held[window:] = now
        return held.reshape(self.counts.shape)

    def why(self, window: int, layer: int, expert: int) -> SlotEvent | None:
        """The copy that last took this expert's slot, up to the end of the window; None if none has."""
        key = layer * self.geometry.experts + expert
        past = (each for each in reversed(self.moves) if each.window <= window and not each.came)
        taken = (each for each in past if each.old == key)
        return next(taken, None)


def slot_history(
    trace: Trace,
    policy: str | Policy = POLICY,
    budget: Any = BUDGET,
    *,
    gamma: int | None = None,
    **options: Any,
) -> SlotHistory:
    """Replay a trace, and keep what happened in the slots.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    policy : str or Policy, default "spac-joint"
    budget : str or int, default "17%"
    gamma : int, optional
    **options
        As for `replay`, which this calls.

    Returns
    -------
    SlotHistory
    """
    log: Log = []
    result = replay(trace, policy, budget, gamma=gamma, timeline=False, log=log, **options)
    steps = [window.step for text in expert_demand(trace, gamma) for window in text.windows]
    return read_log(log, result, trace.geometry, np.stack([step.counts for step in steps]))


def read_log(log: Log, result: Result, geometry: MoEShape, counts: np.ndarray) -> SlotHistory:
    """Make a slot history of a replay's log.

    Parameters
    ----------
    log : list
        See `engine.log`.
    result : Result
        The replay's.
    geometry : MoEShape
        The trace's.
    counts : ndarray, shape (windows, layers, experts)
        Positions that each expert serves.

    Returns
    -------
    SlotHistory
    """
    shape = (len(counts) + 1, geometry.layers, geometry.experts)  # what follows the last window is left out
    served, wanted = np.zeros(shape, np.uint8), np.zeros(shape, bool)
    scores = np.zeros(shape, np.float32)
    tau: list[np.ndarray] = []
    moves: list[SlotEvent] = []
    window, moment, decoding = 0, 0, False
    copied: set[int] = set()  # keys, on demand in this layer
    for event in log:
        match event:
            case WindowStart():
                decoding = True
            case WindowEnd():
                scores[window] = event.scores.reshape(shape[1:])
                if event.tau is not None:
                    tau.append(event.tau)
                window, moment, decoding = window + 1, 0, False
            case Requests():
                wanted[window] |= event.wanted
            case Reset():
                wanted[window] = False  # the window begins without a plan
            case LayerStart():
                moment, copied = 1 + event.layer if decoding else 0, set()
            case LayerEnd() if decoding:
                moment = 2 + event.layer  # until the next layer reads the slots
            case SlotChange():
                moves.append(_slot_event(window, moment, event))
                if event.demand:
                    copied.add(event.key)
            case LayerDispatch() if decoding:
                row, first = served[window, event.layer], event.layer * geometry.experts
                row[event.ready], row[event.cpu] = READY, CPU
                for pending in event.awaited:
                    row[pending.expert] = LOADED if first + pending.expert in copied else LATE
    return SlotHistory(
        result, geometry, result.slots, counts, served[:-1], wanted[:-1], scores[:-1],
        np.stack(tau) if tau else None, tuple(moves),
    )  # fmt: skip


def _slot_event(window: int, moment: int, change: SlotChange) -> SlotEvent:
    slot, key, loading, evicted, score, evicted_score, demand = change
    return SlotEvent(window, moment, not loading, slot, key, evicted, score, evicted_score, demand)
