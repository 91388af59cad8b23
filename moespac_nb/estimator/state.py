"""State of a utility estimator after an update, as arrays that do not change any more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np

__all__ = ["BRANCHES", "DOWN", "STAY", "UP", "State"]

UP, STAY, DOWN = 1, 0, -1
BRANCHES: Mapping[int, str] = MappingProxyType({UP: "up", STAY: "stay", DOWN: "down"})


@dataclass(frozen=True, eq=False)
class State:
    """Copy of an estimator's state after an update; every array is (layers, experts) and read-only.

    Parameters
    ----------
    f : ndarray
        Evidence, float.
    delta : ndarray
        What the rule compares with the boundaries, float: the change of f; for `level` f - s before.
    up, down : ndarray
        Boundaries that `delta` was compared with, float; NaN where a rule has none.
    branch : ndarray
        Direction of the transition, int8: a key of `BRANCHES`. At 0 and at K the utility may stay anyway.
    s : ndarray
        Utility, int16, 0 to K.
    value : ndarray
        What s is rounded from, float: the average of `ema`, the evidence of `last-count`; else s.
    next_up, next_down : ndarray
        Boundaries of the next update, float.
    """

    f: np.ndarray
    delta: np.ndarray
    up: np.ndarray
    down: np.ndarray
    branch: np.ndarray
    s: np.ndarray
    value: np.ndarray
    next_up: np.ndarray
    next_down: np.ndarray

    def __post_init__(self) -> None:
        """Close the arrays for writing."""
        for field in fields(self):
            getattr(self, field.name).setflags(write=False)

    def of(self, layer: int, expert: int) -> dict[str, Any]:
        """Return one expert's state as plain values, the branch by its name.

        Parameters
        ----------
        layer, expert : int
            The expert.

        Returns
        -------
        dict of str to float, int or str
        """
        values = {field.name: getattr(self, field.name)[layer, expert].item() for field in fields(self)}
        return {**values, "branch": BRANCHES[values["branch"]]}
