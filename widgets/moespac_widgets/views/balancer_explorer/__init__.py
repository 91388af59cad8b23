"""The balancer explorer: its Python side, its script and its style sheet."""

from .balancer_explorer import BalancerExplorer

__all__ = ["BalancerExplorer"]
