"""Heterogeneous Workload Balancer: which experts are hot enough for a slot."""

from .balancer import Balancer
from .candidates import Candidates, LaneTimes, Thresholds, candidates
from .demand import Demand, LevelRates
from .joint import Joint
from .per_expert import PerExpert, PerExpertSolution
from .per_layer import PerLayer
from .solve import METHODS, solve

__all__ = [
    "METHODS",
    "Balancer",
    "Candidates",
    "Demand",
    "Joint",
    "LaneTimes",
    "LevelRates",
    "PerExpert",
    "PerExpertSolution",
    "PerLayer",
    "Thresholds",
    "candidates",
    "solve",
]
