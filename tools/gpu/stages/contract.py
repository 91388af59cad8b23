"""Stage 2: the device contract's own tests, on the GPU: each device keeps the same order of events."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter

from tools.gpu.stage import ROOT, Notes, NotRun, Setup

# The stand-in's name cannot be written whole: pytest takes its hyphen for an operator.
CHOSEN, DRY_CHOSEN = "cuda", "stand and (each or thinking or lane_runs)"
ONE_TEST_S = 30
_LINE = re.compile(r"::(?P<test>\S+) (?P<outcome>PASSED|FAILED|ERROR|SKIPPED)")
_REASON = re.compile(r"^(?:FAILED|ERROR) \S+?::(?P<test>.+?) - (?P<reason>.*)$", re.MULTILINE)


def run(setup: Setup, notes: Notes) -> None:
    if importlib.util.find_spec("pytest") is None:
        raise NotRun("pytest is not installed")
    output, ended = _pytest(CHOSEN if setup.on_gpu else DRY_CHOSEN, notes.left_s)
    read(output, ended, notes, needs_gpu=setup.on_gpu)


def read(output: str, ended: str, notes: Notes, needs_gpu: bool) -> None:
    """What pytest has said, to its end or until it was stopped. needs_gpu: no test may be skipped for one."""
    tests = {found["test"]: found["outcome"] for found in _LINE.finditer(output)}
    counts = Counter(tests.values())
    reasons = {found["test"]: found["reason"] for found in _REASON.finditer(output)}
    for test, outcome in tests.items():
        if outcome in ("FAILED", "ERROR"):
            notes.row(
                "Tests that did not pass", test=test, outcome=outcome.lower(), reason=reasons.get(test, "")
            )
    without_gpu = needs_gpu and "no GPU" in output
    notes.fact("pytest ended with", ended)
    if not tests:
        notes.fact("its last words", output[-1500:])
    notes.claim(
        "the contract's tests pass",
        bool(tests) and ended == "0" and not without_gpu,
        ", ".join(f"{count} {outcome.lower()}" for outcome, count in sorted(counts.items())),
    )


def _pytest(chosen: str, seconds: float) -> tuple[str, str]:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "tests/engine/test_devices.py",
        "-k",
        chosen,
        "-v",
        "-rfEs",
        "--tb=short",
    ]
    command += ["-o", "addopts=", "-p", "no:cacheprovider"]
    if importlib.util.find_spec("pytest_timeout"):
        command += [f"--timeout={ONE_TEST_S}"]
    path = os.pathsep.join(filter(None, [str(ROOT), str(ROOT / "widgets"), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=said, stderr=subprocess.STDOUT, env={**os.environ, "PYTHONPATH": path}
        )
        try:
            ended = str(process.wait(max(1.0, seconds)))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            ended = f"the deadline, after {seconds:.0f} s"
        said.seek(0)
        return said.read(), ended
