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
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, get_origin, get_type_hints, overload

import numpy as np

from .errors import MoespacError
from .step import Geometry, Prefill, Step, Top

if TYPE_CHECKING:
    from .drafts import GammaPolicy

__all__ = ["COLUMNS", "Column", "Sensor", "Text", "Trace"]

Axis = Literal["texts", "prompt", "steps", "committed", "verified", "drafted"]


@dataclass(frozen=True)
class Text:
    """Where the steps of one text come from. `text` is all of it, also in a slice that holds a part."""

    target: str
    draft: str | None  # None for plain decoding
    mode: str  # greedy or sample
    temperature: float | None  # None when greedy, as top_k and top_p
    top_k: int | None
    top_p: float | None
    gamma: str  # the draft length, or the policy that chose it
    fan: int | None  # γ_max of a fan, None of an ordinary recording
    seed: int
    stop_ids: tuple[int, ...]  # it ends with any of these, and so does a draft
    prompt_id: str | None  # of a bundled prompt
    prompt: str | None  # None where it was given as ids, or redacted
    text: str | None  # None where there was no tokenizer
    finish_reason: str | None  # None where more could have come
    versions: Mapping[str, str]  # of what recorded it
    redacted: bool = False
    min_p: float | None = None  # None when greedy too
    stop_strings: tuple[str, ...] = ()  # it ends with the token that completes any of these
    processors: tuple[str, ...] = ()  # what changed the logits before a token was chosen, by type


@dataclass(frozen=True, eq=False)
class Sensor:
    """What something else saw at each verified position or drafted token: one row for each, of any shape."""

    rows: Literal["verified", "drafted"]
    values: np.ndarray


class Column(NamedTuple):
    """What an array of a trace must look like."""

    dtype: str
    axis: Axis  # what its rows are
    shape: tuple[str, ...] = ()  # of a row: layers, top_k, alternatives, scored
    optional: bool = False


@dataclass(frozen=True, eq=False, kw_only=True)
class Trace:
    """Columns by what their rows are; the counts of one axis say how the rows of another are shared out.

    Times are measured, NaN where they were not.
    """

    geometry: Geometry
    vocabulary: int
    texts: tuple[Text, ...]
    pieces: Mapping[int, str] = field(default_factory=dict)  # what a token id reads as
    sensors: Mapping[str, Sensor] = field(default_factory=dict)

    # one row a text
    text_steps: Annotated[np.ndarray, Column("int32", "texts")]
    text_prompt: Annotated[np.ndarray, Column("int32", "texts")]  # tokens before the one that opens a window
    prefill_ms: Annotated[np.ndarray, Column("float64", "texts")]
    # one row a prompt token
    prompt_ids: Annotated[np.ndarray, Column("int32", "prompt")]
    prompt_experts: Annotated[np.ndarray, Column("int16", "prompt", ("layers", "top_k"))]
    prompt_gate_weights: Annotated[np.ndarray, Column("float32", "prompt", ("layers", "top_k"))]
    # one row a step
    step_index: Annotated[np.ndarray, Column("int32", "steps")]  # from 0 in each text
    step_position: Annotated[np.ndarray, Column("int32", "steps")]
    gamma: Annotated[np.ndarray, Column("int32", "steps")]  # drafted tokens
    accepted: Annotated[np.ndarray, Column("int32", "steps")]
    committed: Annotated[np.ndarray, Column("int32", "steps")]  # what the text grew by: in a fan 1
    draft_ms: Annotated[np.ndarray, Column("float64", "steps")]
    verify_ms: Annotated[np.ndarray, Column("float64", "steps")]
    # one row a committed token
    committed_ids: Annotated[np.ndarray, Column("int32", "committed")]
    # one row a verified position, γ + 1 a step
    window: Annotated[np.ndarray, Column("int32", "verified")]
    target_ids: Annotated[np.ndarray, Column("int32", "verified")]
    target_top_ids: Annotated[np.ndarray, Column("int32", "verified", ("alternatives",))]
    target_top_probs: Annotated[np.ndarray, Column("float32", "verified", ("alternatives",))]
    experts: Annotated[np.ndarray, Column("int16", "verified", ("layers", "top_k"))]
    gate_weights: Annotated[np.ndarray, Column("float32", "verified", ("layers", "top_k"))]
    score_experts: Annotated[
        np.ndarray | None, Column("int16", "verified", ("layers", "scored"), optional=True)
    ] = None
    scores: Annotated[
        np.ndarray | None, Column("float32", "verified", ("layers", "scored"), optional=True)
    ] = None
    # one row a drafted token, γ a step
    draft_probs: Annotated[np.ndarray, Column("float32", "drafted")]
    target_probs: Annotated[np.ndarray, Column("float32", "drafted")]
    uniforms: Annotated[np.ndarray, Column("float64", "drafted")]  # NaN when greedy
    draft_top_ids: Annotated[np.ndarray, Column("int32", "drafted", ("alternatives",))]
    draft_top_probs: Annotated[np.ndarray, Column("float32", "drafted", ("alternatives",))]

    def __post_init__(self) -> None:
        from .trace_check import check

        check(self)
        for array in [*self.columns.values(), *(sensor.values for sensor in self.sensors.values())]:
            array.setflags(write=False)

    @classmethod
    def of(
        cls,
        text: Text,
        geometry: Geometry,
        vocabulary: int,
        prefill: Prefill,
        steps: Sequence[Step],
        pieces: Mapping[int, str] | None = None,
    ) -> Trace:
        """The steps of one text as columns; at least one."""
        if not steps:
            raise MoespacError("there is no step to make a trace of; accepted: a decode with at least one")
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
            raise MoespacError(f"the slice goes in strides of {stride}; accepted: 1, steps in a row")
        from .trace_edit import cut

        return cut(self, first, max(first, last))

    def __eq__(self, other: object) -> bool:
        """Same in every bit, times and provenance included."""
        if not isinstance(other, Trace):
            return NotImplemented
        from .trace_edit import same

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
            raise MoespacError(f"gamma is {gamma}; accepted: None, or 0 and more in a fan recording")
        if gamma is not None and gamma > (self.texts[text].fan or 0):
            raise MoespacError(f"gamma is {gamma}; accepted: 0 to {self.texts[text].fan}, this fan's γ_max")
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
        from .trace_edit import redact

        return redact(self)

    def save(self, path: str | Path) -> None:
        """Write one npz file; whatever happens, the file is then the old one or the whole new one."""
        from .trace_file import write

        write(self, Path(path))

    @classmethod
    def load(cls, path: str | Path) -> Trace:
        """Read a file that `save` wrote. Raises MoespacError that names the file and what is wrong."""
        from .trace_file import read

        return read(Path(path))

    def to_frame(self) -> Any:
        """A pandas DataFrame: one row an expert chosen, see `trace_table.COLUMNS`."""
        from .trace_table import to_frame

        return to_frame(self)

    def to_csv(self, path: str | Path) -> None:
        """The same rows as `to_frame`, as text."""
        from .trace_table import to_csv

        to_csv(self, Path(path))


COLUMNS: dict[str, Column] = {
    name: hint.__metadata__[0]
    for name, hint in get_type_hints(Trace, include_extras=True).items()
    if get_origin(hint) is Annotated
}
