"""Machines, model sizes, the cost model, budgets and memory plans."""
