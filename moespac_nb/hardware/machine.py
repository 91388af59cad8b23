"""A machine: what its memories, its link and its processors can do. Bundled, or a TOML file.

machine("rtx4090").link_bytes_per_s
machine("my_machine.toml")           # what `moespac calibrate --out` wrote
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..utils.exceptions import MoespacError
from .profile_files import Quantity, profile_names, read_profile

__all__ = ["MACHINE_KEYS", "Machine", "list_machines", "load_machine"]

GIB = 2**30
_TINY = 1e-6  # what is divided by is above 0

# The upper limits are far above any machine: a value beyond is in another unit than its key says.
MACHINE_KEYS: dict[str, Quantity] = {
    "about": Quantity(None),
    "experts_in": Quantity(None),  # where they are when in no slot: "host" or "storage"
    "device.memory_gib": Quantity("GiB", _TINY, 1e5),
    "device.reserved_gib": Quantity("GiB", 0, 1e5),
    "device.bandwidth_gb_per_s": Quantity("GB/s", _TINY, 1e5),
    "device.tflops": Quantity("10¹² flops a second in 16-bit matrices", _TINY, 1e5),
    "link.alpha_ms": Quantity("milliseconds a copy", 0, 1e3),
    "link.bandwidth_gb_per_s": Quantity("GB/s", _TINY, 1e4),
    "host.memory_gib": Quantity("GiB", _TINY, 1e5),
    "host.read_gb_per_s": Quantity("GB/s", _TINY, 1e5),
    "host.expert_gb_per_s": Quantity("GB/s", _TINY, 1e5),
    "host.gflops": Quantity("10⁹ flops a second", _TINY, 1e6),
    "policy.plan_ms": Quantity("milliseconds a window", 0, 1e4),
    "measured.on": Quantity(None, optional=True),
    "measured.versions": Quantity(None, optional=True),
}
PLACES = ("host", "storage")


@dataclass(frozen=True, kw_only=True)
class Machine:
    """Bytes and seconds. `origins` says of each key of its file where the number comes from."""

    name: str
    about: str
    experts_in: str  # "storage": unified memory, one copy of an expert at most; what is in no slot is on disk
    memory_bytes: int  # of the device
    reserved_bytes: int  # of it, never ours: driver, libraries, a desktop
    memory_bytes_per_s: float
    flops_per_s: float
    copy_alpha_s: float
    link_bytes_per_s: float
    host_memory_bytes: int  # room for all experts: host memory, or storage
    host_read_bytes_per_s: float  # raw reads; the most the next one can be
    host_expert_bytes_per_s: float  # weights read while computing with them
    host_flops_per_s: float
    plan_s: float
    measured_on: str | None = None  # None: published or assumed
    origins: Mapping[str, str]

    @property
    def cpu_bytes_per_s(self) -> float:
        """How fast the CPU lane reads an expert that is in no slot: from storage no faster than the link."""
        if self.experts_in == "host":
            return self.host_expert_bytes_per_s
        return min(self.host_expert_bytes_per_s, self.link_bytes_per_s)

    @property
    def label(self) -> str:
        """What its constants are: measured, or published; the times made of them are modelled."""
        return f"measured on {self.measured_on}" if self.measured_on else "published and assumed constants"


def list_machines() -> tuple[str, ...]:
    """The bundled machines."""
    return profile_names("machines")


def load_machine(given: Machine | str | Path) -> Machine:
    """A machine by its name, or read from a TOML file. Raises MoespacError for any other."""
    if isinstance(given, Machine):
        return given
    profile = read_profile("machines", given, MACHINE_KEYS)
    at = profile.values
    if at["experts_in"] not in PLACES:
        raise MoespacError(
            f"{profile.path}: experts_in is {at['experts_in']!r}; expected: {' or '.join(map(repr, PLACES))}"
        )
    if at["device.reserved_gib"] >= at["device.memory_gib"]:
        raise MoespacError(
            f"{profile.path}: device.reserved_gib is {at['device.reserved_gib']!r}; expected: less than "
            f"device.memory_gib, {at['device.memory_gib']!r}"
        )
    return Machine(
        name=profile.name,
        about=at["about"],
        experts_in=at["experts_in"],
        memory_bytes=round(at["device.memory_gib"] * GIB),
        reserved_bytes=round(at["device.reserved_gib"] * GIB),
        memory_bytes_per_s=at["device.bandwidth_gb_per_s"] * 1e9,
        flops_per_s=at["device.tflops"] * 1e12,
        copy_alpha_s=at["link.alpha_ms"] / 1e3,
        link_bytes_per_s=at["link.bandwidth_gb_per_s"] * 1e9,
        host_memory_bytes=round(at["host.memory_gib"] * GIB),
        host_read_bytes_per_s=at["host.read_gb_per_s"] * 1e9,
        host_expert_bytes_per_s=at["host.expert_gb_per_s"] * 1e9,
        host_flops_per_s=at["host.gflops"] * 1e9,
        plan_s=at["policy.plan_ms"] / 1e3,
        measured_on=profile.get("measured.on"),
        origins=profile.origins,
    )
