"""What happened in the slots while a trace was replayed: who was where, who was copied, who had to go, why.

    seen = residency(trace, "spac-joint", "17%", machine="rtx4090")
    seen.owners(window=12, moment=3)           # (slots,) which expert each slot held
    seen.why(12, layer=4, expert=17)           # its last eviction: its score, and that of who took its slot

A moment of a window is 0 until its draft stands, and 1 + l while layer l computes. An expert's key is
layer · experts + expert. The replay is the ordinary one: its engine only tells what it does.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from ..engine.engine import Engine
from ..engine.placement import LayerDispatch, Miss
from ..engine.scheduler import Scheduler
from ..engine.slots import EMPTY
from ..policies import Policy
from ..policies.spac import ComposedPlanner
from ..trace.step import MoEShape, Step
from ..trace.trace import Trace
from .demand import expert_demand
from .replay import replay
from .result import Result

__all__ = ["CPU", "LATE", "LOADED", "READY", "SERVED", "SlotEvent", "SlotHistory", "slot_history"]

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
    policy: str | Policy = "spac-joint",
    budget: Any = "17%",
    *,
    gamma: int | None = None,
    **options: Any,
) -> SlotHistory:
    """Replay as `replay` does, and keep what happened in the slots. Arguments are those of `replay`."""
    geometry = trace.geometry
    made: list[_Scheduler] = []

    def watched(*given: Any, **known: Any) -> Scheduler:
        windows = sum(len(text.windows) for text in expert_demand(trace, gamma))
        made.append(_Scheduler(_Log(windows, geometry), *given, **known))
        return made[0]

    result = replay(trace, policy, budget, gamma=gamma, timeline=False, scheduler=watched, **options)
    steps = [window.step for text in expert_demand(trace, gamma) for window in text.windows]
    log = made[0].log
    return SlotHistory(
        result,
        geometry,
        result.slots,
        np.stack([step.counts for step in steps]),
        log.served,
        log.wanted,
        log.scores,
        np.stack(log.tau) if log.tau else None,
        tuple(log.moves),
    )


class _Log:
    """What has been told so far, and when it is now."""

    def __init__(self, windows: int, geometry: MoEShape) -> None:
        self.window, self.moment, self.decoding = 0, 0, False
        shape = (windows + 1, geometry.layers, geometry.experts)  # what follows the last window is left out
        self._served, self._wanted = np.zeros(shape, np.uint8), np.zeros(shape, bool)
        self._scores = np.zeros(shape, np.float32)
        self.tau: list[np.ndarray] = []
        self.moves: list[SlotEvent] = []

    @property
    def served(self) -> np.ndarray:
        return self._served[:-1]

    @property
    def wanted(self) -> np.ndarray:
        return self._wanted[:-1]

    @property
    def scores(self) -> np.ndarray:
        return self._scores[:-1]

    def want(self, wanted: np.ndarray) -> None:
        self._wanted[self.window] |= wanted

    def forget(self) -> None:
        """The window begins with no order."""
        self._wanted[self.window] = False

    def placed(self, layer: int, experts: list[int], how: int) -> None:
        if self.decoding and experts:
            self._served[self.window, layer, experts] = how

    def end(self, scores: list[float], tau: np.ndarray | None) -> None:
        """The window is over: what is told from now on belongs to the next."""
        self._scores[self.window] = np.reshape(scores, self._scores.shape[1:])
        if tau is not None:
            self.tau.append(tau.copy())
        self.window, self.moment, self.decoding = self.window + 1, 0, False


class _Engine(Engine):
    """An engine that tells what it does."""

    def __init__(self, log: _Log, *given: Any) -> None:
        super().__init__(*given)
        self._log = log
        self._demand = False
        self._left = (EMPTY, 0.0)  # who has just had to go, and its score

    @property
    def scores(self) -> list[float]:
        return self._worth.score

    def order(self, scores: np.ndarray, wanted: np.ndarray | None = None) -> None:
        super().order(scores, wanted)
        if wanted is not None:
            self._log.want(wanted)

    def forget(self) -> None:
        super().forget()
        self._log.forget()

    def layer(self, layer: int, experts: Any, positions: Any, miss: Miss = "cpu") -> LayerDispatch:
        log = self._log
        log.moment = 1 + layer if log.decoding else 0
        loaded, self._demand = len(log.moves), True
        placement = super().layer(layer, experts, positions, miss)
        self._demand = False
        copied = {move.key for move in log.moves[loaded:] if not move.came}
        log.placed(layer, placement.ready, READY)
        log.placed(layer, placement.cpu, CPU)
        for seat in placement.awaited:
            log.placed(layer, [seat.expert], LOADED if layer * self.experts + seat.expert in copied else LATE)
        return placement

    def release(self, placement: LayerDispatch) -> None:
        super().release(placement)
        if not placement.rest[0] and self._log.decoding:
            self._log.moment = 2 + placement.layer  # until the next layer reads who is where

    def _evict(self, slot: int) -> None:
        key = self._slots.owner[slot]
        self._left = (key, self._worth.score[key])
        super()._evict(slot)

    def _start(self, key: int, slot: int) -> None:
        super()._start(key, slot)
        old, self._left = self._left, (EMPTY, 0.0)
        self._tell(slot, key, *old, came=False)

    def _land(self, slot: int) -> None:
        key = self._slots.owner[slot]
        super()._land(slot)
        self._tell(slot, key, EMPTY, 0.0, came=True)

    def _empty(self, slot: int) -> None:
        super()._empty(slot)
        old, self._left = self._left, (EMPTY, 0.0)
        self._tell(slot, EMPTY, *old, came=True)

    def _tell(self, slot: int, key: int, old: int, old_score: float, came: bool) -> None:
        log, score = self._log, 0.0 if key == EMPTY else self._worth.score[key]
        log.moves.append(
            SlotEvent(
                log.window, log.moment, came, slot, key, old, score, old_score, self._demand and not came
            )
        )  # fmt: skip


class _Scheduler(Scheduler):
    """A scheduler with such an engine."""

    engine: _Engine

    def __init__(self, log: _Log, *given: Any, **options: Any) -> None:
        self.log = log
        super().__init__(*given, **options)

    def _new_engine(self, slots: int, *given: Any) -> _Engine:
        shape = self.geometry
        return _Engine(self.log, self.device, shape.layers, shape.experts, slots, self.costs, *given)

    def begin_window(self, token: int) -> None:
        self.log.decoding = True
        super().begin_window(token)

    def end_window(self, step: Step, following: Step | None = None) -> None:
        planner = self.planner
        self.log.end(self.engine.scores, planner.tau if isinstance(planner, ComposedPlanner) else None)
        super().end_window(step, following)
