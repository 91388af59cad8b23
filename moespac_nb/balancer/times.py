"""What the balancer needs to know of a machine: how long each lane takes for one thing. Plain seconds."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

from ..utils.exceptions import InvalidInputError

if TYPE_CHECKING:
    from ..hardware.costs import Costs

__all__ = ["LaneTimes"]


@dataclass(frozen=True, kw_only=True)
class LaneTimes:
    """How long each lane takes for one thing, in seconds. A pair is one position served by one expert.

    A lane that serves several experts takes as long as the slower of reading each of them once and computing
    their pairs. The paper has one number a lane, `gpu_expert_s` and `cpu_pair_s`; the others are then 0.

    Parameters
    ----------
    gpu_expert_s, cpu_expert_s : float
        Reading one expert's weights, from its slot or from the host's memory.
    gpu_pair_s, cpu_pair_s : float
        The arithmetic of one pair.
    copy_s : float
        Bringing one expert into a slot.
    draft_window_s : float
        Drafting the whole window; the link is free to copy meanwhile.
    dense_s : float
        A layer before its experts; the link copies meanwhile too.

    Raises
    ------
    MoespacError
        A time is negative or not finite.
    """

    gpu_expert_s: float  # reading one expert's weights from its slot
    cpu_pair_s: float  # the arithmetic of one pair on the CPU lane
    copy_s: float  # bringing one expert into a slot
    draft_window_s: float  # drafting the whole window: the link is free to copy meanwhile
    gpu_pair_s: float = 0.0
    cpu_expert_s: float = 0.0
    dense_s: float = 0.0  # what a layer takes before its experts: the link copies meanwhile too

    def __post_init__(self) -> None:
        for time in fields(self):
            value = getattr(self, time.name)
            if not (math.isfinite(value) and value >= 0):
                raise InvalidInputError(
                    f"{time.name} is {value!r}; expected: seconds, a finite number of 0 or more"
                )

    @classmethod
    def of(cls, costs: Costs, gamma: int) -> LaneTimes:
        """Make the times of one machine and model.

        Parameters
        ----------
        costs : Costs
            See `cost_model`.
        gamma : int
            Drafted tokens of a window; γ + 1 positions are verified.

        Returns
        -------
        LaneTimes
        """
        if gamma < 0:
            raise InvalidInputError(f"gamma is {gamma}; expected: 0 drafted tokens or more")
        return cls(
            gpu_expert_s=costs.gpu_read_s,
            gpu_pair_s=costs.gpu_pair_s,
            cpu_expert_s=costs.cpu_read_s,
            cpu_pair_s=costs.cpu_pair_s,
            copy_s=costs.copy_s(),
            draft_window_s=gamma * costs.draft_s,
            dense_s=costs.layer_s(gamma + 1),
        )
