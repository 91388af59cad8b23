"""A GPU pretended on the CPU, for code that asks `torch.cuda`: all it is given is done at once.

So that the lines which only a GPU reaches have been run before they meet one. It proves nothing of
order: that is `fake_cuda`'s to show.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from moespac_nb.engine.devices import CudaDevice
from tools.gpu.stage import Setup
from tools.gpu.stages.memory import held_on_host

MEMORY_BYTES = 2**33


@dataclass(frozen=True)
class OnPretended(Setup):
    """As on a GPU, at tiny sizes, with all tensors on the CPU."""

    @property
    def place(self) -> str:
        return "cpu"


class Stream:
    def wait_event(self, event: Any) -> None: ...

    def wait_stream(self, stream: Any) -> None: ...

    def synchronize(self) -> None: ...


class Event:
    def __init__(self, **_options: bool) -> None:
        self.time = 0.0

    def record(self, stream: Any = None) -> None:
        self.time = perf_counter()

    def query(self) -> bool:
        return True

    def synchronize(self) -> None: ...

    def elapsed_time(self, later: Event) -> float:
        return 1e3 * (later.time - self.time)


class Driver:
    """What `torch.cuda.cudart()` is."""

    def __init__(self) -> None:
        self.registered: set[int] = set()

    def cudaHostRegister(self, place: int, size: int, flags: int) -> int:  # noqa: N802
        self.registered.add(place)
        return 0

    def cudaHostUnregister(self, place: int) -> int:  # noqa: N802
        self.registered.remove(place)
        return 0


@contextmanager
def pretended_gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[Driver]:
    stream, driver = Stream(), Driver()
    about = SimpleNamespace(name="Pretended GPU", major=9, minor=0, multi_processor_count=1)
    answers: dict[str, Any] = {
        "is_available": lambda: True,
        "Stream": Stream,
        "Event": Event,
        "current_stream": lambda: stream,
        "stream": lambda _stream: nullcontext(),
        "synchronize": lambda: None,
        "cudart": lambda: driver,
        "empty_cache": lambda: None,
        "get_device_name": lambda: about.name,
        "get_device_properties": lambda _index: about,
        "mem_get_info": lambda: (MEMORY_BYTES // 2, MEMORY_BYTES),
        "memory_reserved": lambda: 0,
        "max_memory_allocated": lambda: 0,
        "reset_peak_memory_stats": lambda: None,
        "set_per_process_memory_fraction": lambda _share: None,
    }
    for name, answer in answers.items():
        monkeypatch.setattr(torch.cuda, name, answer)
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *_: self)
    monkeypatch.setattr(torch.Tensor, "is_pinned", lambda self, *_: False)
    empty = torch.empty
    monkeypatch.setattr(torch, "empty", lambda *size, pin_memory=False, **how: empty(*size, **how))
    monkeypatch.setattr(torch.Tensor, "record_stream", lambda self, _stream: None)
    monkeypatch.setattr(CudaDevice, "place", "cpu")
    with held_on_host() as held:
        monkeypatch.setattr(torch.cuda, "memory_allocated", held)
        yield driver
    assert not driver.registered
