"""What was in the slots, round by round, beside what the window asked for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from moespac_nb import MoespacError, Step

from .base import Figure, on_any_page, rounds_slider

__all__ = ["residency_figure"]

_STATES = (
    ("neither", "rgba(128,128,128,0.15)"),
    ("in a slot, not asked for", "rgba(86,180,233,0.45)"),
    ("in a slot and asked for", "#0072B2"),
    ("asked for, in no slot", "#D55E00"),
)


def residency_figure(steps: Sequence[Step], resident: Sequence[np.ndarray]) -> Figure:
    """A map, layers x experts, with a slider over the rounds.

    resident: for each step, (layers, experts) bool: what was in a slot when its window began.
    """
    if not steps or len(steps) != len(resident):
        raise MoespacError(
            f"there are {len(steps)} steps and {len(resident)} maps of what is resident; expected: at least "
            "one step, and one map each"
        )
    for step, held in zip(steps, resident, strict=True):
        if np.shape(held) != step.counts.shape:
            raise MoespacError(
                f"a map of what is resident has shape {np.shape(held)}; expected: that of the counts, "
                f"{step.counts.shape}, layers × experts"
            )
    shown = [_map(step, held) for step, held in zip(steps, resident, strict=True)]
    said = [_sentence(step, held) for step, held in zip(steps, resident, strict=True)]
    figure = go.Figure(shown[0])
    figure.frames = [
        go.Frame(name=str(step.index), data=[one], layout={"title": {"text": words}})
        for step, one, words in zip(steps, shown, said, strict=True)
    ]
    margin = {"l": 60, "r": 20, "t": 60, "b": 90}
    on_any_page(figure, said[0], 400, sliders=[rounds_slider(steps)], margin=margin)
    figure.update_xaxes(title_text="expert", showgrid=False, zeroline=False)
    figure.update_yaxes(title_text="layer", showgrid=False, zeroline=False, autorange="reversed", dtick=1)
    return Figure(figure)


def _map(step: Step, resident: np.ndarray) -> go.Heatmap:
    asked, held = step.counts > 0, np.asarray(resident, bool)
    state = np.where(asked, np.where(held, 2, 3), np.where(held, 1, 0))
    steps = len(_STATES)
    return go.Heatmap(
        z=state, zmin=-0.5, zmax=steps - 0.5, xgap=1, ygap=1, customdata=step.counts,
        text=np.array([words for words, _ in _STATES])[state],
        colorscale=[(edge / steps, colour) for i, (_, colour) in enumerate(_STATES) for edge in (i, i + 1)],
        colorbar={"tickvals": list(range(steps)), "ticktext": [words for words, _ in _STATES]},
        hovertemplate="layer %{y}, expert %{x}: %{text}; %{customdata} positions<extra></extra>",
    )  # fmt: skip


def _sentence(step: Step, resident: np.ndarray) -> str:
    asked, held = step.counts > 0, np.asarray(resident, bool)
    found = int((asked & held).sum())
    return (
        f"Round {step.index}: {int(held.sum())} experts in slots; of {int(asked.sum())} asked for, {found} "
        f"were there"
    )
