"""Heterogeneous Workload Balancer: which experts are hot enough for a slot, the rest served by the CPU lane."""

from .candidates import Candidates, candidates
from .demand import Demand
from .joint import Joint
from .per_layer import PerLayer
from .thresholds import Thresholds
from .times import LaneTimes

__all__ = ["Candidates", "Demand", "Joint", "LaneTimes", "PerLayer", "Thresholds", "candidates"]
