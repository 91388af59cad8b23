"""Decoding stepper: round by round, what was drafted, what became of it, which experts it asked for."""

from __future__ import annotations

from typing import Any

import numpy as np

from moespac_nb import Step, Trace
from moespac_nb.trace.schema import REDACTED

from ...base.assets import Words
from ...base.live_view import LiveView, view_trait
from ...base.serialize import pack
from ..trace_rounds import SENT_BYTES, Rounds, kept

__all__ = ["Stepper"]

WEIGHT_LEVELS = 65535  # gate weights travel as 16-bit shares of the largest


class Stepper(LiveView):
    """Step through a decode: what was drafted, what became of it, which experts it used.

    Parameters
    ----------
    trace : Trace
        A recorded decode.
    gamma : int, optional
        The draft length to show a dense trace with; None takes its longest.
    step, token, layer, expert : int
        What is shown at first. `token` is a position in the window; -1 chooses none.
    limit_bytes : int
        The most data to send. A longer trace is thinned evenly, and the widget says so.

    Raises
    ------
    MoespacError
        If `trace` is no trace, has no steps or no experts, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> view = Stepper(load_trace("math")[:40], step=12, layer=3)
    >>> view.view_code
    'step=12&token=-1&layer=3&expert=-1'
    """

    SCRIPT, TEXTS = "stepper.js", ("stepper", "grid")

    step = view_trait(0)
    token = view_trait(-1)  # position in the window, -1 for none
    layer = view_trait(-1)
    expert = view_trait(-1)

    def __init__(
        self,
        trace: Trace,
        *,
        gamma: int | None = None,
        step: int = 0,
        token: int = -1,
        layer: int = -1,
        expert: int = -1,
        limit_bytes: int = SENT_BYTES,
    ) -> None:
        rounds = Rounds.of(trace, gamma)
        longest = max(step.gamma for step in rounds.steps)
        shown, notices = kept(len(rounds), _bytes_a_step(rounds), limit_bytes)
        super().__init__(
            data=_packed(rounds, shown),
            limits={
                "step": (0, len(rounds) - 1),
                "token": (-1, longest),
                "layer": (-1, rounds.geometry.layers - 1),
                "expert": (-1, rounds.geometry.experts - 1),
            },
            notices=notices + _lacking(trace),
            step=step,
            token=token,
            layer=layer,
            expert=expert,
        )


def _bytes_a_step(rounds: Rounds) -> float:
    geometry = rounds.geometry
    positions = float(np.mean([step.gamma + 1 for step in rounds.steps]))
    id_bytes = 1 if geometry.experts <= 256 else 2
    return positions * (geometry.layers * geometry.top_k * (id_bytes + 2) + 60)


def _packed(rounds: Rounds, shown: np.ndarray) -> dict[str, Any]:
    """Of all rounds what became of the text; of those shown the window and its routing as well."""
    all_steps, geometry, trace = rounds.steps, rounds.geometry, rounds.trace
    steps = [all_steps[i] for i in shown]
    known = trace.gate_weights is not None
    weights = np.concatenate([step.gate_weights if known else np.zeros(step.experts.shape) for step in steps])
    largest = float(weights.max()) or 1.0
    arrays: dict[str, Any] = {
        "kept": shown,
        "text_of": rounds.text,
        "gamma": [step.gamma for step in all_steps],
        "accepted": [step.accepted for step in all_steps],
        "emitted": [len(step.emitted) for step in all_steps],
        "emitted_ids": np.concatenate([_shown(trace, step.emitted, step.position + 1) for step in all_steps]),
        "window": np.concatenate([_shown(trace, step.window, step.position) for step in steps]),
        "ms": [[step.draft_ms, step.verify_ms] for step in steps],
        **{
            name: np.concatenate([getattr(step, name) for step in steps])
            for name in ("target_ids", "draft_probs", "target_probs", "experts")
        },
        "uniforms": np.concatenate(
            [np.full(s.gamma, np.nan) if s.uniforms is None else s.uniforms for s in steps]
        ),
        "top_ids": np.concatenate([step.target_top.ids for step in steps]),
        "top_probs": np.concatenate([step.target_top.probs for step in steps]).astype(np.float32),
        "weights": np.rint(weights / largest * WEIGHT_LEVELS).astype(np.uint16),
    }
    return {
        **{name: pack(np.asarray(array)) for name, array in arrays.items()},
        "layers": geometry.layers,
        "experts_per_layer": geometry.experts,
        "weight_unit": largest / WEIGHT_LEVELS if known else 0,
        "asked": pack((rounds.counts > 0).sum(axis=0)),
        "modes": [text.mode for text in trace.texts],
        "stops": [list(text.stop_ids) for text in trace.texts],
        "prompts": [text.prompt for text in trace.texts],
        "pieces": _pieces(trace, all_steps, steps),
    }


def _pieces(trace: Trace, all_steps: tuple[Step, ...], steps: list[Step]) -> dict[str, str]:
    """Return what the tokens that can be seen read as."""
    ids = [step.emitted for step in all_steps]
    ids += [array for step in steps for array in (step.window, step.target_ids, step.target_top.ids.ravel())]
    seen = np.unique(np.concatenate(ids)).tolist()
    unknown = {str(REDACTED): "?"} if any(text.imported for text in trace.texts) else {}
    return unknown | {
        str(token): trace.token_strings[token] for token in seen if token in trace.token_strings
    }


def _shown(trace: Trace, ids: np.ndarray, position: int) -> np.ndarray:
    """Return token ids, or positions where the trace has no tokens."""
    return ids if trace.has_tokens else position + np.arange(len(ids))


def _lacking(trace: Trace) -> list[Words]:
    return [Words("notice.no_tokens")] * (not trace.has_tokens) + [Words("notice.no_weights")] * (
        trace.gate_weights is None
    )
