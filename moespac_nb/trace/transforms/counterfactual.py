"""Build a counterfactual trace for a more accurate draft by splicing recorded positions.

Where the draft errs, a better one would have proposed the text's own token. The target's routing of that
token, and the draft's proposals after it, are recorded in the row that begins there, after the same text. So
a window with a mistake fixed consists of recorded positions only.

A worse draft cannot be built like that: the target never read the wrong tokens that it would have proposed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ...utils.exceptions import InvalidInputError
from ...utils.validation import check_number
from ..trace import Trace

__all__ = ["improve_draft"]

_VERIFIED = (
    "window", "target_ids", "target_top_ids", "target_top_probs", "experts", "gate_weights", "score_experts",
    "scores",
)  # fmt: skip
_DRAFTED = ("draft_probs", "target_probs", "uniforms", "draft_top_ids", "draft_top_probs")


class _Read(NamedTuple):
    """Where a position of a window was recorded: its row, and its offset in that row's window."""

    row: int
    offset: int
    fixed: bool = False  # the draft's mistake here was fixed


def improve_draft(dense: Trace, fix_fraction: float, seed: int = 0) -> Trace:
    """Return the dense trace of a draft that makes a share of the mistakes less.

    Mistakes to fix are drawn once for each position of the text: all windows agree about them, and a larger
    share fixes the same ones and more. The text stays. The probability of a token that replaces a mistake is
    not known and becomes 1. Times, and sensor channels of drafted tokens, are left out.

    Parameters
    ----------
    dense : Trace
        A dense trace.
    fix_fraction : float
        Share of the draft's mistakes to fix, 0 to 1.
    seed : int
        Of the draw.

    Returns
    -------
    Trace

    Raises
    ------
    InvalidInputError
        If the trace is not dense, or the share out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> dense = load_trace("chat", dense=True, half="report")
    >>> better = improve_draft(dense, fix_fraction=0.5)
    >>> [round(float(trace.accepted.mean()), 1) for trace in (dense, better)]
    [3.8, 4.9]
    """
    check_number("fix_fraction", fix_fraction, least=0, most=1)
    if any(text.gamma_max is None for text in dense.texts):
        raise InvalidInputError("the trace is not dense; expected: one of record(…, dense=8) say")
    to_fix = np.random.default_rng(seed).random(len(dense)) < fix_fraction
    windows = [_window(dense, row, to_fix) for row in range(len(dense))]
    verified = [position for window, _ in windows for position in window]
    drafted = [position for window, _ in windows for position in window[1:]]
    verified_rows = _rows(dense, "verified", verified)
    # What the draft proposed instead of a fixed token is the first proposal of the row before.
    proposed = [_Read(p.row - 1, 0) if p.fixed else _Read(p.row, p.offset - 1) for p in drafted]
    drafted_rows = _rows(dense, "drafted", proposed)
    columns = {name: getattr(dense, name) for name in (*_VERIFIED, *_DRAFTED)}
    arrays: dict[str, Any] = {
        name: array[verified_rows if name in _VERIFIED else drafted_rows]
        for name, array in columns.items()
        if array is not None
    }
    # The committed text holds where a greedy choice was a near tie, as it does in the dense trace itself.
    greedy = np.array([text.mode == "greedy" for text in dense.texts])[dense.text_of_step]
    replaced = np.array([i for i, p in enumerate(verified) if p.fixed and greedy[p.row]], int)
    arrays["target_ids"][replaced - 1] = arrays["window"][replaced]
    fixed = np.array([p.fixed for p in drafted], bool)
    arrays["draft_probs"][fixed] = arrays["target_probs"][fixed] = 1.0
    arrays["uniforms"][fixed] *= 0.0  # NaN stays, where nothing was drawn
    return replace(
        dense,
        texts=tuple(
            replace(text, draft=f"{text.draft}, {fix_fraction:.0%} of its mistakes fixed")
            for text in dense.texts
        ),
        channels={
            name: replace(channel, values=channel.values[verified_rows])
            for name, channel in dense.channels.items()
            if channel.rows == "verified"
        },
        gamma=np.array([len(window) - 1 for window, _ in windows], np.int32),
        accepted=np.array([accepted for _, accepted in windows], np.int32),
        draft_ms=np.full(len(dense), np.nan),
        verify_ms=np.full(len(dense), np.nan),
        **arrays,
    )


def _window(dense: Trace, first: int, to_fix: np.ndarray) -> tuple[list[_Read], int]:
    """Return where a window's positions were recorded, and its accepted length."""
    text = int(dense.text_of_step[first])
    end = int(dense.starts["steps"][text + 1])
    most = min(int(dense.texts[text].gamma_max or 0), end - 1 - first)
    row, offset, accepted = first, 0, 0
    positions = [_Read(first, 0)]
    while len(positions) <= most and offset < dense.gamma[row]:
        place = row + offset  # in the text: a dense trace has a row for each
        correct = offset < dense.accepted[row]
        all_accepted = accepted == len(positions) - 1
        if all_accepted and not correct and to_fix[place] and place + 1 < end:
            row, offset = place + 1, 0
        else:
            offset += 1
        accepted += all_accepted and (correct or not offset)
        positions.append(_Read(row, offset, fixed=not offset))
    return positions, accepted


def _rows(dense: Trace, axis: str, positions: list[_Read]) -> np.ndarray:
    rows, offsets = (np.array([position[i] for position in positions], np.int64) for i in (0, 1))
    return np.asarray(dense.starts[axis][rows] + offsets)
