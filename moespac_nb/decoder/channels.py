"""What can be recorded beside a decode: the routers' scores, and what other sensors would see.

A replay has no model, so what a sensor sees must be in the trace. Hooks on the gates read it while a decoding
runs; nothing in what is decoded changes. Two sensor channels:

- `next-gate`: a layer's gate applied to the input of the gate one layer before; none for the first layer.
- `draft-gates`: the target's gates applied to the state from which the draft proposed a token. The idea is
  SP-MoE's (arXiv 2510.10302), which takes the draft's attention output layer by layer; a draft with fewer
  layers than its target has only its last state to give to all of them. It predicts something where both
  models' states mean the same, as with a draft made of the target's layers; trained apart, it is chance.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from ..models.gates import Gate, gate_input, ready_gates
from ..trace.schema import EXPERT_CHANNELS, Channel
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError
from ..utils.validation import check_choice
from .drafts import ModelDraft

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..trace.step import Step
    from .decoding import Decoding

__all__ = ["Channels"]


class Channels:
    """Records channels of a decoding while the `with` block runs; `take` each of its steps.

    Parameters
    ----------
    decoding : Decoding
        Not started yet.
    scores : bool
        Record each layer's 2·top-k best router scores at every position, before any softmax.
    names : sequence of str
        "draft-gates", "next-gate": record the 2·top-k experts that score best, best first.

    Raises
    ------
    InvalidInputError
        If the models cannot give what is asked for.
    """

    def __init__(self, decoding: Decoding, *, scores: bool, names: Sequence[str]) -> None:
        _check(decoding, scores, names)
        shape = decoding.geometry
        self._decoding = decoding
        self._names = tuple(dict.fromkeys(names))
        self._routers = decoding.info.gates if scores or names else ()
        self._gates = (
            ready_gates(decoding.model, decoding.info.gates, f"channel {names[0]!r}") if names else []
        )
        self._named = min(2 * shape.top_k, shape.experts)
        self._hooks = ExitStack()
        self._read: dict[int, Tensor] = {}  # what each layer's gate read last, (positions, hidden)
        self._scores: dict[int, Tensor] = {}  # and returned, (positions, experts)
        self._states: list[Tensor] = []  # of the draft, (hidden,): one each time it was asked for a token
        nothing = np.empty((0, shape.layers, self._named))
        kept = {"score_experts": np.int16, "scores": np.float32} if scores else {}
        kept |= dict.fromkeys(self._names, np.int16)
        self._rows = {name: [nothing.astype(dtype)] for name, dtype in kept.items()}

    def __enter__(self) -> Channels:
        """Listen to the models' passes from here on."""
        for layer, gate in enumerate(self._routers):
            listen = partial(self._listen, layer)
            self._hooks.enter_context(gate.register_forward_hook(listen, with_kwargs=True))
        if "draft-gates" in self._names:
            head = self._decoding.draft.model.get_output_embeddings()  # type: ignore[union-attr]
            self._hooks.enter_context(head.register_forward_pre_hook(self._listen_to_draft))
        return self

    def __exit__(self, *_: object) -> None:
        """Stop listening."""
        self._hooks.close()

    def _listen(
        self, layer: int, _gate: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], outputs: Any
    ) -> None:
        if self._decoding.is_reading:
            self._read[layer] = gate_input(args, kwargs).flatten(end_dim=-2)
            self._scores[layer] = outputs[0]

    def _listen_to_draft(self, _head: nn.Module, args: tuple[Tensor, ...]) -> None:
        if self._decoding.draft.is_reading:  # type: ignore[union-attr]
            self._states.append(args[0][0, -1])

    @torch.inference_mode()
    def take(self, step: Step) -> None:
        """Keep what the gates read and returned in a step's pass; call it before the next step.

        Parameters
        ----------
        step : Step
            The step that the decoding has just returned.
        """
        if "scores" in self._rows:
            best = torch.stack([self._scores[layer] for layer in range(len(self._routers))], dim=1)
            values, experts = best.float().topk(self._named)
            self._keep("score_experts", experts)
            self._keep("scores", values)
        if "next-gate" in self._names:
            named = [self._named_by(gate, self._read[layer]) for layer, gate in enumerate(self._gates[1:])]
            unknown = torch.full((step.gamma + 1, self._named), -1, device=self._read[0].device)
            self._keep("next-gate", torch.stack([unknown, *named], dim=1))
        if "draft-gates" in self._names and step.gamma:
            # The window's own states are the last ones: those of reading the prompt lie before them.
            states = torch.stack(self._states[-step.gamma :]).to(self._read[0])
            self._keep(
                "draft-gates", torch.stack([self._named_by(gate, states) for gate in self._gates], dim=1)
            )
        self._states.clear()

    def _named_by(self, gate: Gate, states: Tensor) -> Tensor:
        """Name the experts that score best for each state, (n, 2·top-k)."""
        return gate.scores(states).topk(self._named).indices

    def _keep(self, name: str, rows: Tensor) -> None:
        self._rows[name].append(rows.cpu().numpy().astype(self._rows[name][0].dtype))

    def beside(self, trace: Trace) -> Trace:
        """Add the channels to a trace.

        Parameters
        ----------
        trace : Trace
            Of all the steps that were taken.

        Returns
        -------
        Trace
        """
        arrays: dict[str, Any] = {name: np.concatenate(rows) for name, rows in self._rows.items()}
        channels = {name: Channel(EXPERT_CHANNELS[name], arrays.pop(name)) for name in self._names}
        return replace(trace, channels=channels, **arrays)


def _check(decoding: Decoding, scores: bool, names: Sequence[str]) -> None:
    for name in names:
        check_choice("one of the channels", name, EXPERT_CHANNELS)
    if (scores or names) and not decoding.geometry.layers:
        why = decoding.routing_unread
        what = "a dense model" if why is None else f"whose routing cannot be read: {why}"
        raise InvalidInputError(
            f"router scores or channels are asked of {type(decoding.model).__name__}, {what}; "
            "expected: a target with experts"
        )
    if "draft-gates" in names:
        _check_draft(decoding)


def _check_draft(decoding: Decoding) -> None:
    draft = decoding.draft
    if not isinstance(draft, ModelDraft):
        given = "None" if draft is None else type(draft).__name__
        raise InvalidInputError(
            f"draft is {given}; expected for draft-gates: a model, whose state can be read"
        )
    ours, theirs = (model.config.get_text_config().hidden_size for model in (decoding.model, draft.model))
    if ours != theirs:
        raise InvalidInputError(
            f"the draft's state has {theirs} numbers and the target's gates read {ours}; expected for "
            "draft-gates: a draft as wide as its target"
        )
