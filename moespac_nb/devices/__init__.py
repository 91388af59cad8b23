"""Machines to decode on, real and modelled, behind one contract."""

from .contract import HOST, LANES, Device, Event, Operation, OperationError
from .virtual import VirtualDevice

__all__ = ["HOST", "LANES", "Device", "Event", "Operation", "OperationError", "VirtualDevice"]
