"""The rounds of a trace as widgets show them, and how many of them can be sent."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from moespac_nb import Step, Trace
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import InvalidInputError

from ..base.assets import Words

__all__ = ["SENT_BYTES", "Rounds", "acceptance", "kept"]

SENT_BYTES = 4_000_000  # of one widget; a notebook's widgets together should stay below 6 MB


@dataclass(frozen=True, eq=False)
class Rounds:
    """Steps of a trace; for a dense trace, the rounds of a decode with one draft length.

    Attributes
    ----------
    trace : Trace
        The whole trace.
    steps : tuple of Step
        The steps, or the rounds.
    text : ndarray, (steps,)
        Which text of the trace each belongs to.
    """

    trace: Trace
    steps: tuple[Step, ...]
    text: np.ndarray

    @classmethod
    def of(cls, trace: Any, gamma: int | None = None, name: str = "trace") -> Rounds:
        """Return the rounds of a trace.

        Parameters
        ----------
        trace : Trace
            A recorded decode.
        gamma : int, optional
            None takes a trace as it was decoded, and a dense one at its longest draft.
        name : str
            What errors call the trace.

        Raises
        ------
        MoespacError
            If it is no trace, has no steps or experts, or cannot be walked with this draft length.
        """
        if not isinstance(trace, Trace):
            raise InvalidInputError(
                f"{name} is {type(trace).__name__} {str(trace)[:60]!r}; expected: a Trace, such as "
                "Trace.load(path) or record(model, prompt, draft=draft) gives"
            )
        if not len(trace):
            raise InvalidInputError(f"{name} has no steps; expected: at least one")
        if not trace.geometry.layers:
            raise InvalidInputError(
                f"{name} is of a dense model, without experts; expected: one of a mixture"
            )
        gamma_maxima = {text.gamma_max for text in trace.texts}
        if gamma is None and gamma_maxima == {None}:
            return cls(trace, tuple(trace), trace.text_of_step)
        if None in gamma_maxima:
            raise InvalidInputError(
                f"gamma is {gamma}; expected: None, or a {name} that is a dense trace throughout"
            )
        steps = tuple(trace.rounds(min(most for most in gamma_maxima if most) if gamma is None else gamma))
        # A text's rounds are numbered from 0; the walk begins a text where the trace does.
        text = np.cumsum([step.index == 0 for step in steps]) - 1
        return cls(trace, steps, text)

    @property
    def geometry(self) -> MoEShape:
        """Shape of the model's routing."""
        return self.trace.geometry

    def __len__(self) -> int:
        return len(self.steps)

    @cached_property
    def counts(self) -> np.ndarray:
        """How many positions of each window use each expert, (steps, layers, experts)."""
        return np.stack([step.counts for step in self.steps])

    @cached_property
    def bits(self) -> np.ndarray:
        """Whether each window's first token alone uses an expert, (steps, layers, experts) of 0 and 1."""
        bits = np.zeros_like(self.counts)
        first = np.stack([step.experts[0] for step in self.steps]).astype(np.int64)
        np.put_along_axis(bits, first, 1, axis=2)
        return bits


def acceptance(trace: Trace, gamma: int | None = None) -> dict[str, Any]:
    """Return how well a draft did: windows, tokens a window, and the share of drafted tokens accepted.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    gamma : int, optional
        The draft length to walk a dense trace with; None takes a trace as it was decoded.

    Returns
    -------
    dict
        "windows", "tokens_a_window", and "accepted", which is None where nothing was drafted.
    """
    if gamma is None:
        rows, grown, most = np.arange(len(trace)), trace.committed, int(trace.gamma.max())
    else:
        ends = trace.starts["steps"][1:][trace.text_of_step]
        grown = np.minimum(np.minimum(trace.accepted, gamma) + 1, ends - np.arange(len(trace)))
        walk = [0]
        while (following := walk[-1] + int(grown[walk[-1]])) < len(trace):
            walk.append(following)
        rows, most = np.array(walk), gamma
    drafted = int(np.minimum(trace.gamma[rows], most).sum())
    accepted = int(np.minimum(trace.accepted[rows], most).sum())
    return {
        "windows": len(rows),
        "tokens_a_window": float(grown[rows].mean()),
        "accepted": accepted / drafted if drafted else None,
    }


def kept(steps: int, bytes_a_step: float, limit: int = SENT_BYTES) -> tuple[np.ndarray, list[Words]]:
    """Return the steps that fit into so many bytes, evenly thinned, and the notice that says so.

    Parameters
    ----------
    steps : int
        How many there are.
    bytes_a_step : float
        How much each takes.
    limit : int
        The most bytes.

    Examples
    --------
    >>> kept(10, 100, limit=400)[0].tolist()
    [0, 3, 6, 9]
    """
    stride = max(1, int(np.ceil(steps * bytes_a_step / limit)))
    if stride == 1:
        return np.arange(steps), []
    whole = max(1, int(limit / bytes_a_step))
    size = f"{steps * bytes_a_step / 1e6:.0f}"
    values = {"steps": steps, "stride": stride, "size": size, "whole": whole}
    return np.arange(0, steps, stride), [Words("notice.thinned", values)]
