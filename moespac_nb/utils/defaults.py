"""Defaults of the parameters that many functions, commands and widgets share."""

from __future__ import annotations

__all__ = ["ACCOUNTING", "BUDGET", "GAMMA", "MACHINE", "MODEL", "POLICY"]

POLICY = "spac-joint"
BUDGET = "17%"  # of all experts: the paper's own setting
MACHINE = "rtx4090"
MODEL = "qwen3-30b-a3b"
GAMMA = 8  # drafted tokens a step, as in the paper
ACCOUNTING = "slots-equal"
