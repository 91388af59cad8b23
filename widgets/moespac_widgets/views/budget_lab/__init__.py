"""The budget lab: its Python side, its script and its style sheet."""

from .budget_lab import BudgetLab

__all__ = ["BudgetLab"]
