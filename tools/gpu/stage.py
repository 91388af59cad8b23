"""A stage of the check, and what it may say while it runs: facts, rows of tables, claims, and what was cut.

Knows nothing of processes or files: `send` takes each message to whoever keeps them.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from time import perf_counter
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent
_LIBRARY = re.compile(r"[^\s\"']*/(site-packages|dist-packages|python3\.\d+)/")


class NotRun(Exception):  # noqa: N818  # it is no error
    """Says why a stage has nothing to do here."""


@dataclass(frozen=True)
class Setup:
    """How the check runs. A dry run is tiny and on no GPU."""

    tiny: bool
    on_gpu: bool
    out: Path
    layers: int | None = None  # of the made model; None takes as many as fit

    @property
    def place(self) -> str:
        """Where torch puts what the device holds."""
        return "cuda" if self.on_gpu else "cpu"

    @property
    def device(self) -> str:
        """The device that models are offloaded to."""
        return "cuda" if self.on_gpu else "host"

    @property
    def machine_file(self) -> Path:
        """Where the calibration lies for the stages after it."""
        return self.out / "machine.toml"


@dataclass(frozen=True)
class InModule:
    """The `run` of a module of stages, imported where it runs: one that cannot be imported fails alone."""

    module: str

    def __call__(self, setup: Setup, notes: Notes) -> None:
        import_module(f"tools.gpu.stages.{self.module}").run(setup, notes)


@dataclass(frozen=True)
class Stage:
    """What is run, what it proves, and the time it is worth."""

    number: int
    name: str
    proves: str
    run: Callable[[Setup, Notes], None]
    least_s: float  # below this it cannot say anything
    wanted_s: float
    value: int  # where time is short, the higher has its time first


class Notes:
    """What a running stage says. It looks at `left_s` between two things it does, and says what it cut."""

    def __init__(self, send: Callable[[tuple[Any, ...]], object], seconds: float) -> None:
        self._send = send
        self._end = perf_counter() + seconds

    @property
    def left_s(self) -> float:
        return self._end - perf_counter()

    def fact(self, name: str, value: Any) -> None:
        self._send(("fact", name, value))

    def row(self, table: str, **cells: Any) -> None:
        self._send(("row", table, cells))

    def claim(self, words: str, holds: bool | None, found: str = "") -> None:
        """holds: None where this machine cannot tell."""
        self._send(("claim", words, holds, found))

    def cut(self, words: str) -> None:
        self._send(("cut", words))


@dataclass
class Findings:
    """What a stage has said so far, as plain values."""

    facts: dict[str, Any] = field(default_factory=dict)
    claims: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    cuts: list[str] = field(default_factory=list)

    def take(self, message: tuple[Any, ...]) -> None:
        kind, *rest = message
        if kind == "fact":
            self.facts[rest[0]] = plain(rest[1])
        elif kind == "row":
            self.tables.setdefault(rest[0], []).append({name: plain(cell) for name, cell in rest[1].items()})
        elif kind == "claim":
            self.claims.append(dict(zip(("words", "holds", "found"), map(plain, rest), strict=True)))
        else:
            self.cuts.append(plain(rest[0]))


def plain(value: Any) -> Any:
    """What JSON can hold, and a report may show: a number that is not finite becomes its name."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_places(str(value))


def without_places(text: str) -> str:
    """Files by where they are in the project, or in a library: a report may be given away."""
    return _LIBRARY.sub(r"…/\1/", text.replace(f"{ROOT}{os.sep}", ""))


@dataclass
class Result:
    """How one stage went. outcome: one of those in `supervisor`."""

    number: int
    name: str
    proves: str
    outcome: str = "waiting"
    seconds: float = 0.0
    limit_s: float = 0.0
    error: str = ""
    findings: Findings = field(default_factory=Findings)

    @classmethod
    def of(cls, stage: Stage) -> Result:
        return cls(stage.number, stage.name, stage.proves)

    @property
    def broken(self) -> list[str]:
        """The claims that do not hold."""
        return [claim["words"] for claim in self.findings.claims if claim["holds"] is False]
