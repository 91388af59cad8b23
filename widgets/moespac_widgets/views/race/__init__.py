"""The race: its Python side, its script and its style sheet."""

from .race import Race

__all__ = ["Race"]
