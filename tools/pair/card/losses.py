"""Held-out loss by stream, both models. Needs the corpus: without it there is nothing to measure."""

from __future__ import annotations

from typing import Any

from tools.pair.card.markdown import section, table
from tools.pair.card.streams import with_means

Losses = dict[str, dict[str, float]]


def measure(target: Any, draft: Any, windows: int) -> Losses | None:
    """Nats a token by stream; None without the corpus."""
    from tools.pair.train import CORPUS, held_out_loss

    if not list(CORPUS.glob("*.held-out.npy")):
        return None
    both = [held_out_loss(model, windows=windows) for model in (target, draft)]
    return {stream: {"target": both[0][stream], "draft": both[1][stream]} for stream in both[0]}


def show(losses: Losses | None) -> str:
    if losses is None:
        return ""
    rows = with_means({stream: [v["target"], v["draft"]] for stream, v in losses.items()})
    return section(
        "Held-out loss",
        "Nats a token.",
        table(["held-out text", "target", "draft"], [[n, *(f"{x:.2f}" for x in v)] for n, v in rows]),
    )
