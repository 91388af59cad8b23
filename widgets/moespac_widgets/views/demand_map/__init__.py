"""The demand map: its Python side, its script and its style sheet."""

from .demand_map import DemandMap

__all__ = ["DemandMap"]
