"""What a learner has done: one JSON file beside the notebooks, and the table that a class makes of many.

Holds exercises and guesses, and nothing about who answered. Writers take turns, so two notebooks at once lose
nothing of each other; a file that is no progress is left as it is.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from ..errors import MoespacError
from ..whole_file import whole_file
from .checking import Outcome

__all__ = ["PLACE", "as_csv", "class_table", "path", "read", "record", "record_guess"]

PLACE = "MOESPAC_PROGRESS"  # the environment variable that names the file
NAME = "moespac-progress.json"
FORMAT = "moespac-progress-1"
PATIENCE_S = 5
STATES = {"right": "✓", "wrong": "✗"}


def path() -> Path:
    """Where progress is kept: the file that MOESPAC_PROGRESS names, or one in the working folder."""
    return Path(os.environ.get(PLACE) or NAME)


def read(file: Path) -> dict[str, Any]:
    """{"exercises": {id: {"state", "tries", "first_right"}}, "guesses": {id: number}}; empty without a file.

    Raises MoespacError for a file that is not progress.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"format": FORMAT, "exercises": {}, "guesses": {}}
    except (OSError, UnicodeDecodeError) as problem:
        raise MoespacError(f"{file}: the progress cannot be read: {problem}") from problem
    try:
        found = json.loads(text)
        sound = found["format"] == FORMAT and all(
            isinstance(each["state"], str) and isinstance(each["tries"], int)
            for each in found["exercises"].values()
        )
        sound = sound and isinstance(found["guesses"], dict)
    except (ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise MoespacError(
            f"{file} is not a file of progress; accepted: what notebooks write. It was left as it is: "
            "move it away, and the next check begins a new one"
        )
    known: dict[str, Any] = found
    return known


def record(outcome: Outcome) -> None:
    """Add an outcome; what was right once stays right. Raises MoespacError where it cannot be kept."""
    if outcome.state == "not yet":
        return

    def add(known: dict[str, Any]) -> None:
        entry = known["exercises"].setdefault(outcome.exercise.id, {"state": outcome.state, "tries": 0})
        entry["tries"] += 1
        if outcome.state == "right" and "first_right" not in entry:
            entry |= {"state": "right", "first_right": datetime.now(UTC).isoformat(timespec="seconds")}

    _change(add)


def record_guess(name: str, guess: float) -> None:
    """Keep a guess; the first one counts. Raises MoespacError where it cannot be kept."""
    _change(lambda known: known["guesses"].setdefault(name, guess))


def _change(change: Callable[[dict[str, Any]], Any]) -> None:
    file = path()
    with _alone(file):
        known = read(file)
        change(known)
        with whole_file(file, "the progress") as written:
            written.write(json.dumps(known, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    try:
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE_S):
            yield
    except Timeout:
        raise MoespacError(
            f"{file} is being written by another notebook for more than {PATIENCE_S} s"
        ) from None
    except OSError as problem:
        raise MoespacError(f"{file}: the progress cannot be written: {problem}") from problem


def class_table(given: Iterable[Path]) -> tuple[list[str], list[list[str]]]:
    """Columns and rows of many learners' files: a row each, a column an exercise, ✓, ✗ or nothing.

    given: files, or folders in which they are looked for. A row is named by its file, or by its folder where
    the file has the usual name. Raises MoespacError for what is no progress, or where there is none.
    """
    files = [file for each in given for file in _files(each)]
    if not files:
        raise MoespacError(f"no progress was found; accepted: files such as {NAME}, or folders with some")
    learners = [(_name(file), read(file)["exercises"]) for file in dict.fromkeys(files)]
    exercises = sorted({name for _, done in learners for name in done})
    rows = []
    for name, done in sorted(learners, key=lambda learner: learner[0]):
        right = sum(entry["state"] == "right" for entry in done.values())
        states = (STATES.get(done[each]["state"], "") if each in done else "" for each in exercises)
        rows.append([name, str(right), *states])
    return ["learner", "right", *exercises], rows


def as_csv(columns: list[str], rows: list[list[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows([columns, *rows])
    return text.getvalue().encode("utf-8-sig")  # with the mark by which spreadsheets know the encoding


def _files(given: Path) -> list[Path]:
    if given.is_dir():
        return sorted(given.rglob("*progress*.json"))
    if not given.exists():
        raise MoespacError(f"there is no {given}; accepted: files of progress, or folders with some")
    return [given]


def _name(file: Path) -> str:
    return file.resolve().parent.name if file.name == NAME else file.stem
