"""Policy race: the same text decoded by two to four policies, each token at the time it would have come."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from moespac_nb import Step, Trace
from moespac_nb.policies import Policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.utils.defaults import BUDGET
from moespac_nb.utils.exceptions import InvalidInputError

from ...base.live_view import LiveView, view_trait
from ...base.serialize import pack
from ..replays import beginning, scaled
from ..trace_rounds import Rounds

__all__ = ["Race"]

FEWEST, MOST = 2, 4
GHOST = "next-window-oracle"
EVENTS = 20_000  # pairs of window and layer that each replay takes at most: a second or two
FRAMES = 300  # the scrubber's places, evenly over the time


class Race(LiveView):
    """Race two to four policies over one text: each token at the time at which it would have come.

    The oracle, which reads the future, runs along as a ghost. The clock counts decoding only: prompts are
    read before it starts, and left out between texts.

    Parameters
    ----------
    trace : Trace
        A recorded decode, which is replayed once for each policy.
    policies : sequence of str or Policy
        Two to four different policies that do not read the future.
    budget : str or int
        The memory for experts: "25%", "512MiB", or bytes.
    gamma : int, optional
        The draft length to replay a dense trace with; None takes its longest.
    time_us : int
        The time that is shown at first, in microseconds.
    events : int
        The most pairs of window and layer that a replay takes. Of a longer trace the beginning is replayed,
        and the widget says so.
    **options
        Further arguments of `replay`, the machine and the model among them.

    Raises
    ------
    MoespacError
        If the policies are too few, too many, repeated or read the future, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> view = Race(load_trace("math")[:20], ["recency", "on-demand"], "25%")
    >>> [result.policy for result in view.results]
    ['recency', 'on-demand', 'next-window-oracle']
    """

    SCRIPT, TEXTS = "race.js", ("race", "lanes")

    time_us = view_trait(0)

    def __init__(
        self,
        trace: Trace,
        policies: Sequence[Policy | str] = ("recency", "on-demand"),
        budget: Any = BUDGET,
        *,
        gamma: int | None = None,
        time_us: int = 0,
        events: int = EVENTS,
        **options: Any,
    ) -> None:
        racing = _racing(policies)
        trace, notices = beginning(trace, events)
        rounds = Rounds.of(trace, gamma)
        options |= {"gamma": gamma, "timeline": False}
        self._results = tuple(
            replay(trace, policy, budget, **options) for policy in [*racing, get_policy(GHOST)]
        )
        ends = [_ends_us(result) for result in self._results]
        last_us = max(int(times[-1]) for times in ends)
        first = self._results[0]
        super().__init__(
            data={
                "contestants": [
                    _described(policy, result)
                    for policy, result in zip([*racing, None], self._results, strict=True)
                ],
                "ends": pack(np.stack(ends)),
                "emitted": pack(np.array([len(step.emitted) for step in rounds.steps])),
                "text_of": pack(rounds.text),
                "pieces": [_read(trace, step) for step in rounds.steps],
                "frames": pack(np.unique(np.rint(np.linspace(0, last_us, FRAMES)).astype(int))),
                "about": {
                    "label": first.label,
                    "budget": first.budget,
                    "slots": max(result.slots for result in self._results),
                    "accounting": first.accounting,
                    "machine": first.machine,
                    "model": first.model,
                },
            },
            limits={"time_us": (0, last_us)},
            notices=notices + scaled(self._results),
            time_us=time_us,
        )

    @property
    def results(self) -> tuple[Result, ...]:
        """The replays in the order of `policies`, the oracle's last."""
        return self._results


def _racing(policies: Sequence[Policy | str]) -> list[Policy]:
    if isinstance(policies, str) or not FEWEST <= len(policies) <= MOST:
        raise InvalidInputError(f"policies is {policies!r}; expected: a list of {FEWEST} to {MOST} of them")
    racing = [get_policy(policy) for policy in policies]
    names = [policy.name for policy in racing]
    if len(set(names)) < len(names):
        raise InvalidInputError(f"policies is {', '.join(names)}; expected: each of them once")
    for policy in racing:
        if policy.reads_future:
            raise InvalidInputError(
                f"{policy.name!r} reads the future, and is no contestant; expected: others, as {GHOST!r} "
                "runs along as a ghost"
            )
    return racing


def _ends_us(result: Result) -> np.ndarray:
    """When each window's tokens were there, in microseconds of decoding."""
    spans = np.array(result.windows_s)
    return np.rint(1e6 * np.cumsum(spans[:, 1] - spans[:, 0])).astype(np.int64)


def _described(policy: Policy | None, result: Result) -> dict[str, Any]:
    shown = ("policy", "tps_modelled", "hit_rate", "bytes_per_token")
    about = get_policy(GHOST).about if policy is None else policy.about
    return {**{name: getattr(result, name) for name in shown}, "about": about, "ghost": policy is None}


def _read(trace: Trace, step: Step) -> str:
    """Return the text that a step adds; a token that is not known reads as its position."""
    numbers = range(step.position + 1, step.position + 1 + len(step.emitted))
    ids = [
        token if token >= 0 else number for token, number in zip(step.emitted.tolist(), numbers, strict=True)
    ]
    return "".join(trace.token_strings.get(token, f"⟨{token}⟩") for token in ids)
