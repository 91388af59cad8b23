"""Locality of a trace: how many distinct experts positions use by chance."""

from __future__ import annotations

import numpy as np
import pytest

from moespac_nb.trace.locality import distinct_by_chance


def test_distinct_by_chance_between_its_limits() -> None:
    shares = np.full((2, 64), 4 / 64)
    assert distinct_by_chance(shares, 1) == pytest.approx(4)
    assert 4 < distinct_by_chance(shares, 9) < 36
    assert distinct_by_chance(shares, 10_000) == pytest.approx(64)
    # Popular experts are met again sooner.
    uneven = np.repeat([0.9, 0.1], 32) * 4 / 32
    assert distinct_by_chance(uneven, 9) < distinct_by_chance(shares, 9)


def test_distinct_by_chance_is_what_drawing_gives() -> None:
    rng = np.random.default_rng(2)
    drawn = rng.random((4000, 5, 16)).argsort(axis=-1)[..., :3]
    found = np.mean([len(np.unique(one)) for one in drawn])
    assert distinct_by_chance(np.full(16, 3 / 16), 5) == pytest.approx(found, abs=0.05)
