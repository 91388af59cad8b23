"""What tests of the engine and the scheduler share: round costs, and a store that watches over its slots."""

from __future__ import annotations

from functools import partial
from typing import Any

from moespac_nb.engine.devices import VirtualDevice
from moespac_nb.hardware.costs import Costs

# Sums of powers of two, so that times come out exactly: a copy 2 s, an expert 0.5 s on the GPU, 4 on the CPU.
COSTS = Costs(
    expert_bytes=100, expert_flops=1, copy_alpha_s=0, link_bytes_per_s=50,
    gpu_bytes_per_s=200, gpu_flops_per_s=1e9, cpu_bytes_per_s=25, cpu_flops_per_s=1e9,
    dense_s=1, dense_position_s=0, head_s=0.25, draft_s=0.5, draft_prefill_s=0, planning_s=0,
)  # fmt: skip


class Watched(VirtualDevice):
    """A virtual device with slots of its own that notices a weight read too early or overwritten too soon.

    Give its `copy` to the engine and its `read` to the scheduler. A slot's history is what the operations in
    it were, in the order of submission, each with the time at which it began and ended.
    drift: seconds that pass each time something is to be computed, as on a real machine they do.
    """

    def __init__(self, fails: Any = None, drift: float = 0.0) -> None:
        super().__init__(fails)
        self._drift = drift
        self._reading: list[tuple[tuple[int, int], int]] = []
        self._written: dict[int, tuple[tuple[int, int] | None, float, float]] = {}
        self._read_until: dict[int, float] = {}
        self.reads = self.writes = 0

    def copy(self, layer: int, expert: int, slot: int) -> None:
        """The engine hands this to the link, with the slot it writes."""

    def read(self, layer: int, experts: list[int], slots: list[int]) -> None:
        self._reading.extend(((layer, expert), slot) for expert, slot in zip(experts, slots, strict=True))

    def move(self, old: int, new: int) -> None:
        """What a store does for a resident whose slot has another number from now on."""
        assert self._now >= max(self._read_until.get(slot, 0.0) for slot in (old, new))
        assert self._written[old][2] <= self._now, f"slot {old} was moved before its copy came"
        self._written[new] = self._written.pop(old)

    def submit(self, lane: str, *args: Any, **options: Any) -> float:
        self._reading.clear()
        if lane in ("gpu", "cpu"):
            self._now += self._drift
        event = super().submit(lane, *args, **options)
        *_, start, end, _size, failed = self._ran[-1]
        for key, slot in self._reading:
            holds, _began, came = self._written[slot]
            assert holds == key, f"slot {slot} was read for {key} and holds {holds}"
            assert came <= start, f"slot {slot} was read at {start}, its copy came at {came}"
            self._read_until[slot] = max(end, self._read_until.get(slot, 0.0))
            self.reads += 1
        if lane == "link":
            run: partial[None] = args[1]
            layer, expert, slot = run.args
            assert start >= self._read_until.get(slot, 0.0), f"slot {slot} was overwritten while it was read"
            assert start >= self._written.get(slot, (None, 0.0, 0.0))[2], (
                f"slot {slot} had two copies at once"
            )
            self._written[slot] = (None if failed else (layer, expert), start, end)
            self.writes += 1
        return event
