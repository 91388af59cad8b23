"""Runs the stages in a process of their own, and ends one that takes too long.

A process that waits for a GPU cannot be interrupted from within, and a GPU error stays with the process that
made it. So the stages run in a worker; one that fails, hangs or dies costs that stage alone: its worker is
ended, and the next stage has a new one. All that a stage has said by then is kept.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

from tools.gpu.stage import Notes, NotRun, Result, Setup, Stage, without_places

OUTCOMES = {
    "done": "ran to its end",
    "failed": "raised an error",
    "hung": "was ended at its deadline",
    "died": "its process ended",
    "not run": "has nothing to do here",
    "no time": "was cut for the sake of more valuable ones",
    "interrupted": "the check was stopped",
    "running": "has not ended yet",
    "waiting": "its turn did not come",
}
WRITE_EVERY_S = 2.0
START_S = 20.0  # more for the first stage of a worker, which imports everything
SOFT_SHARE = 0.85  # a stage is told of this much of its limit, to end by itself
KILL_S = 5.0
END_S = 3.0  # kept for the last report


def allot(stages: Sequence[Stage], left_s: float) -> dict[int, float]:
    """Seconds for each of the stages to come, by number; one without an entry has none.

    The most valuable have the least they need first; what is left is shared by what each wants beyond that.
    """
    chosen: list[Stage] = []
    for stage in sorted(stages, key=lambda stage: -stage.value):
        if sum(other.least_s for other in chosen) + stage.least_s <= left_s:
            chosen.append(stage)
    spare_s = left_s - sum(stage.least_s for stage in chosen)
    wishes_s = sum(stage.wanted_s - stage.least_s for stage in chosen)
    share = spare_s / wishes_s if wishes_s else 0.0
    return {stage.number: stage.least_s + share * (stage.wanted_s - stage.least_s) for stage in chosen}


def run_stages(
    stages: Sequence[Stage], setup: Setup, minutes: float, write: Callable[[list[Result]], object]
) -> list[Result]:
    """Run them in order within so many minutes. write: is given all results every now and then, and last."""
    end = monotonic() + 60 * minutes - END_S
    results = [Result.of(stage) for stage in stages]
    worker = Worker(setup)
    try:
        for at, (stage, result) in enumerate(zip(stages, results, strict=True)):
            result.limit_s = allot(stages[at:], end - monotonic()).get(stage.number, 0.0)
            if result.limit_s:
                worker.run(stage, result, end, lambda: write(results))
            else:
                result.outcome = "no time"
            write(results)
    except BaseException:
        for result in results:
            if result.outcome == "running":
                result.outcome = "interrupted"
        raise
    finally:
        worker.end()
        write(results)
    return results


class Worker:
    """A process that runs one stage after another, made when the first one comes."""

    def __init__(self, setup: Setup) -> None:
        self._setup = setup
        self._process: Any = None
        self._pipe: Any = None

    def run(self, stage: Stage, result: Result, end: float, write: Callable[[], object]) -> None:
        start = written = monotonic()
        limit_s = min(result.limit_s + self._start(), end - start)
        result.outcome = "running"
        write()
        self._pipe.send((stage.run, SOFT_SHARE * result.limit_s))
        while result.outcome == "running":
            now = monotonic()
            result.seconds = now - start
            if now - written > WRITE_EVERY_S:
                written = now
                write()
            if result.seconds > limit_s:
                result.outcome, result.error = "hung", f"it had not ended after {result.seconds:.1f} s"
            elif self._pipe.poll(min(0.2, limit_s)):
                self._hear(result)
        if result.outcome not in ("done", "not run"):
            self.end()

    def _hear(self, result: Result) -> None:
        try:
            message = self._pipe.recv()
        except (EOFError, OSError):
            self._process.join(5)
            result.outcome, result.error = "died", f"its process ended with {self._process.exitcode}"
            return
        if message[0] == "end":
            _, result.outcome, error = message
            result.error = without_places(error)
        else:
            result.findings.take(message)

    def _start(self) -> float:
        """A process, if there is none, and what its imports may then take."""
        if self._process is not None:
            return 0.0
        spawn = multiprocessing.get_context("spawn")
        self._pipe, theirs = spawn.Pipe()
        self._process = spawn.Process(target=serve, args=(theirs, self._setup))
        self._process.start()
        theirs.close()
        return START_S

    def end(self) -> None:
        """End it, and all processes that it started."""
        if self._process is None:
            return
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.kill()
        self._process.join(KILL_S)  # what waits in a driver may not end even then
        self._pipe.close()
        self._process = self._pipe = None


def serve(pipe: Any, setup: Setup) -> None:
    """The worker's life: jobs come, messages go."""
    if setup.tiny:  # threads that wait for each other make tiny sums slow
        os.environ["OMP_NUM_THREADS"] = "1"
    os.setsid()  # so that it is ended together with what it starts, and Ctrl-C reaches the supervisor alone
    while True:
        try:
            run, seconds = pipe.recv()
        except EOFError:
            return
        try:
            run(setup, Notes(pipe.send, seconds))
            end = ("end", "done", "")
        except NotRun as reason:
            end = ("end", "not run", str(reason))
        except BaseException:
            end = ("end", "failed", traceback.format_exc(limit=-8))
            print(end[2], file=sys.stderr, flush=True)
        pipe.send(end)
