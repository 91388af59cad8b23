"""The stepper: its Python side, its script and its style sheet."""

from .stepper import Stepper

__all__ = ["Stepper"]
