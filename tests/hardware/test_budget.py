"""Budgets as people write them, and the slots they pay for."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.hardware.budget import Budget, Room, parse_budget
from moespac_nb.utils.exceptions import MoespacError


@pytest.mark.parametrize(
    ("written", "size_bytes"),
    [
        ("512MiB", 512 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("300 kB", 300_000),
        (" 2tib ", 2**41),
        ("7 b", 7),
        (".5KB", 500),
        ("3MB", 3_000_000),
        ("2 Gb", 2_000_000_000),
        (4096, 4096),
        (np.int64(5), 5),
    ],
)
def test_a_size_is_read_in_its_unit(written, size_bytes):
    budget = parse_budget(written)
    assert (budget.size_bytes, budget.share) == (size_bytes, None)


@pytest.mark.parametrize(
    ("written", "share"), [("25%", Fraction(1, 4)), ("100 %", Fraction(1)), ("0.1%", Fraction(1, 1000))]
)
def test_a_share_is_exact(written, share):
    assert parse_budget(written).share == share


@pytest.mark.parametrize("written", ["2000000", " 2000000 ", "0002000000"])
def test_digits_alone_are_bytes_as_the_number_is(written):
    assert parse_budget(written).size_bytes == parse_budget(2_000_000).size_bytes == 2_000_000


def test_a_budget_is_its_own_budget():
    budget = parse_budget("25%")
    assert parse_budget(budget) is budget


@pytest.mark.parametrize(
    "nonsense",
    [
        *(
            "",
            "0",
            "0.5",
            "-25",
            "٣",
            "9" * 99,
            "%",
            "lots",
            "12 parsecs",
            "5 K",
            "1e3MB",
            "1,5GiB",
            "25%%",
            "0x10B",
            "²GiB",
            "9" * 99 + "B",
        ),
        *("0%", "0MiB", "0.4B", "-5%", "-1GiB", "100.1%", "1000%", "nan%", "NaN", "infGiB"),
        *(0, -1, True, None, 0.25, math.nan, math.inf, b"25%", np.float32(3)),
    ],
)
def test_nonsense_is_refused_by_naming_it_and_what_is_accepted(nonsense):
    with pytest.raises(MoespacError) as refusal:
        parse_budget(nonsense)
    assert f"budget is {nonsense!r}; expected: a share" in str(refusal.value)


@given(st.integers(1, 10**6), st.integers(1, 10**4), st.integers(1, 10**11))
def test_slots_are_the_most_that_the_budget_pays_for(expert_bytes, experts, size_bytes):
    budget = parse_budget(size_bytes)
    if size_bytes < expert_bytes:
        with pytest.raises(MoespacError, match="at least one slot"):
            budget.room(expert_bytes, experts)
    elif size_bytes > expert_bytes * experts:
        with pytest.warns(UserWarning, match=f"all {experts} experts take {expert_bytes * experts}"):
            room = budget.room(expert_bytes, experts)
        assert room == Room(expert_bytes * experts, experts)
    else:
        room = budget.room(expert_bytes, experts)
        assert room.budget_bytes == size_bytes
        assert 0 <= size_bytes - room.slots * expert_bytes < expert_bytes


@given(st.integers(1, 100), st.integers(1, 10**6), st.integers(1, 10**4))
def test_a_share_of_the_bytes_is_that_share_of_the_slots(percent, expert_bytes, experts):
    if percent * experts < 100:
        with pytest.raises(MoespacError, match=f"is '{percent}%'.*at least one slot, {expert_bytes} bytes"):
            parse_budget(f"{percent}%").room(expert_bytes, experts)
    else:
        assert parse_budget(f"{percent}%").room(expert_bytes, experts).slots == percent * experts // 100


def test_a_share_is_of_the_bytes():
    assert parse_budget("17%").room(600, 8) == Room(816, 1)


def test_a_budget_says_what_was_written():
    assert parse_budget("25 %") == Budget("'25 %'", share=Fraction(1, 4))
