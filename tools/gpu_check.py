"""Does all of it work on a GPU, and how fast? One command, at most 8 minutes, a report.

    python -m tools.gpu_check --out gpu-check               # on a machine with an NVIDIA GPU
    python -m tools.gpu_check --out gpu-check --stages 3,5  # some of it
    python -m tools.gpu_check --out /tmp/dry --dry-run      # everything at tiny sizes, without a GPU

Each stage has a deadline and fails alone. After each, and every few seconds within one, gpu-check.json and
gpu-check.md are written anew: whatever ends the check, they hold what was found by then. It ends with 1
where a claim does not hold or a stage did not come to its end. See docs/gpu/README.md.
"""

from __future__ import annotations

import argparse
import datetime
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from tools.gpu import report
from tools.gpu.stage import InModule, Result, Setup, Stage
from tools.gpu.supervisor import run_stages

MINUTES = 8.0
CALIBRATES = 8  # the stage that writes the machine's profile

STAGES = (
    Stage(1, "Versions, GPU and link", "what the figures below were made on", InModule("computer"), 5, 15, 9),
    Stage(2, "Device contract", "streams, events and waits keep the order that every device promises",
          InModule("contract"), 25, 60, 6),
    Stage(3, "Copies", "what a copy costs, and that memory registered in place is as good as pinned",
          InModule("copies"), 6, 20, 3),
    Stage(4, "Overlap", "copies run beside kernels, and no slot is overwritten while it is read",
          InModule("overlap"), 5, 15, 5),
    Stage(5, "Kernels", "which way to compute experts is fast, and what it costs to ask the GPU",
          InModule("kernels"), 6, 20, 2),
    Stage(6, "Same text and logits", "a model says the same from slots as without",
          InModule("families"), 30, 80, 8),
    Stage(7, "Memory", "a run takes what it was given and gives it back", InModule("memory"), 6, 15, 4),
    Stage(8, "Modelled and measured", "the machine's own constants predict its times",
          InModule("modelled"), 20, 45, 1),
    Stage(9, "Policies on a made model", "how fast each policy is where the budget is small",
          InModule("policies"), 60, 205, 7),
)  # fmt: skip


def chosen(text: str | None) -> tuple[Stage, ...]:
    """The stages that are named, in their order, and the first: no figure says much without it."""
    if text is None:
        return STAGES
    known = {str(stage.number): stage for stage in STAGES}
    named = [each.strip() for each in text.split(",")]
    if not known.keys() >= set(named):
        raise SystemExit(f"--stages is {text!r}; expected: numbers from 1 to {len(STAGES)}, such as 3,5")
    return tuple(known[each] for each in sorted({"1", *named}))


def main(arguments: Sequence[str] | None = None) -> int:
    options = _options(arguments)
    stages = chosen(options.stages)
    if not 0 < options.minutes <= 60:
        raise SystemExit(f"--minutes is {options.minutes:g}; expected: above 0, at most 60")
    if not options.dry_run:
        _need_gpu()
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SystemExit(f"--out is {str(options.out)!r}; expected: a folder to write to: {error}") from None
    setup = Setup(options.dry_run, not options.dry_run, options.out.resolve(), options.layers)
    if any(stage.number == CALIBRATES for stage in stages):
        setup.machine_file.unlink(missing_ok=True)  # of another time, or machine
    about = {
        "date": datetime.date.today().isoformat(),
        "command": _command(options),
        "dry_run": options.dry_run,
        "minutes": options.minutes,
    }
    signal.signal(signal.SIGTERM, _terminated)
    results = [Result.of(stage) for stage in stages]

    def write(now: list[Result]) -> None:
        results[:] = now
        report.write(setup.out, about, results)

    stopped = False
    try:
        run_stages(stages, setup, options.minutes, write)
    except KeyboardInterrupt:
        stopped = True
        print("interrupted: the report holds what was found", file=sys.stderr)
    print(report.markdown(about, results))
    print(f"{setup.out / report.REPORT_NAME}; kept as docs/gpu/{report.file_name(about, results)}")
    return int(
        stopped or any(result.broken or result.outcome not in ("done", "not run") for result in results)
    )


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="a folder for the report")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all stages (default %(default)s)")
    parser.add_argument("--stages", help="only these and the first, by number: 3,5")
    parser.add_argument("--layers", type=int, help="of the made model (default: as many as fit, at most 16)")
    parser.add_argument("--dry-run", action="store_true", help="at tiny sizes, without a GPU")
    return parser.parse_args(arguments)


def _command(options: argparse.Namespace) -> str:
    """What was asked for, without the folder: a report may be given away."""
    words = [f"python -m tools.gpu_check --minutes {options.minutes:g}"]
    given = {"stages": options.stages, "layers": options.layers}
    words += [f"--{name} {value}" for name, value in given.items() if value is not None]
    return " ".join([*words, *(["--dry-run"] if options.dry_run else [])])


def _need_gpu() -> None:
    import torch

    if not torch.cuda.is_available():
        raise SystemExit(
            f"torch {torch.__version__} finds no GPU; expected: a machine with an NVIDIA GPU, its driver and "
            "a torch built for it, or --dry-run"
        )


def _terminated(_number: int, _frame: Any) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
