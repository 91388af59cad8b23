"""A recorded decode: one array a column; a `Step` is a view of them. Numpy only; knows nothing of models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import numpy as np

from ..utils.exceptions import InvalidInputError
from . import npz
from .schema import COLUMNS, TextInfo, TraceColumns, same
from .step import GammaPolicy, MoEShape, Prefill, Step, Top
from .validation import check

__all__ = ["Trace", "cut"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace(TraceColumns):
    """The steps of one text or of several, one after another.

    A **dense trace** has a row at every committed position: a draft of γ_max tokens and its
    verification. A row commits one token, so the next row stands at the next position, and a replay that
    takes `step(i, gamma)` and goes on at `i + len(step.emitted)` stays on recorded ground whatever
    γ ≤ γ_max it chooses each time.

    Parameters
    ----------
    geometry : MoEShape
        Shape of the target's routing.
    vocabulary : int
        Number of token ids.
    texts : tuple of TextInfo
        Provenance of each text.
    token_strings : mapping of int to str
        What a token id reads as.
    channels : mapping of str to Channel
        Recorded sensor channels by name.
    notes : tuple of str
        What an import found odd about its log.
    text_steps, text_prompt, prefill_ms, … : ndarray
        Columns; `schema.COLUMNS` has their dtypes, what their rows are, and the shapes of the rows. Times
        are measured, NaN where they were not.

    Raises
    ------
    TraceFormatError
        If the columns are incomplete or contradict one another.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> trace = load_trace("chat", half="report")
    >>> trace[0].gamma, trace[0].accepted, trace[0].outcome
    (8, 2, 'corrected')
    >>> len(trace), len(trace[10:20]), trace.counts.shape  # (steps, layers, experts)
    (109, 10, (109, 8, 64))
    """

    def __post_init__(self) -> None:
        check(self)
        channels = [channel.values for channel in self.channels.values()]
        for array in [*self.columns.values(), *channels]:
            array.setflags(write=False)

    @classmethod
    def of(
        cls,
        text: TextInfo,
        geometry: MoEShape,
        vocabulary: int,
        prefill: Prefill,
        steps: Sequence[Step],
        token_strings: Mapping[int, str] | None = None,
    ) -> Trace:
        """Make a trace of the steps of one text.

        Parameters
        ----------
        text : TextInfo
            Provenance of the text.
        geometry : MoEShape
            Shape of the target's routing.
        vocabulary : int
            Number of token ids.
        prefill : Prefill
            Reading of the prompt.
        steps : sequence of Step
            At least one.
        token_strings : mapping of int to str, optional
            What a token id reads as.

        Returns
        -------
        Trace

        Raises
        ------
        InvalidInputError
            If there is no step.
        TraceFormatError
            If the steps do not follow one another.
        """
        if not steps:
            raise InvalidInputError("there is no step to make a trace of; expected: at least one")
        alternatives = steps[0].target_top.ids.shape[1]
        none = np.empty((0, alternatives))
        tops = [step.draft_top for step in steps if step.gamma] or [Top(none, none)]
        arrays = {
            "text_steps": [len(steps)],
            "text_prompt": [len(prefill.ids)],
            "prefill_ms": [prefill.ms],
            "prompt_ids": prefill.ids,
            "prompt_experts": prefill.experts,
            "prompt_gate_weights": prefill.gate_weights,
            "step_index": [step.index for step in steps],
            "step_position": [step.position for step in steps],
            "gamma": [step.gamma for step in steps],
            "accepted": [step.accepted for step in steps],
            "committed": [len(step.emitted) for step in steps],
            "draft_ms": [step.draft_ms for step in steps],
            "verify_ms": [step.verify_ms for step in steps],
            "committed_ids": np.concatenate([step.emitted for step in steps]),
            "target_top_ids": np.concatenate([step.target_top.ids for step in steps]),
            "target_top_probs": np.concatenate([step.target_top.probs for step in steps]),
            "draft_top_ids": np.concatenate([top.ids for top in tops]),
            "draft_top_probs": np.concatenate([top.probs for top in tops]),
            "uniforms": np.concatenate(
                [np.full(s.gamma, np.nan) if s.uniforms is None else s.uniforms for s in steps]
            ),
        }
        for name in ("window", "target_ids", "experts", "gate_weights", "draft_probs", "target_probs"):
            values = [getattr(step, name) for step in steps]
            arrays[name] = None if values[0] is None else np.concatenate(values)
        typed: dict[str, Any] = {
            name: np.array(array, COLUMNS[name].dtype) for name, array in arrays.items() if array is not None
        }
        return cls(
            geometry=geometry,
            vocabulary=vocabulary,
            texts=(text,),
            token_strings=dict(token_strings or {}),
            **typed,
        )

    @cached_property
    def counts(self) -> np.ndarray:
        """Counts f of each window: positions that used each expert, (steps, layers, experts) int32."""
        layers, experts = self.geometry.layers, self.geometry.experts
        step = np.repeat(np.arange(len(self)), self.gamma + 1)[:, None, None]
        flat = (step * layers + np.arange(layers)[:, None]) * experts + self.experts
        counts = np.bincount(flat.ravel(), minlength=len(self) * layers * experts)
        return counts.reshape(len(self), layers, experts).astype(np.int32)

    def __iter__(self) -> Iterator[Step]:
        """Iterate over the steps."""
        return (self.step(i) for i in range(len(self)))

    @overload
    def __getitem__(self, which: int) -> Step: ...
    @overload
    def __getitem__(self, which: slice) -> Trace: ...
    def __getitem__(self, which: int | slice) -> Step | Trace:
        """Return a step, or the trace of a slice of steps in a row with the prompts of their texts."""
        if not isinstance(which, slice):
            return self.step(which)
        first, last, stride = which.indices(len(self))
        if stride != 1:
            raise InvalidInputError(f"the slice goes in strides of {stride}; expected: 1, steps in a row")
        return cut(self, first, max(first, last))

    def __eq__(self, other: object) -> bool:
        """Tell whether two traces are the same in every bit, times and provenance included."""
        if not isinstance(other, Trace):
            return NotImplemented
        return same(self, other)

    def step(self, i: int, gamma: int | None = None) -> Step:
        """Return step i.

        Parameters
        ----------
        i : int
            Number of the step, from 0; negative numbers count from the end.
        gamma : int, optional
            Draft length, for a dense trace only: the step that a draft of so many tokens would have been.
            None takes all that were recorded.

        Returns
        -------
        Step
            A view. A step shorter than the recorded one was not measured: its times are NaN.

        Raises
        ------
        IndexError
            If there is no such step.
        InvalidInputError
            If `gamma` is longer than what was recorded, or the trace is not dense.

        Examples
        --------
        >>> from moespac_nb.datasets.traces import load_trace
        >>> dense = load_trace("chat", dense=True, half="report")
        >>> [dense.step(7, gamma).accepted for gamma in (0, 2, 8)]
        [0, 2, 4]
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"step {i} of a trace of {len(self)}")
        i %= len(self)
        text = int(self.text_of_step[i])
        recorded, gamma_max = int(self.gamma[i]), self.texts[text].gamma_max
        if gamma is not None and (gamma_max is None or gamma < 0):
            raise InvalidInputError(f"gamma is {gamma}; expected: None, or 0 and more in a dense trace")
        if gamma is not None and gamma > (gamma_max or 0):
            raise InvalidInputError(f"gamma is {gamma}; expected: 0 to {gamma_max}, this trace's γ_max")
        used = recorded if gamma is None else min(gamma, recorded)
        accepted = min(int(self.accepted[i]), used)
        first_verified, first_drafted = int(self.starts["verified"][i]), int(self.starts["drafted"][i])
        verified = slice(first_verified, first_verified + used + 1)
        drafted = slice(first_drafted, first_drafted + used)
        # In a dense trace the tokens that follow are those that the next rows commit.
        begin, end = self.starts["committed"][i], self.starts["committed"][self.starts["steps"][text + 1]]
        measured = 1.0 if used == recorded else float("nan")
        return Step(
            index=int(self.step_index[i]),
            position=int(self.step_position[i]),
            window=self.window[verified].astype(np.int64),
            draft_probs=self.draft_probs[drafted],
            target_probs=self.target_probs[drafted],
            uniforms=None if self.texts[text].mode == "greedy" else self.uniforms[drafted],
            target_ids=self.target_ids[verified].astype(np.int64),
            accepted=accepted,
            emitted=self.committed_ids[begin : min(begin + accepted + 1, end)].astype(np.int64),
            experts=self.experts[verified],
            gate_weights=None if self.gate_weights is None else self.gate_weights[verified],
            experts_per_layer=self.geometry.experts,
            draft_top=Top(self.draft_top_ids[drafted].astype(np.int64), self.draft_top_probs[drafted]),
            target_top=Top(self.target_top_ids[verified].astype(np.int64), self.target_top_probs[verified]),
            draft_ms=float(self.draft_ms[i]) * measured,
            verify_ms=float(self.verify_ms[i]) * measured,
        )

    def rounds(self, gamma: int | GammaPolicy) -> Iterator[Step]:
        """Iterate over the steps that decoding with another draft length would have taken.

        Parameters
        ----------
        gamma : int or GammaPolicy
            The draft length, or the policy that chooses it; the trace must be dense.

        Yields
        ------
        Step
            Numbered from 0 in each text.

        Examples
        --------
        >>> from moespac_nb.datasets.traces import load_trace
        >>> dense = load_trace("chat", dense=True, half="report")
        >>> [step.accepted for step in dense[:12].rounds(4)]
        [2, 1, 0, 0, 4]
        """
        i = 0
        while i < len(self):
            if i in self.starts["steps"]:  # the next text
                number, last_step = 0, None
            length = gamma if isinstance(gamma, int | np.integer) else gamma.next_gamma(last_step)
            last_step = replace(self.step(i, length), index=number)
            yield last_step
            i += len(last_step.emitted)
            number += 1

    def prefill(self, text: int = 0) -> Prefill:
        """Return the target's reading of a text's prompt.

        Parameters
        ----------
        text : int
            Number of the text, from 0.

        Returns
        -------
        Prefill
        """
        rows = slice(*self.starts["prompt"][text : text + 2])
        return Prefill(
            self.prompt_ids[rows].astype(np.int64),
            self.prompt_experts[rows],
            None if self.prompt_gate_weights is None else self.prompt_gate_weights[rows],
            float(self.prefill_ms[text]),
        )

    def save(self, path: str | Path) -> None:
        """Write the trace to one npz file, which is replaced only when the new one is complete.

        Parameters
        ----------
        path : str or Path
            The file.

        Raises
        ------
        MoespacError
            If the file cannot be written.
        """
        npz.write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote.

        Parameters
        ----------
        path : str or Path
            The file.

        Raises
        ------
        MissingDataError
            If there is no such file.
        TraceFormatError
            If it is damaged or no trace; the message names what is wrong.
        """
        return npz.read(Path(path), cls)


def cut(trace: Trace, first: int, last: int) -> Trace:
    """Return steps `first` to `last` - 1, with the whole prompt of every text that they belong to."""
    begin, end = trace.starts["steps"][:-1], trace.starts["steps"][1:]
    inside = np.minimum(end, last) - np.maximum(begin, first)
    texts = np.flatnonzero(inside > 0)
    t0, t1 = (int(texts[0]), int(texts[-1]) + 1) if len(texts) else (0, 0)
    rows = {
        "texts": slice(t0, t1),
        "prompt": slice(*trace.starts["prompt"][[t0, t1]]),
        "steps": slice(first, last),
        **{axis: slice(*trace.starts[axis][[first, last]]) for axis in ("committed", "verified", "drafted")},
    }
    arrays: dict[str, Any] = {name: array[rows[COLUMNS[name].axis]] for name, array in trace.columns.items()}
    arrays["text_steps"] = inside[t0:t1].astype(np.int32)
    channels = {
        name: replace(channel, values=channel.values[rows[channel.rows]])
        for name, channel in trace.channels.items()
    }
    return replace(trace, texts=trace.texts[t0:t1], channels=channels, **arrays)
