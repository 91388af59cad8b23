"""What a draft that errs less often would have had verified: a fan made of a fan's own positions.

    better = better_draft(fan, forgiven=0.5)       # half of the draft's mistakes, as if it had not made them
    replay(better, "recency", "25%", gamma=4)

Where the draft errs, a better one would have gone on with the text's own token. What the target routes for
that token, and what the draft says after it, stand in the row that begins there, with the same text before
them. So a window with a mistake forgiven is put together of recorded positions, and nothing in it is made up.

A worse draft cannot be had like that: the wrong tokens that it would have proposed were never read by the
target.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from ..utils.exceptions import MoespacError
from .trace import Trace

__all__ = ["improve_draft"]

_VERIFIED = (
    "window", "target_ids", "target_top_ids", "target_top_probs", "experts", "gate_weights", "score_experts",
    "scores",
)  # fmt: skip
_DRAFTED = ("draft_probs", "target_probs", "uniforms", "draft_top_ids", "draft_top_probs")


class _Read(NamedTuple):
    """Where a window's position was read: in which row, how far from its beginning."""

    row: int
    offset: int
    good: bool = False  # a mistake was made good here


def improve_draft(fan: Trace, fix_fraction: float, seed: int = 0) -> Trace:
    """A fan as a draft would have left it that makes this share of the mistakes less, 0 to 1.

    Which ones is drawn once for each place in the text: all windows agree about them, and a larger share
    forgives the same and more. The text stays. Of a token that makes a mistake good the probability is not
    known: 1 stands there. Times, and channels that foretell of drafted tokens, are left out.
    """
    if (
        isinstance(fix_fraction, bool)
        or not isinstance(fix_fraction, int | float)
        or not 0 <= fix_fraction <= 1
    ):
        raise MoespacError(f"forgiven is {fix_fraction!r}; expected: a share of the mistakes, 0 to 1")
    if any(text.fan is None for text in fan.texts):
        raise MoespacError("the trace is no fan recording; expected: one of record(…, fan=8) say")
    pardoned = np.random.default_rng(seed).random(len(fan)) < fix_fraction
    windows = [_window(fan, row, pardoned) for row in range(len(fan))]
    read = [one for window, _ in windows for one in window]
    drafted = [one for window, _ in windows for one in window[1:]]
    verified_at = _at(fan, "verified", read)
    # What the draft said instead of a token that makes good stands first in the row before that one's.
    said = [_Read(one.row - 1, 0) if one.good else _Read(one.row, one.offset - 1) for one in drafted]
    drafted_at = _at(fan, "drafted", said)
    every = {name: getattr(fan, name) for name in (*_VERIFIED, *_DRAFTED)}
    arrays: dict[str, Any] = {
        name: array[verified_at if name in _VERIFIED else drafted_at]
        for name, array in every.items()
        if array is not None
    }
    # The committed text holds where a greedy choice was a near tie, as it does in the fan itself.
    greedy = np.array([text.mode == "greedy" for text in fan.texts])[fan.text_of_step]
    righted = np.array([i for i, one in enumerate(read) if one.good and greedy[one.row]], int)
    arrays["target_ids"][righted - 1] = arrays["window"][righted]
    good = np.array([one.good for one in drafted], bool)
    arrays["draft_probs"][good] = arrays["target_probs"][good] = 1.0
    arrays["uniforms"][good] *= 0.0  # NaN stays, where nothing was drawn
    return replace(
        fan,
        texts=tuple(
            replace(text, draft=f"{text.draft}, {fix_fraction:.0%} of its mistakes forgiven")
            for text in fan.texts
        ),
        sensors={
            name: replace(sensor, values=sensor.values[verified_at])
            for name, sensor in fan.sensors.items()
            if sensor.rows == "verified"
        },
        gamma=np.array([len(window) - 1 for window, _ in windows], np.int32),
        accepted=np.array([accepted for _, accepted in windows], np.int32),
        draft_ms=np.full(len(fan), np.nan),
        verify_ms=np.full(len(fan), np.nan),
        **arrays,
    )


def _window(fan: Trace, first: int, pardoned: np.ndarray) -> tuple[list[_Read], int]:
    """Where the positions of the window that begins with this row were read, and how many are accepted."""
    text = int(fan.text_of_step[first])
    end = int(fan.starts["steps"][text + 1])
    most = min(int(fan.texts[text].fan or 0), end - 1 - first)
    row, offset, accepted = first, 0, 0
    read = [_Read(first, 0)]
    while len(read) <= most and offset < fan.gamma[row]:
        place = row + offset  # in the text: a fan has a row for each
        right = offset < fan.accepted[row]
        still = accepted == len(read) - 1
        if still and not right and pardoned[place] and place + 1 < end:
            row, offset = place + 1, 0
        else:
            offset += 1
        accepted += still and (right or not offset)
        read.append(_Read(row, offset, good=not offset))
    return read, accepted


def _at(fan: Trace, axis: str, read: list[_Read]) -> np.ndarray:
    rows, offsets = (np.array([one[i] for one in read], np.int64) for i in (0, 1))
    return np.asarray(fan.starts[axis][rows] + offsets)
