"""The balancer's problem in each window of a replay, to look at afterwards or to solve another way."""

from __future__ import annotations

from typing import Any

from ..balancer import Candidates
from ..engine.log import Log, Reset, WindowEnd
from ..policies import POLICIES, Policy, get_policy
from ..policies.spac import Composition
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError
from .replay import replay

__all__ = ["balancer_inputs", "record_balancer_inputs"]


def record_balancer_inputs(
    trace: Trace, policy: str | Policy = "spac-joint", budget: Any = "17%", **options: Any
) -> dict[int, Candidates]:
    """Replay a trace and keep the candidate table that each window's thresholds were chosen from.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    policy : str or Policy, default "spac-joint"
        A policy that has a balancer.
    budget : str or int, default "17%"
        See `parse_budget`.
    **options
        Further arguments of `replay`.

    Returns
    -------
    dict of int to Candidates
        By the number of the window. A window before which the sensor had no evidence has no entry.

    Raises
    ------
    MoespacError
        The policy has no balancer, or `replay` refuses the arguments.

    Examples
    --------
    >>> from moespac_nb import Joint, load_trace, solve
    >>> tables = record_balancer_inputs(load_trace("chat", half="report"), "spac-joint", "17%")
    >>> solve(Joint(tables[12])).tau.shape
    (8,)
    """
    policy = get_policy(policy)
    composition = policy.planner
    if not isinstance(composition, Composition) or not isinstance(composition.admission, str):
        names = [name for name, known in POLICIES.items() if isinstance(known.planner, Composition)]
        raise InvalidInputError(
            f"policy {policy.name!r} has no balancer; expected: {', '.join(names)}, or one that "
            "compose_policy(…, admission='joint') makes"
        )
    log: Log = []
    replay(trace, policy, budget, timeline=False, log=log, **options)
    return balancer_inputs(log)


def balancer_inputs(log: Log) -> dict[int, Candidates]:
    """Return the last candidate table before the end of each window, by the number of the window."""
    tables: dict[int, Candidates] = {}
    table, window = None, 0
    for event in log:
        match event:
            case Candidates():
                table = event
            case Reset():
                table = None
            case WindowEnd():
                if table is not None:
                    tables[window] = table
                window += 1
    return tables
