"""What the figures share: the ink, a layout for light and dark pages, a slider over rounds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from moespac_nb import Step

INK = "#808080"  # readable on the light and on the dark theme


def on_any_page(figure: go.Figure, sentence: str, height: int, **layout: Any) -> go.Figure:
    """The page shows through; the sentence above says the state in words."""
    clear = "rgba(0,0,0,0)"
    figure.update_layout(
        title={"text": sentence, "font": {"size": 14}},
        height=height,
        paper_bgcolor=clear,
        plot_bgcolor=clear,
        font={"color": INK},
        **layout,
    )
    return figure


def rounds_slider(steps: Sequence[Step]) -> dict[str, Any]:
    """Goes to the frame of each round, which bears the round's number as its name."""

    def go_to(step: Step) -> dict[str, Any]:
        options = {
            "mode": "immediate",
            "frame": {"duration": 0, "redraw": True},
            "transition": {"duration": 0},
        }
        return {"label": str(step.index), "method": "animate", "args": [[str(step.index)], options]}

    return {
        "steps": [go_to(step) for step in steps],
        "currentvalue": {"prefix": "round "},
        "pad": {"t": 40},
        "transition": {"duration": 0},
    }
