"""Cases that several tests of offloading share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

import moespac_nb
from moespac_nb.engine.devices.cuda import CudaDevice
from moespac_nb.hardware.costs import Costs
from tools.support.fake_cuda import FakeCuda

__all__ = ["CARD", "ENGINE", "PACKAGE", "RUNNING", "SLOW_CPU", "OnStandIn", "running"]


# A card beside a desktop, as the profiles have them, with a link on which a copy takes two layers or so.
CARD = Costs(
    expert_bytes=10_000_000, expert_flops=1e7, copy_alpha_s=2e-5, link_bytes_per_s=25e9,
    gpu_bytes_per_s=900e9, gpu_flops_per_s=80e12, cpu_bytes_per_s=50e9, cpu_flops_per_s=500e9,
    dense_s=6e-5, dense_position_s=1e-6, head_s=1e-4, draft_s=3e-4, draft_prefill_s=2e-5, planning_s=1e-4,
)  # fmt: skip


# Slow enough beside the link that every policy has experts copied, however small they are.
SLOW_CPU = replace(CARD, cpu_bytes_per_s=1e6)


class OnStandIn(CudaDevice):
    """The stand-in GPU, whose memory is the host's; copies come no sooner than somebody waits."""

    place = "cpu"

    def __init__(self) -> None:
        self.fake = FakeCuda()
        self.held: list[Callable[[], None]] = []
        super().__init__(cuda=self.fake)

    def wait(self, event: Any) -> None:
        while self.held:
            self.held.pop()()
        super().wait(event)

    def submit(self, lane, seconds, run=None, after=(), label="", size_bytes=0, **options):
        if lane == "link":
            with self.fake.stream(self._copies):
                self.held.append(self.fake.hold())
        launched = run if run is None or lane == "cpu" else partial(self.fake.launch, run, label)
        return super().submit(lane, seconds, launched, after, label, size_bytes, **options)

    def _staging(self, like: Any) -> Any:
        return torch.full_like(like, 77)

    def room(self, tensor: Any) -> Any:
        self._copies.wait_stream(self._kernels)
        return tensor

    def close(self) -> None:
        while self.held:
            self.held.pop()()
        super().close()


PACKAGE = Path(moespac_nb.__file__).parent


RUNNING = [
    str(PACKAGE / f"offloading/{name}.py")
    for name in ("expert_layer", "expert_rows", "expert_store", "driver")
]


ENGINE = [
    str(PACKAGE / f"{name}.py")
    for name in ("engine/scheduler", "engine/engine", "engine/slots", "engine/devices/virtual")
]


def running(code: Any) -> bool:
    """The lines that a forward from slots runs through."""
    return code.co_filename in RUNNING + ENGINE
