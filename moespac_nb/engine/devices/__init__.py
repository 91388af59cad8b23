"""Machines to decode on, real and modelled, behind one contract."""

from .base import HOST_THREAD, LANES, Device, Event, Operation, OperationError
from .cuda import CudaDevice
from .host import HostDevice
from .shared_bus import SharedBusDevice, virtual_device
from .virtual import VirtualDevice

__all__ = [
    "HOST_THREAD",
    "LANES",
    "CudaDevice",
    "Device",
    "Event",
    "HostDevice",
    "Operation",
    "OperationError",
    "SharedBusDevice",
    "VirtualDevice",
    "virtual_device",
]
