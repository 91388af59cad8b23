"""Budgets as people write them, the slots they pay for, and the two accountings."""

from __future__ import annotations

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.hardware.budget import Allotment, Budget, allot, parse_budget
from moespac_nb.hardware.model import load_model_spec
from moespac_nb.utils.exceptions import InvalidInputError

QWEN = load_model_spec("qwen3-30b-a3b")
GEOMETRIES = (st.integers(1, 10**6), st.integers(1, 10**4))  # bytes of an expert, experts


@pytest.mark.parametrize(
    ("written", "share", "size_bytes"),
    [
        ("512MiB", None, 512 * 2**20),
        ("1.5 GiB", None, 3 * 2**29),
        ("300 kB", None, 300_000),
        (" 2tib ", None, 2**41),
        ("7 b", None, 7),
        (".5KB", None, 500),
        ("3MB", None, 3_000_000),
        ("2 Gb", None, 2_000_000_000),
        (4096, None, 4096),
        (np.int64(5), None, 5),
        *((digits, None, 2_000_000) for digits in (2_000_000, "2000000", " 2000000 ", "0002000000")),
        ("25 %", Fraction(1, 4), None),
        ("100 %", Fraction(1), None),
        ("0.1%", Fraction(1, 1000), None),
    ],
)
def test_a_budget_is_read_exactly(written, share, size_bytes) -> None:
    budget = parse_budget(written)
    assert budget == Budget(repr(written), share, size_bytes)
    assert parse_budget(budget) is budget


WORDS = [
    "",
    "%",
    "lots",
    "12 parsecs",
    "5 K",
    "1e3MB",
    "1,5GiB",
    "25%%",
    "0x10B",
    "²GiB",
    "٣",
    "9" * 99 + "B",
]
SIZES = ["0", "0.5", "-25", "9" * 99, "0MiB", "0.4B", "-1GiB", "infGiB"]
SHARES = ["0%", "-5%", "100.1%", "1000%", "nan%", "NaN"]
VALUES = [0, -1, True, None, 0.25, math.nan, math.inf, b"25%", np.float32(3)]


@pytest.mark.parametrize("nonsense", [*WORDS, *SIZES, *SHARES, *VALUES])
def test_nonsense_is_refused_by_name(nonsense) -> None:
    with pytest.raises(InvalidInputError) as refusal:
        parse_budget(nonsense)
    assert f"budget is {nonsense!r}; expected: a share" in str(refusal.value)


@given(*GEOMETRIES, st.integers(1, 10**11))
def test_slots_are_the_most_that_the_budget_pays_for(expert_bytes, experts, size_bytes) -> None:
    budget = parse_budget(size_bytes)
    if size_bytes < expert_bytes:
        with pytest.raises(InvalidInputError, match="at least one slot"):
            budget.allot(expert_bytes, experts)
    elif size_bytes > expert_bytes * experts:
        with pytest.warns(UserWarning, match=f"all {experts} experts take {expert_bytes * experts}"):
            allotment = budget.allot(expert_bytes, experts)
        assert allotment == Allotment(expert_bytes * experts, experts)
    else:
        allotment = budget.allot(expert_bytes, experts)
        assert allotment.budget_bytes == size_bytes
        assert 0 <= size_bytes - allotment.slots * expert_bytes < expert_bytes


@given(st.integers(1, 100), *GEOMETRIES)
def test_a_share_of_the_bytes_is_that_share_of_the_slots(percent, expert_bytes, experts) -> None:
    budget = parse_budget(f"{percent}%")
    if percent * experts < 100:
        with pytest.raises(InvalidInputError, match=f"'{percent}%'.*at least one slot, {expert_bytes} bytes"):
            budget.allot(expert_bytes, experts)
    else:
        assert budget.allot(expert_bytes, experts).slots == percent * experts // 100


def test_a_share_is_of_the_bytes() -> None:
    assert parse_budget("17%").allot(600, 8) == Allotment(816, 1)


@given(st.integers(1, 100), st.integers(1, 8192))
def test_a_draft_is_charged_under_device_equal_alone(percent, context) -> None:
    budget = f"{percent}%"
    plain, *others = (
        allot(accounting, budget, QWEN, draft=draft, context=context)
        for accounting, draft in (("slots-equal", False), ("slots-equal", True), ("device-equal", False))
    )
    assert others == [plain, plain]
    assert (plain.slots, plain.draft_bytes) == (percent * QWEN.all_experts // 100, 0)
    charged = allot("device-equal", budget, QWEN, draft=True, context=context)
    # 4.411 GB of weights, 0.2 GB of workspace, and so many bytes a token
    assert charged.draft_bytes == 4_611_230_000 + context * 147_456
    if charged.fits:
        assert charged.budget_bytes + charged.draft_bytes == plain.budget_bytes
        assert charged.slots * QWEN.expert_bytes <= charged.budget_bytes
    else:
        assert charged.draft_bytes + QWEN.expert_bytes > plain.budget_bytes
        assert charged.slots == charged.budget_bytes == 0


def test_an_eight_bit_draft_is_too_much_for_a_four_bit_target() -> None:
    four_bit = load_model_spec("qwen3-30b-a3b-4bit")
    assert not allot("device-equal", "17%", replace(four_bit, draft=QWEN.draft), draft=True).fits
    assert allot("device-equal", "17%", four_bit, draft=True).fits


def test_an_unknown_accounting_gets_the_nearest() -> None:
    with pytest.raises(InvalidInputError, match=r"'slot-equal'; expected: .* did you mean 'slots-equal'"):
        allot("slot-equal", "17%", load_model_spec("bundled-pair"), draft=False)
