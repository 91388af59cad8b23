"""What a machine's memories, its link and its processors can do, read from a profile.

load_machine("rtx4090").link_bytes_per_s
load_machine("my_machine.toml")      # written by `moespac calibrate --out`
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from ..utils.exceptions import InvalidInputError
from .profile_files import TINY, Constant, profile_names, read_profile

__all__ = ["Machine", "list_machines", "load_machine"]

GIB = 2**30


# The upper limits are far above any machine: a value beyond is in another unit than its key says.
@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine's constants, in bytes and seconds.

    Parameters
    ----------
    name : str
        Of its profile.
    about : str
        What it is, in words.
    experts_in : {"host", "storage"}
        Where an expert lies that is in no slot. "storage" means unified memory, which has one copy of an
        expert at most, so that all others are on disk.
    memory_bytes, reserved_bytes : int
        The device's memory, and what driver, libraries and a desktop always take of it.
    memory_bytes_per_s, flops_per_s : float
        How fast the device reads its memory, and computes in 16-bit matrices.
    copy_alpha_s : float
        What each copy over the link takes in addition to its bytes, in seconds.
    next_copy_alpha_s : float, optional
        The same of a copy that begins as soon as another ends; by default it is no less.
    link_bytes_per_s : float
        From host memory, or from storage, to the device.
    host_memory_bytes : int
        Room for all experts: host memory, or storage.
    host_read_bytes_per_s : float
        Raw reads of host memory, the limit of everything that reads it.
    host_expert_bytes_per_s, host_flops_per_s : float
        How fast the CPU reads the weights it computes with, and computes.
    planning_s : float
        What estimator and balancer take in a window, in seconds.
    host_bus_bytes_per_s : float, optional
        What copies and the CPU lane get together of host memory, where that was measured; else raw reads.
    measured_on : str, optional
        The date of its calibration; None for published and assumed constants.
    measured_with : str, optional
        The versions it was calibrated with.
    origins : mapping of str to str
        Where each constant comes from, by its key in the profile.

    Notes
    -----
    Each field stands beside the key and the unit of its profile, with the limits that are accepted there.

    Examples
    --------
    >>> from moespac_nb import load_machine
    >>> machine = load_machine("rtx4090")
    >>> machine.link_bytes_per_s / 1e9, machine.origins["link.bandwidth_gb_per_s"].split(",")[0]
    (25.2, 'source: FreeToken')
    """

    name: str
    about: Annotated[str, Constant("about")]
    experts_in: Annotated[str, Constant("experts_in", choices=("host", "storage"))]
    memory_bytes: Annotated[int, Constant("device.memory_gib", "GiB", GIB, TINY, 1e5)]
    reserved_bytes: Annotated[int, Constant("device.reserved_gib", "GiB", GIB, 0, 1e5)]
    memory_bytes_per_s: Annotated[float, Constant("device.bandwidth_gb_per_s", "GB/s", 1e9, TINY, 1e5)]
    flops_per_s: Annotated[
        float, Constant("device.tflops", "10¹² flops a second in 16-bit matrices", 1e12, TINY, 1e5)
    ]
    copy_alpha_s: Annotated[float, Constant("link.alpha_ms", "milliseconds a copy", 1e-3, 0, 1e3)]
    link_bytes_per_s: Annotated[float, Constant("link.bandwidth_gb_per_s", "GB/s", 1e9, TINY, 1e4)]
    host_memory_bytes: Annotated[int, Constant("host.memory_gib", "GiB", GIB, TINY, 1e5)]
    host_read_bytes_per_s: Annotated[float, Constant("host.read_gb_per_s", "GB/s", 1e9, TINY, 1e5)]
    host_expert_bytes_per_s: Annotated[float, Constant("host.expert_gb_per_s", "GB/s", 1e9, TINY, 1e5)]
    host_flops_per_s: Annotated[float, Constant("host.gflops", "10⁹ flops a second", 1e9, TINY, 1e6)]
    planning_s: Annotated[float, Constant("policy.plan_ms", "milliseconds a window", 1e-3, 0, 1e4)]
    next_copy_alpha_s: Annotated[
        float | None, Constant("link.next_alpha_ms", "milliseconds a copy", 1e-3, 0, 1e3, optional=True)
    ] = None
    host_bus_bytes_per_s: Annotated[
        float | None, Constant("host.bus_gb_per_s", "GB/s", 1e9, TINY, 1e5, optional=True)
    ] = None
    measured_on: Annotated[str | None, Constant("measured.on", optional=True)] = None
    measured_with: Annotated[str | None, Constant("measured.versions", optional=True)] = None
    origins: Mapping[str, str]

    @property
    def cpu_bytes_per_s(self) -> float:
        """How fast the CPU lane reads an expert that is in no slot: from storage no faster than the link."""
        if self.experts_in == "host":
            return self.host_expert_bytes_per_s
        return min(self.host_expert_bytes_per_s, self.link_bytes_per_s)

    @property
    def bus_bytes_per_s(self) -> float:
        """What copies and the CPU lane can read together, of the memory or storage that both read."""
        if self.experts_in == "host":
            return self.host_bus_bytes_per_s or self.host_read_bytes_per_s
        return self.link_bytes_per_s

    @property
    def label(self) -> str:
        """Whether its constants are measured or published; times that are made of them are modelled."""
        return f"measured on {self.measured_on}" if self.measured_on else "published and assumed constants"


def list_machines() -> tuple[str, ...]:
    """List the names of the bundled machines.

    Returns
    -------
    tuple of str

    Examples
    --------
    >>> list_machines()
    ('a100', 'h100', 'laptop4060', 'orin', 'rtx3060', 'rtx4090', 't4')
    """
    return profile_names("machines")


def load_machine(machine: Machine | str | Path) -> Machine:
    """Load a machine.

    Parameters
    ----------
    machine : Machine, str or Path
        The name of a bundled machine, the path of a profile in TOML, or a machine, which is returned.

    Returns
    -------
    Machine

    Raises
    ------
    MissingDataError
        If there is no file at the path.
    InvalidInputError
        If the name is unknown, or something in the profile is unknown, missing or out of its limits.

    Examples
    --------
    >>> machine = load_machine("rtx4090")
    >>> machine.link_bytes_per_s, machine.label
    (25200000000.0, 'published and assumed constants')
    >>> machine.origins["device.bandwidth_gb_per_s"]
    "source: vendor's sheet"
    """
    if isinstance(machine, Machine):
        return machine
    profile = read_profile("machines", machine, {"": Machine})
    loaded = Machine(name=profile.name, origins=profile.origins, **profile.fields(Machine))
    if loaded.reserved_bytes >= loaded.memory_bytes:
        raise InvalidInputError(
            f"{profile.path}: device.reserved_gib is {profile.values['device.reserved_gib']!r}; expected: "
            f"less than device.memory_gib, {profile.values['device.memory_gib']!r}"
        )
    return loaded
