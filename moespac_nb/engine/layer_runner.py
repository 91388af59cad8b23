"""The experts of one layer on the device's lanes, and the time of each part of a pass."""

from __future__ import annotations

from collections.abc import Callable

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

    def _compute(self, placement: LayerDispatch, run_gpu: RunGpu | None, run_cpu: RunCpu | None) -> None:
        """Both shares side by side; then what has to be waited for."""
        device, layer = self.device, placement.layer
        gpu_label, cpu_label = self._labels["gpu"][layer], self._labels["cpu"][layer]
        running = self._running
        gpu = cpu = None
        if placement.ready:
            run = None if run_gpu is None else _call(run_gpu, placement.ready, placement.slots)
            gpu = device.submit("gpu", placement.ready_s, run, (), gpu_label)
            running.append(gpu)
        if placement.cpu:
            run = None if run_cpu is None else _call(run_cpu, placement.cpu)
            size_bytes = len(placement.cpu) * self.costs.expert_bytes
            cpu = device.submit("cpu", placement.cpu_s, run, (), cpu_label, size_bytes)
            running.append(cpu)
        awaited = [(group, self._submit_group(group, run_gpu, gpu_label)) for group in placement.groups]
        self.engine.pump()
        if gpu is not None:
            device.wait(gpu)
        self._book("experts_s")
        if cpu is not None:
            device.wait(cpu)
            self._book("cpu_wait_s")
        if awaited:
            self._await(awaited, run_gpu, run_cpu, layer)
        running.clear()

    def _submit_group(self, group: list[PendingExpert], run_gpu: RunGpu | None, label: str) -> Event:
        run = None
        if run_gpu is not None:
            run = _call(run_gpu, [pending.expert for pending in group], [pending.slot for pending in group])
        seconds = sum(self.costs.gpu_s(pending.positions) for pending in group)
        event = self.device.submit("gpu", seconds, run, [pending.event for pending in group], label)
        self._running.append(event)
        return event

    def _await(
        self,
        awaited: list[tuple[list[PendingExpert], Event]],
        run_gpu: RunGpu | None,
        run_cpu: RunCpu | None,
        layer: int,
    ) -> None:
        """What computes once its copies have come; if one failed, its expert on the CPU lane after all."""
        costs = self.costs
        failed: list[PendingExpert] = []
        computing_s = 0.0
        for group, computed in awaited:
            event = computed
            here = [pending for pending in group if self.engine.wait_for(pending)]
            if len(here) < len(group):  # then none of the group has been computed
                failed += [pending for pending in group if pending not in here]
                if not here:
                    continue
                event = self._submit_group(here, run_gpu, self._labels["gpu"][layer])
            self.device.wait(event)
            computing_s += sum(costs.gpu_s(pending.positions) for pending in here)
        self._book("link_wait_s", experts_s=computing_s)
        if failed:
            run = None if run_cpu is None else _call(run_cpu, [pending.expert for pending in failed])
            seconds = sum(costs.cpu_s(pending.positions) for pending in failed)
            size_bytes = len(failed) * self.costs.expert_bytes
            event = self.device.submit("cpu", seconds, run, (), self._labels["cpu"][layer], size_bytes)
            self._running.append(event)
            self.device.wait(event)
            self._book("cpu_wait_s")

    def _finish(self, lane: str, seconds: float, label: str, part: str) -> None:
        """What the caller has done since the last call, or would have."""
        if seconds or self.device.now() > self._booked:
            self.device.wait(self.device.submit(lane, seconds, label=label, since=self._booked))
            self._book(part)

    def _book(self, part: str, experts_s: float = 0.0) -> None:
        """All since the last booking is this part's, but for what of it the experts have taken."""
        parts, now = self._phase.parts, self.device.now()
        passed_s = now - self._booked
        experts_s = min(experts_s, passed_s)
        parts.experts_s += experts_s
        setattr(parts, part, getattr(parts, part) + passed_s - experts_s)
        self._booked = now

    def _enter(self, phase: PhaseStats, miss: Miss) -> None:
        self._phase, self._miss, self._aside = phase, miss, None
        self.engine.counters = phase.counters


def _call(function: Callable[..., object], *args: object) -> Callable[[], object]:
    return lambda: function(*args)
