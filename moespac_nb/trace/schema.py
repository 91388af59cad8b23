"""Columns of a trace: what each array holds, its dtype, and what its rows are. Numpy only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, NamedTuple

import numpy as np

from ..utils.exceptions import MissingDataError
from .step import MoEShape

__all__ = [
    "CHANNEL_DTYPES",
    "COLUMNS",
    "EXPERT_CHANNELS",
    "MOST_EXPERTS",
    "MOST_VOCABULARY",
    "REDACTED",
    "Channel",
    "Column",
    "TextInfo",
    "TraceColumns",
    "same",
    "same_array",
]

Axis = Literal["texts", "prompt", "steps", "committed", "verified", "drafted"]
Rows = Literal["verified", "drafted"]

REDACTED = -1  # stands for a token id of a prompt that was taken out, or that was not recorded
CHANNEL_DTYPES = ("bool", "uint8", "int16", "int32", "float16", "float32")
# Channels that name experts, best first, -1 for none: int16 (rows, layers, m); and what their rows are.
EXPERT_CHANNELS: dict[str, Rows] = {"draft-gates": "drafted", "next-gate": "verified"}
MOST_VOCABULARY, MOST_EXPERTS = 2**31 - 1, 2**15 - 1  # the largest int32 id and int16 expert


@dataclass(frozen=True)
class TextInfo:
    """Provenance of the steps of one text.

    Parameters
    ----------
    target, draft : str
        Names of the models; `draft` is None for plain decoding.
    mode : {"greedy", "sample", "unknown"}
        How tokens are chosen; unknown of imported texts whose log does not say.
    temperature, top_k, top_p, min_p : float, int, float, float
        Sampling options; None when greedy, and where an option was not used.
    gamma : str
        The draft length, or the policy that chose it.
    gamma_max : int
        γ_max of a dense trace, None for an ordinary recording.
    seed : int
        Of the random numbers that were drawn; None where it is not known.
    stop_ids : tuple of int
        Token ids that end the text, and end a draft too.
    prompt_id : str
        Of a bundled prompt, else None.
    prompt : str
        None where token ids were given, or where the prompt was redacted.
    text : str
        The whole text, also in a slice that holds a part of it; None where there was no tokenizer.
    finish_reason : str
        None where the text could have gone on.
    versions : mapping of str to str
        Of the packages that recorded the text.
    redacted : bool
        Whether the prompt was taken out.
    stop_strings : tuple of str
        The text ends with the token that completes any of these.
    processors : tuple of str
        Type names of what changed the logits before a token was chosen.
    imported : str
        Format of the log that the text was imported from, None for a recording of this package. An imported
        text may lack token ids, which are -1 then, and gate weights.
    """

    target: str
    draft: str | None
    mode: str
    temperature: float | None
    top_k: int | None
    top_p: float | None
    gamma: str
    gamma_max: int | None
    seed: int | None
    stop_ids: tuple[int, ...]
    prompt_id: str | None
    prompt: str | None
    text: str | None
    finish_reason: str | None
    versions: Mapping[str, str]
    redacted: bool = False
    min_p: float | None = None
    stop_strings: tuple[str, ...] = ()
    processors: tuple[str, ...] = ()
    imported: str | None = None


@dataclass(frozen=True, eq=False)
class Channel:
    """Recorded answers of a sensor that needs a model.

    Parameters
    ----------
    rows : {"verified", "drafted"}
        What a row of `values` belongs to: a verified position or a drafted token.
    values : ndarray
        One row each, of any shape; a dtype of `CHANNEL_DTYPES`.
    """

    rows: Rows
    values: np.ndarray


class Column(NamedTuple):
    """What an array of a trace must look like."""

    dtype: str
    axis: Axis  # what its rows are
    shape: tuple[str, ...] = ()  # of a row: layers, top_k, alternatives, scored
    optional: bool = False


COLUMNS: dict[str, Column] = {
    "text_steps": Column("int32", "texts"),
    "text_prompt": Column("int32", "texts"),
    "prefill_ms": Column("float64", "texts"),
    "prompt_ids": Column("int32", "prompt"),
    "prompt_experts": Column("int16", "prompt", ("layers", "top_k")),
    "prompt_gate_weights": Column("float32", "prompt", ("layers", "top_k"), optional=True),
    "step_index": Column("int32", "steps"),
    "step_position": Column("int32", "steps"),
    "gamma": Column("int32", "steps"),
    "accepted": Column("int32", "steps"),
    "committed": Column("int32", "steps"),
    "draft_ms": Column("float64", "steps"),
    "verify_ms": Column("float64", "steps"),
    "committed_ids": Column("int32", "committed"),
    "window": Column("int32", "verified"),
    "target_ids": Column("int32", "verified"),
    "target_top_ids": Column("int32", "verified", ("alternatives",)),
    "target_top_probs": Column("float32", "verified", ("alternatives",)),
    "experts": Column("int16", "verified", ("layers", "top_k")),
    "gate_weights": Column("float32", "verified", ("layers", "top_k"), optional=True),
    "score_experts": Column("int16", "verified", ("layers", "scored"), optional=True),
    "scores": Column("float32", "verified", ("layers", "scored"), optional=True),
    "draft_probs": Column("float32", "drafted"),
    "target_probs": Column("float32", "drafted"),
    "uniforms": Column("float64", "drafted"),
    "draft_top_ids": Column("int32", "drafted", ("alternatives",)),
    "draft_top_probs": Column("float32", "drafted", ("alternatives",)),
}


@dataclass(frozen=True, eq=False, kw_only=True)
class TraceColumns:
    """The columns of a trace: arrays grouped by what their rows are, see `COLUMNS` for dtypes and shapes.

    Column `text_steps` shares the steps out to the texts, `text_prompt` the prompt tokens; `committed` and
    `gamma` share the tokens and positions out to the steps. `Trace` documents the fields.
    """

    geometry: MoEShape
    vocabulary: int
    texts: tuple[TextInfo, ...]
    token_strings: Mapping[int, str] = field(default_factory=dict)
    channels: Mapping[str, Channel] = field(default_factory=dict)
    notes: tuple[str, ...] = ()  # what an import found odd about its log

    # one row a text
    text_steps: np.ndarray
    text_prompt: np.ndarray  # tokens before the one that opens the first window
    prefill_ms: np.ndarray
    # one row a prompt token
    prompt_ids: np.ndarray
    prompt_experts: np.ndarray
    prompt_gate_weights: np.ndarray | None = None  # None where an imported log has none
    # one row a step
    step_index: np.ndarray  # from 0 in each text
    step_position: np.ndarray
    gamma: np.ndarray  # drafted tokens
    accepted: np.ndarray
    committed: np.ndarray  # tokens that the text grew by: 1 in a dense trace
    draft_ms: np.ndarray  # measured, NaN where it was not
    verify_ms: np.ndarray
    # one row a committed token
    committed_ids: np.ndarray
    # one row a verified position, γ + 1 a step
    window: np.ndarray
    target_ids: np.ndarray
    target_top_ids: np.ndarray
    target_top_probs: np.ndarray
    experts: np.ndarray
    gate_weights: np.ndarray | None = None
    score_experts: np.ndarray | None = None
    scores: np.ndarray | None = None
    # one row a drafted token, γ a step
    draft_probs: np.ndarray
    target_probs: np.ndarray
    uniforms: np.ndarray  # NaN when greedy
    draft_top_ids: np.ndarray
    draft_top_probs: np.ndarray

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """Every array by its name, without the optional ones that were not recorded."""
        named = {name: getattr(self, name) for name in COLUMNS}
        return {name: array for name, array in named.items() if array is not None}

    @cached_property
    def starts(self) -> dict[str, np.ndarray]:
        """First row of each text's steps, prompt; of each step's other rows; the last entry is the end.

        By axis: "steps" and "prompt" have (texts + 1,) entries, "committed", "verified" and "drafted" have
        (steps + 1,).
        """
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
        """Number of the text that each step belongs to, (steps,)."""
        return np.repeat(np.arange(len(self.texts)), self.text_steps)

    @property
    def layout(self) -> dict[str, Any]:
        """What two traces must agree in to be concatenated, by the name for an error message."""
        return {
            "geometry": self.geometry,
            "vocabulary": self.vocabulary,
            "row shapes": {name: array.shape[1:] for name, array in self.columns.items()},
            "channels": {
                name: (channel.rows, channel.values.dtype.str, channel.values.shape[1:])
                for name, channel in self.channels.items()
            },
        }

    def __len__(self) -> int:
        """Return the number of steps."""
        return len(self.step_index)

    @cached_property
    def has_tokens(self) -> bool:
        """Whether the ids of the verified tokens are known; redacted prompts do not count."""
        imported = any(text.imported for text in self.texts)
        return not imported or bool((self.window != REDACTED).any())

    def need(self, what: Literal["tokens", "gate weights", "drafts"], purpose: str) -> None:
        """Raise an error where the trace lacks something, as an imported one may.

        Parameters
        ----------
        what : {"tokens", "gate weights", "drafts"}
            What is needed.
        purpose : str
            What needs it, for the error message.

        Raises
        ------
        MissingDataError
            If the trace has none of it.
        """
        has = {
            "tokens": self.has_tokens,
            "gate weights": self.gate_weights is not None,
            "drafts": bool(len(self.draft_probs)),
        }
        if not has[what]:
            formats = sorted({text.imported for text in self.texts if text.imported})
            source = f", imported from {', '.join(formats)}," if formats else ""
            raise MissingDataError(
                f"the trace{source} has no {what}; expected: a trace with {what} for {purpose}, such as "
                "record(model, prompt, draft=draft) gives"
            )


def same(a: TraceColumns, b: TraceColumns) -> bool:
    """Tell whether two traces are the same in every bit, times and provenance included.

    Parameters
    ----------
    a, b : TraceColumns
        The traces.

    Returns
    -------
    bool
    """
    columns = b.columns
    return (
        a.layout == b.layout
        and (a.texts, a.token_strings, a.notes) == (b.texts, b.token_strings, b.notes)
        and all(same_array(array, columns[name]) for name, array in a.columns.items())
        and all(same_array(channel.values, b.channels[name].values) for name, channel in a.channels.items())
    )


def same_array(a: np.ndarray, b: np.ndarray) -> bool:
    """Tell whether two arrays are the same in dtype, shape and every bit.

    Parameters
    ----------
    a, b : ndarray
        The arrays.

    Returns
    -------
    bool
    """
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
