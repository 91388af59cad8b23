"""Slot history of a replay: residents, loads and evictions per window, with the scores behind each eviction.

A moment of a window is 0 until its draft is complete, and 1 + l while layer l computes. An expert's key is
layer · experts + expert. The replay is the ordinary one, with a log.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..engine.log import LayerEnd, LayerStart, Log, Requests, Reset, SlotChange, WindowEnd, WindowStart
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
    """A copy that starts, a copy that has completed, or a slot that is emptied for no other expert.

    Attributes
    ----------
    window, moment : int
        When it happened.
    came : bool
        False for a copy that starts.
    slot : int
        The slot.
    key : int
        The expert in it from now on; `EMPTY` where the slot is emptied.
    old : int
        The key that had to go; `EMPTY` for none, and for a copy that has completed.
    score, old_score : float
        Of both, when the copy started.
    demand : bool
        Whether a layer was waiting for the copy, which then need not beat any score.
    """

    window: int
    moment: int
    came: bool
    slot: int
    key: int
    old: int
    score: float
    old_score: float
    demand: bool


@dataclass(frozen=True, eq=False)
class SlotHistory:
    """What happened in the slots while a trace was replayed.

    Attributes
    ----------
    result : Result
        The replay's.
    geometry : MoEShape
        The trace's.
    slots : int
        How many there were.
    counts : ndarray, shape (windows, layers, experts)
        Positions that each expert served.
    served : ndarray of uint8, same shape
        How, an index into `SERVED`.
    wanted : ndarray of bool, same shape
        Whether a plan of the window, or the one that it began with, asked for a copy.
    scores : ndarray of float32, same shape
        Scores as the window ended.
    tau : ndarray, shape (windows, layers), optional
        Experts from this score on are copied; None where the policy has no threshold.
    moves : tuple of SlotEvent
        All that happened, in order.
    """

    result: Result
    geometry: MoEShape
    slots: int
    counts: np.ndarray
    served: np.ndarray
    wanted: np.ndarray
    scores: np.ndarray
    tau: np.ndarray | None
    moves: tuple[SlotEvent, ...] = field(repr=False)

    @property
    def windows(self) -> int:
        """How many windows there are."""
        return len(self.counts)

    def owners(self, window: int, moment: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Return what each slot held at a moment.

        Parameters
        ----------
        window : int
            Number of the window.
        moment : int, default 0
            0 until its draft is complete, 1 + l while layer l computes.

        Returns
        -------
        owner : ndarray, shape (slots,)
            Keys; `EMPTY` for none.
        loading : ndarray of bool, shape (slots,)
            Whether the copy was still under way.
        """
        owner, loading = np.full(self.slots, EMPTY), np.zeros(self.slots, bool)
        for move in self.moves:
            if (move.window, move.moment) > (window, moment):
                break
            owner[move.slot], loading[move.slot] = move.key, not move.came
        return owner, loading

    @property
    def resident(self) -> np.ndarray:
        """Which experts could be read as each window began, (windows, layers, experts) bool."""
        resident = np.zeros((self.windows, self.counts[0].size), bool)
        now, window = np.zeros_like(resident[0]), 0
        for move in self.moves:
            while (window, 0) < (move.window, move.moment):
                resident[window], window = now, window + 1
            if move.old != EMPTY:
                now[move.old] = False
            elif move.came:
                now[move.key] = True
        resident[window:] = now
        return resident.reshape(self.counts.shape)

    def why(self, window: int, layer: int, expert: int) -> SlotEvent | None:
        """Return the copy that last took an expert's slot, up to the end of a window; None if none has."""
        key = layer * self.geometry.experts + expert
        evictions = (move for move in reversed(self.moves) if move.old == key and not move.came)
        return next((move for move in evictions if move.window <= window), None)


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
    policy, budget, gamma, **options
        As for `replay`, which this calls.

    Returns
    -------
    SlotHistory

    Examples
    --------
    >>> from moespac_nb import load_trace
    >>> history = slot_history(load_trace("chat", half="report"), "spac-joint", "17%", machine="rtx4090")
    >>> owner, loading = history.owners(window=12, moment=3)
    >>> owner.shape
    (87,)
    >>> evicted = next(move.old for move in history.moves if move.old != EMPTY and not move.demand)
    >>> copy = history.why(108, *divmod(evicted, 64))  # the copy that took its slot, and both scores
    >>> copy.score > copy.old_score
    True
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
    loaded: set[int] = set()  # keys that were copied on demand in this layer
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
                moment, loaded = 1 + event.layer if decoding else 0, set()
            case LayerEnd() if decoding:
                moment = 2 + event.layer  # until the next layer reads the slots
            case SlotChange(slot, key, loading, evicted, score, evicted_score, demand):
                moves.append(
                    SlotEvent(window, moment, not loading, slot, key, evicted, score, evicted_score, demand)
                )
                if demand:
                    loaded.add(key)
            case LayerDispatch() if decoding:
                row, first = served[window, event.layer], event.layer * geometry.experts
                row[event.ready], row[event.cpu] = READY, CPU
                for pending in event.awaited:
                    row[pending.expert] = LOADED if first + pending.expert in loaded else LATE
    return SlotHistory(
        result, geometry, result.slots, counts, served[:-1], wanted[:-1], scores[:-1],
        np.stack(tau) if tau else None, tuple(moves),
    )  # fmt: skip
