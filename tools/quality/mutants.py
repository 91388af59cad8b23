"""Faults put into the code one at a time: does a test fail with each?

python -m tools.quality.mutants [--only WORD …] [--afresh] [--list]

The faults are in mutants.toml beside it: in `file`, which text `was` there, what it `became`, and the `tests`
nearest to it. One whose behaviour is `equal` says why, and is not run. All is done in a temporary copy; the
checkout is never touched. Verdicts are kept in build/mutants.json, so that a run that broke off goes on, and
a fault is tried again only where it, its file or its tests have changed. Ends with 1 where a fault survives.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LEFT_OUT = (".*", "build", "dist", "runs", "__pycache__", "*.egg-info", "node_modules")
LIMIT_S = 600  # of one fault's tests; what takes longer hangs, and a test that hangs has not failed


class MutantError(Exception):
    """The list of faults does not fit the code."""


@dataclass(frozen=True)
class Mutant:
    """One fault."""

    name: str
    file: str
    was: str
    became: str = ""
    tests: tuple[str, ...] = ()
    equal: str = ""  # why no test can tell the difference

    def applied(self, root: Path) -> str:
        """The file's text with the fault in it. Raises MutantError where the text is not there just once."""
        path = root / self.file
        text = path.read_text("utf-8") if path.is_file() else ""
        if (found := text.count(self.was)) != 1:
            raise MutantError(
                f"{self.name}: `was` stands {found} times in {self.file}, and must stand there once; "
                f"write down what the code says now:\n{self.was}"
            )
        return text.replace(self.was, self.became)

    def digest(self, root: Path) -> str:
        """Changes with the fault, the file it is put into, and the tests that are to see it."""
        files = sorted({self.file, *(test.split("::")[0] for test in self.tests)})
        whole = repr(self).encode() + b"".join((root / name).read_bytes() for name in files)
        return hashlib.sha256(whole).hexdigest()


def read(path: Path, root: Path = ROOT) -> list[Mutant]:
    """The faults of a list, each checked against the code."""
    rows: list[dict[str, Any]] = tomllib.loads(path.read_text("utf-8")).get("mutant", [])
    mutants = []
    for row in rows:
        try:
            one = Mutant(**{**row, "tests": tuple(row.get("tests", ()))})
        except TypeError as error:
            raise MutantError(f"{row.get('name', row)}: {error}") from None
        if bool(one.equal) == bool(one.tests):
            raise MutantError(f"{one.name}: it must have `tests`, or say why it is `equal`, and not both")
        if missing := [test for test in one.tests if not (root / test.split("::")[0]).is_file()]:
            raise MutantError(f"{one.name}: there is no {missing[0]}")
        if one.applied(root) == (root / one.file).read_text("utf-8"):
            raise MutantError(f"{one.name}: it changes nothing")
        mutants.append(one)
    names = [one.name for one in mutants]
    if twice := {name for name in names if names.count(name) > 1}:
        raise MutantError(f"{', '.join(sorted(twice))}: the name stands twice")
    return mutants


def copied(root: Path, into: Path) -> Path:
    """The checkout without what is built, cached or git's."""
    shutil.copytree(root, into, ignore=shutil.ignore_patterns(*LEFT_OUT), symlinks=True)
    return into


def first_failure(copy: Path, tests: Iterable[str]) -> str | None:
    """The first of these tests that fails in the copy; "" where none does, None where they hang."""
    paths = os.pathsep.join(map(str, (copy, copy / "widgets")))
    # Bytecode goes by the second and the size of its source: a fault put in quickly might not be seen.
    environment = {**os.environ, "PYTHONPATH": paths, "PYTHONDONTWRITEBYTECODE": "1"}
    # All plugins together take longer to load than most of these tests to run.
    environment["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "pytest_timeout", *tests]
    shutil.rmtree(copy / ".pytest_cache", ignore_errors=True)
    try:
        done = subprocess.run(
            command, cwd=copy, env=environment, capture_output=True, text=True, timeout=LIMIT_S
        )
    except subprocess.TimeoutExpired:
        return None
    failures = copy / ".pytest_cache" / "v" / "cache" / "lastfailed"
    if done.returncode and not failures.exists():
        raise MutantError(f"{' '.join(tests)} did not run:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return next(iter(json.loads(failures.read_text("utf-8")))) if done.returncode else ""


def run(mutants: list[Mutant], known: Path, root: Path = ROOT) -> dict[str, str]:
    """A verdict a fault: caught, survived, hung or equal. `known` holds those of before, and of this run."""
    kept: dict[str, list[str]] = json.loads(known.read_text("utf-8")) if known.exists() else {}
    digests = {one.name: one.digest(root) for one in mutants}
    todo = [one for one in mutants if not one.equal and kept.get(one.name, [""])[0] != digests[one.name]]
    sound: set[str] = set()  # tests that pass without a fault
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = copied(root, Path(folder) / "copy") if todo else Path(folder)
        for one in todo:
            path, start = copy / one.file, perf_counter()
            whole = path.read_bytes()
            path.write_text(one.applied(copy), "utf-8")
            test = first_failure(copy, one.tests)
            path.write_bytes(whole)
            if test and test not in sound:
                if first_failure(copy, [test]) != "":
                    raise MutantError(f"{test} does not pass without any fault: mend that first")
                sound.add(test)
            verdict = "caught" if test else "HUNG" if test is None else "SURVIVED"
            print(f"{verdict:9} {one.name}  {test or ''} ({perf_counter() - start:.0f} s)", flush=True)
            kept[one.name] = [digests[one.name], verdict]
            known.parent.mkdir(exist_ok=True)
            known.write_text(json.dumps(kept, indent=1), "utf-8")
    return {one.name: "equal" if one.equal else kept[one.name][1] for one in mutants}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--only", nargs="+", metavar="WORD", help="those whose name or file has one of these")
    parser.add_argument("--afresh", action="store_true", help="forget the verdicts of before")
    parser.add_argument("--list", action="store_true", help="name them, and run none")
    parser.add_argument(
        "--mutants", type=Path, default=ROOT / "tools" / "quality" / "mutants.toml", help="the list"
    )
    options = parser.parse_args(arguments)
    known = ROOT / "build" / "mutants.json"
    try:
        mutants = read(options.mutants)
        if options.only:
            mutants = [one for one in mutants if any(word in one.name + one.file for word in options.only)]
        if options.list:
            print("\n".join(f"{one.name}  {one.file}" for one in mutants))
            return 0
        if options.afresh:
            known.unlink(missing_ok=True)
        verdicts = run(mutants, known)
    except MutantError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    count = {verdict: list(verdicts.values()).count(verdict) for verdict in sorted(set(verdicts.values()))}
    print(f"{len(verdicts)} faults: " + ", ".join(f"{number} {verdict}" for verdict, number in count.items()))
    for name, verdict in verdicts.items():
        if verdict not in ("caught", "equal"):
            print(f"{verdict}: {name}")
    return int(not count.keys() <= {"caught", "equal"})


if __name__ == "__main__":
    sys.exit(main())
