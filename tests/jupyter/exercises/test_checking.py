"""Exercises: the smallest failing case in words, never a traceback, and progress that nothing loses."""

from __future__ import annotations

import _thread
import json
import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import strategies as st

from moespac_exercises import NOTEBOOKS, Exercise, checking, predict, progress, reveal
from moespac_exercises import display as shown
from moespac_exercises.checking import Outcome
from moespac_exercises.checking import check as outcome_of
from moespac_nb import MoespacError
from moespac_nb.cli import main as cli
from tests.helpers.interrupts import ctrl_c_is_heard


def _doubled(answer: Callable[[list[int]], Any], case: list[int]) -> str | None:
    given = answer(case)
    return (
        None if len(given) == 2 * len(case) else f"for {case} it returned {given}, which is not twice as long"
    )


DOUBLE = Exercise(
    "99.1", "Twice", takes="a function of (items)", cases=st.lists(st.integers(0, 9)), fault=_doubled
)
SIGN = Exercise(
    "99.2", "Sign", takes="a number", cases=(1, -1), fault=lambda a, c: None if a * c > 0 else f"case {c}"
)


@pytest.fixture(autouse=True)
def _made_up(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two exercises of the tests' own, and a folder of their own."""
    known = {each.id: each for each in (DOUBLE, SIGN)}
    real = checking.exercise
    monkeypatch.setattr(checking, "exercise", lambda name: known.get(name) or real(name))
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(progress.PLACE, raising=False)
    monkeypatch.setattr(shown, "_guesses", {})
    monkeypatch.setattr(shown, "_revealed", set())
    monkeypatch.setattr(shown, "_told", set())


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was displayed, in plain words."""
    lines: list[str] = []
    monkeypatch.setattr(shown, "display", lambda data, **_: lines.append(data["text/plain"]))
    return lines


def test_a_right_answer_is_right_in_all_cases() -> None:
    outcome = outcome_of("99.1", lambda items: items * 2)
    assert (outcome.state, outcome.case) == ("right", None)
    assert "150 cases" in outcome.sentence


def test_a_wrong_answer_is_told_with_the_smallest_case() -> None:
    outcome = outcome_of("99.1", lambda items: items + items[:1] * len(items) if len(items) < 3 else items)
    assert (outcome.state, outcome.case) == ("wrong", [0, 0, 0])
    assert outcome.sentence == "for [0, 0, 0] it returned [0, 0, 0], which is not twice as long"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda items: 1 / 0, "for [] it raised ZeroDivisionError: division by zero"),
        (lambda items: items[0], "for [] it raised IndexError: list index out of range"),
        (lambda: 3, "for [] it raised TypeError: "),
        (lambda items: 7, "for [] it returned 7, which cannot be right: TypeError: "),
        (lambda items: sys.exit("bye"), "for [] it raised SystemExit: bye"),
        (lambda items: outcome_of("99.1", items), None),
    ],
)
def test_what_an_answer_raises_is_told_with_its_case(answer: Any, words: str | None) -> None:
    outcome = outcome_of("99.1", answer)
    assert outcome.state == "wrong"
    assert words is None or outcome.sentence.startswith(words)


def test_a_value_that_cannot_be_worked_with_is_told() -> None:
    def unhappy(answer: list[Any], case: None) -> str | None:
        return None if set(answer) == {1} else "not that"

    asked = Exercise("99.3", "Unhappy", takes="a list", cases=(None,), fault=unhappy)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "exercise", lambda name: asked)
        outcome = outcome_of("99.3", [[1], [2]])
    assert outcome.state == "wrong"
    assert outcome.sentence.startswith("[[1], [2]] cannot be right: TypeError: ")


def test_an_answer_that_changes_what_it_is_given_changes_no_case() -> None:
    def emptying(items: list[int]) -> list[int]:
        items.clear()
        return items

    outcome = outcome_of("99.1", emptying)
    assert (outcome.case, outcome.sentence) == ([0], "for [0] it returned [], which is not twice as long")


def test_an_answer_that_differs_from_call_to_call_is_wrong() -> None:
    calls: list[int] = []

    def once(items: list[int]) -> list[int]:
        calls.append(1)
        return items * (2 if len(calls) != 5 else 0) + [7] * (len(calls) == 5)

    outcome = outcome_of("99.1", once)
    assert outcome.state == "wrong"
    assert outcome.sentence.endswith("Called again, it did better: one input, one answer")


def test_only_what_is_printed_for_the_case_shown_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    def talking(items: list[int]) -> list[int]:
        print("given", items)
        return items * (2 if len(items) < 3 else 1)

    assert outcome_of("99.1", talking).case == [0, 0, 0]
    assert capsys.readouterr().out == "given [0, 0, 0]\n"


def test_endless_recursion_is_told_too() -> None:
    def forever(items: list[int]) -> list[int]:
        return forever(items)

    assert "RecursionError" in outcome_of("99.1", forever).sentence


def test_an_endless_loop_can_be_interrupted_and_leaves_nothing(said: list[str]) -> None:
    def endless(items: list[int]) -> list[int]:
        threading.Timer(0.2, _thread.interrupt_main).start()  # not sooner: some code swallows it
        while True:
            pass

    with ctrl_c_is_heard(), pytest.raises(KeyboardInterrupt):
        shown.check("99.1", endless)
    assert (os.listdir(), said) == ([], [])
    shown.check("99.1", lambda items: items * 2)
    assert said == ["✓ 99.1 Twice: right in all of 150 cases."]


def test_dots_are_not_yet_an_answer() -> None:
    def blank(items: list[int]) -> None: ...

    def named(items: list[int]) -> Any:
        return ...

    def half(items: list[int]) -> None:
        items * 2

    for answer in (..., None, blank, named, half):
        assert outcome_of("99.1", answer).state == "not yet"
    assert outcome_of("99.2", ...).state == "not yet"


@pytest.mark.parametrize("answer", ["2", [2], True, {}, lambda: 2, float("nan"), np.True_, 2j])
def test_another_kind_of_answer_is_named(answer: Any) -> None:
    outcome = outcome_of("99.2", answer)
    assert outcome.state == "wrong"
    assert outcome.sentence.startswith("the answer is a number, and this is a ")


def test_listed_cases_are_tried_in_order() -> None:
    assert outcome_of("99.2", 3).case == -1
    assert outcome_of("99.2", 3).sentence == "case -1"


def test_an_unknown_exercise_names_the_known() -> None:
    with pytest.raises(MoespacError, match=r"expected: 00\.1, 00\.2"):
        outcome_of("00.9", 1)
    with pytest.raises(MoespacError, match=r"such as '04\.2'"):
        outcome_of(4.2, 1)  # type: ignore[arg-type]


def test_a_notebook_whose_exercises_are_not_written_yet_is_told(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(NOTEBOOKS, "98", "not_written")
    shown.check("98.1", 1)
    assert said == ["✗ check: notebook 98 has no exercises yet; expected: those of another notebook"]


def test_checking_leaves_no_file() -> None:
    outcome_of("99.1", lambda items: items)
    assert os.listdir() == []


def _kept() -> dict[str, Any]:
    return dict(json.loads(Path("moespac-progress.json").read_text()))


def test_progress_counts_tries_and_keeps_what_was_right(said: list[str]) -> None:
    for answer in (..., 1, lambda items: items * 2, 1):
        shown.check("99.1", answer)
    entry = _kept()["exercises"]["99.1"]
    assert (entry["state"], entry["tries"]) == ("right", 3)
    assert [line[0] for line in said] == ["…", "✗", "✓", "✗"]


def test_two_at_once_lose_nothing_of_each_other() -> None:
    outcomes = [Outcome(Exercise(f"98.{n}", "", "", (), SIGN.fault), "right", "") for n in range(8)]
    writers = [threading.Thread(target=progress.record, args=[outcome]) for outcome in outcomes]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert len(_kept()["exercises"]) == 8


@pytest.mark.parametrize("damaged", ["", "{", "[]", '{"format": "other"}', '{"exercises": 3}', "\xff"])
def test_a_damaged_file_is_kept_and_said_once(said: list[str], damaged: str) -> None:
    path = Path("moespac-progress.json")
    path.write_bytes(damaged.encode("latin-1"))
    for _ in range(2):
        shown.check("99.2", 1)
    assert path.read_bytes() == damaged.encode("latin-1")
    assert len([line for line in said if "Progress is not kept" in line]) == 1


def test_where_nothing_can_be_written_the_check_goes_on(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("taken").write_text("a file, and no folder")
    monkeypatch.setenv(progress.PLACE, "taken/progress.json")
    shown.check("99.1", lambda items: items * 2)
    assert said[0].startswith("✓ 99.1 Twice: right")
    assert "Progress is not kept" in said[1]


def test_a_guess_stands_beside_the_number(said: list[str]) -> None:
    reveal("04.P1", 2.0, "×")
    predict("04.P1", ...)
    predict("04.P1", 3)
    predict("04.P1", 2)
    reveal("04.P1", 2.0, "×")
    assert said == [
        "= 04.P1: it is 2×. There was no guess to compare with.",
        "… 04.P1: no guess yet. Put a number in place of the dots, then run the next cell.",
        "? 04.P1: your guess is 3. The number has been shown already.",
        "? 04.P1: your guess is 2. Your first guess counts, and it was 3.",
        "= 04.P1: it is 2×. Your guess: 3×, 1.5 times as much.",
    ]
    assert _kept()["guesses"] == {"04.P1": 3.0}


def test_a_guess_outlives_its_kernel(said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    predict("04.P1", 3)
    monkeypatch.setattr(shown, "_guesses", {})
    reveal("04.P1", 0.0)
    predict("04.P1", 4)
    assert said == [
        "? 04.P1: your guess is 3.",
        "= 04.P1: it is 0. Your guess: 3.",
        "? 04.P1: your guess is 4. Your first guess counts, and it was 3.",
    ]
    assert _kept()["guesses"] == {"04.P1": 3.0}


@pytest.mark.parametrize("value", ["2", None, ..., float("inf"), [2.0]])
def test_a_value_that_is_no_number_is_not_revealed(said: list[str], value: Any) -> None:
    reveal("04.P1", value, "×")
    assert said == [f"✗ 04.P1: the value is {value!r}; expected: a number, which the cells above compute"]


@pytest.mark.parametrize("guess", ["3", [3], float("nan"), True, 10**400])
def test_a_guess_that_is_no_number_is_refused_in_words(said: list[str], guess: Any) -> None:
    predict("04.P1", guess)
    predict("P1", 3)
    assert "expected: a number" in said[0]
    assert "expected: one such as '04.P1'" in said[1]


def test_a_class_makes_one_table(
    said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for name, answer in (("ada", 1), ("bob", 3)):
        (tmp_path / name).mkdir()
        monkeypatch.setenv(progress.PLACE, str(tmp_path / name / "moespac-progress.json"))
        shown.check("99.1", lambda items: items * 2)
        if name == "bob":
            shown.check("99.2", answer)
    assert cli.main(["progress", str(tmp_path), "--csv", str(tmp_path / "class.csv")]) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()[:3]] == [
        ["learner", "right", "99.1", "99.2"],
        ["ada", "1", "✓"],
        ["bob", "1", "✓", "✗"],
    ]
    assert (tmp_path / "class.csv").read_text("utf-8-sig").splitlines()[2] == "bob,1,✓,✗"


def test_learners_are_told_apart_and_strange_files_left_out(
    said: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = Path("class/a/room/moespac-progress.json")
    kept.parent.mkdir(parents=True)
    monkeypatch.setenv(progress.PLACE, str(kept))
    shown.check("99.2", 1)
    for other in ("class/b/room/moespac-progress.json", "class/b/progress-of-bo.json"):
        Path(other).parent.mkdir(parents=True, exist_ok=True)
        Path(other).write_bytes(kept.read_bytes())
    Path("class/.ipynb_checkpoints").mkdir()
    Path("class/.ipynb_checkpoints/moespac-progress-checkpoint.json").write_bytes(kept.read_bytes())
    Path("class/c-progress.json").write_text("{")
    assert cli.main(["progress", "class", "--json"]) == 0
    printed = capsys.readouterr()
    assert [row["learner"] for row in json.loads(printed.out)] == ["a/room", "b/progress-of-bo", "b/room"]
    assert printed.err.startswith(f"left out: {Path('class/c-progress.json')} is not a file of progress")
    cli.main(["progress", *map(str, Path("class").glob("*/room/*.json")), str(kept), "--json"])
    assert len({row["learner"] for row in json.loads(capsys.readouterr().out)}) == 2


@pytest.mark.parametrize(("name", "said"), [("nothing", "there is no"), (".", "no progress was found")])
def test_a_class_without_progress_is_told(capsys: pytest.CaptureFixture[str], name: str, said: str) -> None:
    assert cli.main(["progress", name]) == cli.BAD_INPUT
    assert said in capsys.readouterr().err
