"""Heterogeneous Workload Balancer: which experts are hot enough for a slot."""

from .balancer import Balancer
from .candidates import Candidates, candidates
from .demand import Demand
from .joint import Joint
from .per_layer import PerLayer
from .placement import Placed, Placement
from .rates import LevelRates
from .thresholds import Thresholds
from .times import LaneTimes

__all__ = [
    "Balancer",
    "Candidates",
    "Demand",
    "Joint",
    "LaneTimes",
    "LevelRates",
    "PerLayer",
    "Placed",
    "Placement",
    "Thresholds",
    "candidates",
]
