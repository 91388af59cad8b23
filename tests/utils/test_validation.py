"""Checks of arguments: what passes comes back, what does not is named with what is expected."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb.utils.exceptions import InvalidInputError
from moespac_nb.utils.validation import check_choice, check_number, checked_whole, is_whole, warn

NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("value", [2, 5, np.int16(3)])
def test_a_whole_number_in_range_comes_back(value: Any) -> None:
    assert checked_whole("gamma", value, least=2, most=5) == value
    assert type(checked_whole("gamma", value, least=2)) is int
    assert is_whole(value, 2)


@pytest.mark.parametrize("value", [1, 6, 3.0, True, "3", None, NAN, [3]])
def test_any_other_value_is_no_whole_number_in_range(value: Any) -> None:
    assert not is_whole(value, 2, 5)
    with pytest.raises(InvalidInputError, match=r"gamma is .*; expected: a whole number from 2 to 5$"):
        checked_whole("gamma", value, least=2, most=5)


@pytest.mark.parametrize("value", [0.5, 1, np.float32(0.25)])
def test_a_number_in_range_comes_back(value: Any) -> None:
    assert check_number("share", value, above=0, most=1) == float(value)
    assert type(check_number("share", value)) is float


@pytest.mark.parametrize("value", [0, 1.5, -1, True, "1", None, NAN, INF])
def test_any_other_value_is_no_number_in_range(value: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"share is .*; expected: a number above 0, at most 1$"):
        check_number("share", value, above=0, most=1)


def test_a_lower_limit_may_be_included() -> None:
    assert check_number("share", 0, least=0) == 0
    with pytest.raises(InvalidInputError, match=r"share is -1; expected: a number from 0$"):
        check_number("share", -1, least=0)
    with pytest.raises(InvalidInputError, match=r"share is inf; expected: a number$"):
        check_number("share", INF)


@pytest.mark.parametrize("choices", [("greedy", "sample"), {"greedy": 1, "sample": 2}])
def test_a_name_in_a_registry_comes_back(choices: Any) -> None:
    assert check_choice("mode", "greedy", choices) == "greedy"
    with pytest.raises(InvalidInputError, match=r"^mode is 'gready'; expected: greedy, sample; did you mean"):
        check_choice("mode", "gready", choices)
    for value in (None, 3, ["greedy"]):
        with pytest.raises(InvalidInputError, match="expected: greedy, sample"):
            check_choice("mode", value, choices)


def test_a_warning_points_at_the_line_outside_the_package() -> None:
    with pytest.warns(UserWarning, match="take care") as caught:
        warn("take care")
    assert caught[0].filename == __file__
