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
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from moespac_nb.utils.exceptions import InvalidInputError, MoespacError
from moespac_nb.utils.files import atomic_write

from .checking import Outcome

try:
    import hypothesis  # noqa: F401  # the lessons need it; what is missing is said here, once
    from filelock import FileLock, Timeout
except ImportError as missing:
    raise MoespacError(
        f"the exercises need {missing.name}, which is not installed: pip install 'moespac-nb[exercises]'"
    ) from None

__all__ = ["PLACE", "ClassTable", "as_csv", "class_table", "path", "read", "record", "record_guess"]

PLACE = "MOESPAC_PROGRESS"  # the environment variable that names the file
NAME = "moespac-progress.json"
FORMAT = "moespac-progress-1"
PATIENCE_S = 5
STATES = {"right": "✓", "wrong": "✗"}


def path() -> Path:
    """Return the file of progress: the one that MOESPAC_PROGRESS names, or one in the working folder."""
    return Path(os.environ.get(PLACE) or NAME)


def read(file: Path) -> dict[str, Any]:
    """Return what a file of progress holds; without a file, nothing done yet.

    Parameters
    ----------
    file : Path
        The file.

    Returns
    -------
    dict
        {"exercises": {id: {"state", "tries", "first_right"}}, "guesses": {id: number}}.

    Raises
    ------
    MoespacError
        If the file is not progress.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return {"format": FORMAT, "exercises": {}, "guesses": {}}
    except (OSError, UnicodeDecodeError) as problem:
        raise InvalidInputError(f"{file}: the progress cannot be read: {problem}") from problem
    try:
        progress: dict[str, Any] = json.loads(text)
        sound = progress["format"] == FORMAT and all(
            isinstance(entry["state"], str) and isinstance(entry["tries"], int)
            for entry in progress["exercises"].values()
        )
        sound = sound and isinstance(progress["guesses"], dict)
    except (ValueError, TypeError, KeyError, AttributeError):
        sound = False
    if not sound:
        raise InvalidInputError(
            f"{file} is not a file of progress; expected: what notebooks write. It was left as it is; once "
            "it is moved away, the next check begins a new one"
        )
    return progress


def record(outcome: Outcome) -> None:
    """Add an outcome; what was right once stays right.

    Parameters
    ----------
    outcome : Outcome
        What `check` found.

    Raises
    ------
    MoespacError
        If it cannot be kept.
    """
    if outcome.state == "not yet":
        return

    def add(progress: dict[str, Any]) -> None:
        entry = progress["exercises"].setdefault(outcome.exercise.id, {"state": outcome.state, "tries": 0})
        entry["tries"] += 1
        if outcome.state == "right" and "first_right" not in entry:
            entry |= {"state": "right", "first_right": datetime.now(UTC).isoformat(timespec="seconds")}

    _change(add)


def record_guess(name: str, guess: float) -> None:
    """Keep a guess; the first one counts.

    Parameters
    ----------
    name : str
        Such as "04.P1".
    guess : float
        The number.

    Raises
    ------
    MoespacError
        If it cannot be kept.
    """
    _change(lambda progress: progress["guesses"].setdefault(name, guess))


def _change(change: Callable[[dict[str, Any]], Any]) -> None:
    file = path()
    with _alone(file):
        progress = read(file)
        change(progress)
        with atomic_write(file, "the progress") as written:
            written.write(json.dumps(progress, indent=1, ensure_ascii=False, sort_keys=True).encode() + b"\n")


@contextmanager
def _alone(file: Path) -> Iterator[None]:
    try:
        with FileLock(file.with_name(f".{file.name}.lock"), timeout=PATIENCE_S):
            yield
    except Timeout:
        raise InvalidInputError(
            f"{file} is being written by another notebook for more than {PATIENCE_S} s"
        ) from None
    except OSError as problem:
        raise InvalidInputError(f"{file}: the progress cannot be written: {problem}") from problem


@dataclass(frozen=True)
class ClassTable:
    """What a class has done: a row a learner, a column an exercise.

    Attributes
    ----------
    columns : list of str
        The headings.
    rows : list of list of str
        The learner, how many are right, and for each exercise ✓, ✗ or nothing.
    left_out : list of str
        Which files are no progress, and why.
    """

    columns: list[str]
    rows: list[list[str]]
    left_out: list[str]


def class_table(paths: Iterable[Path]) -> ClassTable:
    """Return many learners' progress as one table.

    Parameters
    ----------
    paths : iterable of Path
        Files, or folders in which they are looked for. A row is named by its file, or by its folder where
        the file has the usual name.

    Raises
    ------
    MoespacError
        If there is no progress at all.
    """
    learners: dict[str, dict[str, Any]] = {}
    left_out = []
    files = {file.resolve(): (name, file) for path in paths for name, file in _files(path)}
    for name, file in files.values():
        try:
            learners[str(file) if name in learners else name] = read(file)["exercises"]
        except MoespacError as problem:
            left_out.append(str(problem))
    if not learners:
        why = f" ({'; '.join(left_out)})" if left_out else ""
        raise InvalidInputError(
            f"no progress was found{why}; expected: files such as {NAME}, or folders with some"
        )
    exercises = sorted({name for done in learners.values() for name in done})
    rows = []
    for name, done in sorted(learners.items()):
        right = sum(entry["state"] == "right" for entry in done.values())
        states = (STATES.get(done[id_]["state"], "") if id_ in done else "" for id_ in exercises)
        rows.append([name, str(right), *states])
    return ClassTable(["learner", "right", *exercises], rows, left_out)


def as_csv(table: ClassTable) -> bytes:
    """Return a table as CSV, for a spreadsheet.

    Parameters
    ----------
    table : ClassTable
        The table.

    Examples
    --------
    >>> as_csv(ClassTable(["learner", "right"], [["ada", "3"]], [])).decode("utf-8-sig").split()
    ['learner,right', 'ada,3']
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([table.columns, *table.rows])
    return text.getvalue().encode("utf-8-sig")  # with the mark by which spreadsheets know the encoding


def _files(path: Path) -> Iterator[tuple[str, Path]]:
    """Files, and what to call them. Hidden folders hold an editor's copies."""
    if path.is_dir():
        for file in sorted(path.rglob("*progress*.json")):
            within = file.relative_to(path)
            if not any(part.startswith(".") for part in within.parts):
                yield _name(path, within), file
    elif path.exists():
        yield _name(path.parent, Path(path.name)), path
    else:
        raise InvalidInputError(f"there is no {path}; expected: files of progress, or folders with some")


def _name(folder: Path, within: Path) -> str:
    if within.name != NAME:
        return within.with_suffix("").as_posix()
    return folder.resolve().name if within.parent == Path() else within.parent.as_posix()
