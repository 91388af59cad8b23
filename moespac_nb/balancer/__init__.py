"""Heterogeneous Workload Balancer: which experts are hot enough for a slot."""

from .balancer import Balancer
from .candidates import Candidates, candidates
from .demand import Demand, LevelRates
from .joint import Joint
from .per_expert import Placed, Placement
from .per_layer import PerLayer
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
