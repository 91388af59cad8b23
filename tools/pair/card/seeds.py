"""What is luck in the card's figures: one small training from several seeds, see `train_seeds`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tools.pair.card.markdown import prose, section, table
from tools.pair.card.streams import in_order, label


def spread(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Of runs of the same shape: at each number its mean, its standard deviation (n - 1), and all of them.

    >>> spread([{"a": {"b": 1.0}}, {"a": {"b": 3.0}}])["a"]["b"]
    {'mean': 2.0, 'deviation': 1.4142135623730951, 'runs': [1.0, 3.0]}
    """
    merged: dict[str, Any] = {}
    for name, first in runs[0].items():
        values = [run[name] for run in runs]
        if isinstance(first, Mapping):
            merged[name] = spread(values)
        else:
            deviation = float(np.std(values, ddof=1)) if len(values) > 1 else None
            merged[name] = {"mean": float(np.mean(values)), "deviation": deviation, "runs": values}
    return merged


def show(report: Mapping[str, Any] | None) -> str:
    if report is None:
        return ""
    losses = report["spread"]["held_out_loss_nats"]
    rows = [[f"held-out loss, {label(s)}", *_cells(losses[s], 2)] for s in in_order(losses)]
    for name, figure in report["spread"]["routing"].items():
        rows.append([f"{name} ‡", *_cells(figure, 3)])
    for name, figure in report["spread"]["predicting_recall"].items():
        rows.append([f"recall, {name} ‡", *_cells(figure, 3)])
    seeds = report["seeds"]
    return section(
        "What is luck",
        prose(f"""
            Targets trained for {report["steps"]} steps each, far fewer than the bundled one, from
            {len(seeds)} seeds; all else equal. Measured on held-out text that they only read; recall over
            windows of {report["window_positions"]} consecutive positions. A difference between two rows
            of this card that is not well beyond such a deviation may be luck.
        """),
        table(["figure", "mean ± deviation", *(f"seed {seed}" for seed in seeds)], rows),
    )


def _cells(figure: Mapping[str, Any], digits: int) -> list[str]:
    mean = f"{figure['mean']:.{digits}f}"
    if figure["deviation"] is not None:
        mean += f" ± {figure['deviation']:.{digits}f}"
    return [mean, *(f"{value:.{digits}f}" for value in figure["runs"])]
