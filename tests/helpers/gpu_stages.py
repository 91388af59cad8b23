"""Stages to try the supervisor with: the processes that run them import this by name."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from tools.gpu.stage import Notes, NotRun, Setup


def fine(setup: Setup, notes: Notes) -> None:
    notes.fact("process", os.getpid())
    notes.claim("it works", True)


def fails(setup: Setup, notes: Notes) -> None:
    fine(setup, notes)
    raise ValueError("a page is missing")


def has_nothing_to_do(setup: Setup, notes: Notes) -> None:
    raise NotRun("no GPU")


def dies(setup: Setup, notes: Notes) -> None:
    fine(setup, notes)
    os._exit(7)


def hangs(setup: Setup, notes: Notes) -> None:
    """With a process of its own that would outlive it."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    notes.fact("child", child.pid)
    (Path(setup.out) / "child").write_text(str(child.pid))
    while True:
        time.sleep(60)


def looks_at_the_clock(setup: Setup, notes: Notes) -> None:
    notes.fact("told, s", notes.left_s)
    while notes.left_s > 0:
        time.sleep(0.01)
    notes.cut("half of it")
