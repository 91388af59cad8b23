"""A recorded decode: one array a column, of which a `Step` is a view. Numpy only; knows nothing of models.

    trace = Trace.load("math.npz")
    trace[0].accepted, trace[10:20], trace.counts.shape   # a Step, ten of them, (steps, layers, experts)

A trace holds the steps of one text or of several, one after another. A **fan** has a row at every committed
position: a draft of γ_max tokens and its verification. A row commits one token, so the next row stands at the
next position, and a replay that takes `step(i, gamma)` and goes on at `i + len(step.emitted)` is on recorded
ground whatever γ ≤ γ_max it chooses each time.

A trace that exists is whole: whatever disagrees within one raises MoespacError when it is made or read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from ..utils.exceptions import MoespacError
from .schema import COLUMNS, Channel, TextInfo
from .step import MoEShape, Prefill, Step, Top

if TYPE_CHECKING:
    from .step import GammaPolicy

__all__ = ["Trace", "cut", "same"]


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Columns by what their rows are; the counts of one axis say how the rows of another are shared out.

    Times are measured, NaN where they were not.
    """

    geometry: MoEShape
    vocabulary: int
    texts: tuple[TextInfo, ...]
    pieces: Mapping[int, str] = field(default_factory=dict)  # what a token id reads as
    sensors: Mapping[str, Channel] = field(default_factory=dict)

    # one row a text
    text_steps: np.ndarray
    text_prompt: np.ndarray  # tokens before the one that opens a window
    prefill_ms: np.ndarray
    # one row a prompt token
    prompt_ids: np.ndarray
    prompt_experts: np.ndarray
    prompt_gate_weights: np.ndarray
    # one row a step
    step_index: np.ndarray  # from 0 in each text
    step_position: np.ndarray
    gamma: np.ndarray  # drafted tokens
    accepted: np.ndarray
    committed: np.ndarray  # what the text grew by: in a fan 1
    draft_ms: np.ndarray
    verify_ms: np.ndarray
    # one row a committed token
    committed_ids: np.ndarray
    # one row a verified position, γ + 1 a step
    window: np.ndarray
    target_ids: np.ndarray
    target_top_ids: np.ndarray
    target_top_probs: np.ndarray
    experts: np.ndarray
    gate_weights: np.ndarray
    score_experts: np.ndarray | None = None
    scores: np.ndarray | None = None
    # one row a drafted token, γ a step
    draft_probs: np.ndarray
    target_probs: np.ndarray
    uniforms: np.ndarray  # NaN when greedy
    draft_top_ids: np.ndarray
    draft_top_probs: np.ndarray

    def __post_init__(self) -> None:
        from .validation import check

        check(self)
        for array in [*self.columns.values(), *(sensor.values for sensor in self.sensors.values())]:
            array.setflags(write=False)

    @classmethod
    def of(
        cls,
        text: TextInfo,
        geometry: MoEShape,
        vocabulary: int,
        prefill: Prefill,
        steps: Sequence[Step],
        pieces: Mapping[int, str] | None = None,
    ) -> Trace:
        """The steps of one text as columns; at least one."""
        if not steps:
            raise MoespacError("there is no step to make a trace of; expected: a decode with at least one")
        alternatives = steps[0].target_top.ids.shape[1]
        tops = [step.draft_top for step in steps if step.gamma] or [
            Top(np.empty((0, alternatives)), np.empty((0, alternatives)))
        ]
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
            arrays[name] = np.concatenate([getattr(step, name) for step in steps])
        typed: dict[str, Any] = {name: np.array(array, COLUMNS[name].dtype) for name, array in arrays.items()}
        return cls(
            geometry=geometry, vocabulary=vocabulary, texts=(text,), pieces=dict(pieces or {}), **typed
        )

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Every array by its name; optional ones that were not recorded are left out."""
        named = {name: getattr(self, name) for name in COLUMNS}
        return {name: array for name, array in named.items() if array is not None}

    @cached_property
    def starts(self) -> dict[str, np.ndarray]:
        """Where rows begin, one entry more than there are owners: of each text's, or of each step's rows."""
        counts = {
            "steps": self.text_steps,
            "prompt": self.text_prompt,
            "committed": self.committed,
            "verified": self.gamma + 1,
            "drafted": self.gamma,
        }
        return {axis: np.concatenate([[0], np.cumsum(n, dtype=np.int64)]) for axis, n in counts.items()}

    @cached_property
    def text_of_step(self) -> np.ndarray:
        """Which text each step belongs to, (steps,)."""
        return np.repeat(np.arange(len(self.texts)), self.text_steps)

    @cached_property
    def counts(self) -> np.ndarray:
        """The windows' counts f: how many positions went to each expert, (steps, layers, experts) int32."""
        layers, experts = self.geometry.layers, self.geometry.experts
        step = np.repeat(np.arange(len(self)), self.gamma + 1)[:, None, None]
        flat = (step * layers + np.arange(layers)[:, None]) * experts + self.experts
        counts = np.bincount(flat.ravel(), minlength=len(self) * layers * experts)
        return counts.reshape(len(self), layers, experts).astype(np.int32)

    def __len__(self) -> int:
        return len(self.step_index)

    def __iter__(self) -> Iterator[Step]:
        return (self.step(i) for i in range(len(self)))

    @overload
    def __getitem__(self, which: int) -> Step: ...
    @overload
    def __getitem__(self, which: slice) -> Trace: ...
    def __getitem__(self, which: int | slice) -> Step | Trace:
        if not isinstance(which, slice):
            return self.step(which)
        first, last, stride = which.indices(len(self))
        if stride != 1:
            raise MoespacError(f"the slice goes in strides of {stride}; expected: 1, steps in a row")

        return cut(self, first, max(first, last))

    def __eq__(self, other: object) -> bool:
        """Same in every bit, times and provenance included."""
        if not isinstance(other, Trace):
            return NotImplemented

        return same(self, other)

    def step(self, i: int, gamma: int | None = None) -> Step:
        """Step i. Of a fan, the round a draft of `gamma` tokens would have been; None takes all it holds.

        Times are those measured; a round shorter than the recorded one was not measured: NaN.
        """
        if not -len(self) <= i < len(self):
            raise IndexError(f"step {i} of a trace of {len(self)}")
        i %= len(self)
        text = int(self.text_of_step[i])
        held = int(self.gamma[i])
        if gamma is not None and (self.texts[text].fan is None or gamma < 0):
            raise MoespacError(f"gamma is {gamma}; expected: None, or 0 and more in a fan recording")
        if gamma is not None and gamma > (self.texts[text].fan or 0):
            raise MoespacError(f"gamma is {gamma}; expected: 0 to {self.texts[text].fan}, this fan's γ_max")
        used = held if gamma is None else min(gamma, held)
        accepted = min(int(self.accepted[i]), used)
        at, of = int(self.starts["verified"][i]), int(self.starts["drafted"][i])
        seen, drafted = slice(at, at + used + 1), slice(of, of + used)
        # In a fan the tokens that follow are those the next rows commit.
        begin, end = self.starts["committed"][i], self.starts["committed"][self.starts["steps"][text + 1]]
        measured = 1.0 if used == held else float("nan")
        return Step(
            index=int(self.step_index[i]),
            position=int(self.step_position[i]),
            window=self.window[seen].astype(np.int64),
            draft_probs=self.draft_probs[drafted],
            target_probs=self.target_probs[drafted],
            uniforms=None if self.texts[text].mode == "greedy" else self.uniforms[drafted],
            target_ids=self.target_ids[seen].astype(np.int64),
            accepted=accepted,
            emitted=self.committed_ids[begin : min(begin + accepted + 1, end)].astype(np.int64),
            experts=self.experts[seen],
            gate_weights=self.gate_weights[seen],
            experts_per_layer=self.geometry.experts,
            draft_top=Top(self.draft_top_ids[drafted].astype(np.int64), self.draft_top_probs[drafted]),
            target_top=Top(self.target_top_ids[seen].astype(np.int64), self.target_top_probs[seen]),
            draft_ms=float(self.draft_ms[i]) * measured,
            verify_ms=float(self.verify_ms[i]) * measured,
        )

    def rounds(self, gamma: int | GammaPolicy) -> Iterator[Step]:
        """What decoding with this draft length, or policy, would have been: a walk over a fan."""
        i = 0
        while i < len(self):
            if i in self.starts["steps"]:  # the next text
                number, last_step = 0, None
            wanted = gamma if isinstance(gamma, int | np.integer) else gamma.next_gamma(last_step)
            last_step = replace(self.step(i, wanted), index=number)
            yield last_step
            i += len(last_step.emitted)
            number += 1

    def prefill(self, text: int = 0) -> Prefill:
        """The reading of a text's prompt."""
        rows = slice(*self.starts["prompt"][text : text + 2])
        return Prefill(
            self.prompt_ids[rows].astype(np.int64),
            self.prompt_experts[rows],
            self.prompt_gate_weights[rows],
            float(self.prefill_ms[text]),
        )

    def redacted(self) -> Trace:
        """The same without the prompts, see `trace_edit.redact`."""
        from .editing import redact

        return redact(self)

    def save(self, path: str | Path) -> None:
        """Write one npz file; whatever happens, the file is then the old one or the whole new one."""
        from .npz import write

        write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote. Raises MoespacError that names the file and what is wrong."""
        from .npz import read

        return read(Path(path))

    def to_frame(self) -> Any:
        """A pandas DataFrame: one row an expert chosen, see `trace_table.COLUMNS`."""
        from .table import to_frame

        return to_frame(self)

    def to_csv(self, path: str | Path) -> None:
        """The same rows as `to_frame`, as text."""
        from .table import to_csv

        to_csv(self, Path(path))


def cut(trace: Trace, first: int, last: int) -> Trace:
    """Steps first to last - 1, with the whole prompt of every text that they belong to."""
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
    sensors = {
        name: replace(sensor, values=sensor.values[rows[sensor.rows]])
        for name, sensor in trace.sensors.items()
    }
    return replace(trace, texts=trace.texts[t0:t1], sensors=sensors, **arrays)


def same(a: Trace, b: Trace) -> bool:
    """The same in every bit, times and provenance included."""
    theirs = b.columns
    return (
        _kind_of(a) == _kind_of(b)
        and (a.texts, a.pieces) == (b.texts, b.pieces)
        and all(_same_array(array, theirs[name]) for name, array in a.columns.items())
        and all(_same_array(s.values, b.sensors[name].values) for name, s in a.sensors.items())
    )


def _same_array(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def _kind_of(trace: Trace) -> dict[str, Any]:
    """What two traces must agree in to be one."""
    return {
        "geometry": trace.geometry,
        "vocabulary": trace.vocabulary,
        "row shapes": {name: array.shape[1:] for name, array in trace.columns.items()},
        "sensors": {
            name: (sensor.rows, sensor.values.dtype.str, sensor.values.shape[1:])
            for name, sensor in trace.sensors.items()
        },
    }
