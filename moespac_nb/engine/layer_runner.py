"""The experts of one layer on the device's lanes, and the time of each part of a pass."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from ..hardware.costs import Costs
from .devices import Device, Event
from .engine import Engine
from .placement import LayerDispatch, Miss, PendingExpert
from .time_breakdown import PhaseStats

__all__ = ["LayerRunner", "RunCpu", "RunGpu"]

RunGpu = Callable[[list[int], list[int]], object]  # experts, their slots
RunCpu = Callable[[list[int]], object]


class LayerRunner:
    """Run a layer's experts where the engine has put them, and book the time that each part takes.

    Parameters
    ----------
    device : Device
        Runs the experts on its lanes.
    costs : Costs
        Modelled times.
    engine : Engine
        Says where each expert computes.

    Attributes
    ----------
    prefill, decode, other : PhaseStats
        Counts and times of prompts, of decoding, and of passes apart from both.
    """

    def __init__(self, device: Device, costs: Costs, engine: Engine) -> None:
        self.device = device
        self.costs = costs
        self.engine = engine
        self.prefill, self.decode, self.other = PhaseStats(), PhaseStats(), PhaseStats()
        self._aside: tuple[PhaseStats, Miss, int] | None = None  # what another pass interrupted
        self._booked = device.now()  # all time until then is in some part
        self._running: list[Event] = []  # what has been submitted in this layer
        self._labels = {
            lane: [f"L{layer} {lane}" for layer in range(engine.layers)] for lane in ("dense", "gpu", "cpu")
        }

    def _compute(self, dispatch: LayerDispatch, run_gpu: RunGpu | None, run_cpu: RunCpu | None) -> None:
        """Run both shares side by side; then what has to be waited for."""
        layer, gpu, cpu = dispatch.layer, None, None
        if dispatch.ready:
            gpu = self._submit(
                "gpu", layer, dispatch.ready_s, run_gpu and partial(run_gpu, dispatch.ready, dispatch.slots)
            )
        if dispatch.cpu:
            run = run_cpu and partial(run_cpu, dispatch.cpu)
            cpu = self._submit("cpu", layer, dispatch.cpu_s, run, read=len(dispatch.cpu))
        awaited = [(group, self._submit_group(layer, group, run_gpu)) for group in dispatch.groups]
        self.engine.pump()
        if gpu is not None:
            self.device.wait(gpu)
        self._book("experts_s")
        if cpu is not None:
            self.device.wait(cpu)
            self._book("cpu_wait_s")
        if awaited:
            self._await(layer, awaited, run_gpu, run_cpu)
        self._running.clear()

    def _await(
        self,
        layer: int,
        awaited: list[tuple[list[PendingExpert], Event]],
        run_gpu: RunGpu | None,
        run_cpu: RunCpu | None,
    ) -> None:
        """Wait for what computes once its copies have come; where one failed, use the CPU lane."""
        failed: list[PendingExpert] = []
        computing_s = 0.0
        for group, event in awaited:
            here = [pending for pending in group if self.engine.wait_for(pending)]
            if len(here) < len(group):  # then none of the group has been computed
                failed += [pending for pending in group if pending not in here]
                if not here:
                    continue
                event = self._submit_group(layer, here, run_gpu)
            self.device.wait(event)
            computing_s += sum(self.costs.gpu_s(pending.positions) for pending in here)
        self._book("link_wait_s", experts_s=computing_s)
        if failed:
            seconds = sum(self.costs.cpu_s(pending.positions) for pending in failed)
            run = run_cpu and partial(run_cpu, [pending.expert for pending in failed])
            self.device.wait(self._submit("cpu", layer, seconds, run, read=len(failed)))
            self._book("cpu_wait_s")

    def _submit_group(self, layer: int, group: list[PendingExpert], run_gpu: RunGpu | None) -> Event:
        experts, slots = [pending.expert for pending in group], [pending.slot for pending in group]
        seconds = sum(self.costs.gpu_s(pending.positions) for pending in group)
        copies = [pending.event for pending in group]
        return self._submit("gpu", layer, seconds, run_gpu and partial(run_gpu, experts, slots), copies)

    def _submit(
        self,
        lane: str,
        layer: int,
        seconds: float,
        run: Callable[[], object] | None,
        after: Iterable[Event] = (),
        read: int = 0,
    ) -> Event:
        """Submit work; `read`: the number of experts whose weights it reads from the host's memory."""
        size_bytes = read * self.costs.expert_bytes
        event = self.device.submit(lane, seconds, run, after, self._labels[lane][layer], size_bytes)
        self._running.append(event)
        return event

    def _finish(self, lane: str, seconds: float, label: str, part: str) -> None:
        """Book what the caller has done since the last call, or would have."""
        if seconds or self.device.now() > self._booked:
            self.device.wait(self.device.submit(lane, seconds, label=label, since=self._booked))
            self._book(part)

    def _book(self, part: str, experts_s: float = 0.0) -> None:
        """Book all time since the last booking as this part's, but for what the experts took of it."""
        parts, now = self._phase.parts, self.device.now()
        passed_s = now - self._booked
        experts_s = min(experts_s, passed_s)
        parts.experts_s += experts_s
        setattr(parts, part, getattr(parts, part) + passed_s - experts_s)
        self._booked = now

    def _enter(self, phase: PhaseStats, miss: Miss) -> None:
        self._phase, self._miss, self._aside = phase, miss, None
        self.engine.counters = phase.counters
