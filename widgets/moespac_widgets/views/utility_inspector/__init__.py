"""The utility inspector: its Python side, its script and its style sheet."""

from .utility_inspector import UtilityInspector

__all__ = ["UtilityInspector"]
