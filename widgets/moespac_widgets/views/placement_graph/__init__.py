"""The placement graph: its Python side, its script and its style sheet."""

from .placement_graph import PlacementGraph

__all__ = ["PlacementGraph"]
