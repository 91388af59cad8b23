"""What the lessons' tests share: the two tests of all answers, and the traces that prose speaks of."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from typing import Any, Literal

import pytest

from moespac_exercises.checking import check
from moespac_nb import DOMAINS, Trace, load_trace

Wrong = tuple[str, Any, str]  # the exercise, the answer, words of which one is told, parted by |


def answer_tests(
    right: Mapping[str, Any], wrong: Mapping[str, Wrong] | Sequence[Wrong]
) -> tuple[Callable[[str], None], Callable[[Any], None]]:
    """Tests of the right answers by exercise, and of the wrong ones, which may have names."""
    mistakes: dict[Any, Wrong] = dict(wrong) if isinstance(wrong, Mapping) else dict(enumerate(wrong))

    @pytest.mark.parametrize("name", right)
    def test_right(name: str) -> None:
        assert check(name, right[name]).state == "right"

    @pytest.mark.parametrize("mistake", mistakes)
    def test_wrong(mistake: Any) -> None:
        name, answer, words = mistakes[mistake]
        outcome = check(name, answer)
        assert outcome.state == "wrong"
        assert any(part in outcome.sentence for part in words.split("|")), outcome.sentence
        if isinstance(right[name], list | float):
            assert str(right[name]) not in outcome.sentence  # the solution is not told

    return test_right, test_wrong


@cache
def dense_traces(half: Literal["report", "tune"] = "report") -> dict[str, Trace]:
    """The dense traces of every domain, sampled: read once, however many tests look at them."""
    return {domain: load_trace(domain, mode="sample", dense=True, half=half) for domain in DOMAINS}
