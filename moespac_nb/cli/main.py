"""The `moespac` command. A subcommand is one pair of functions: its arguments, and what it does with them."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import NoReturn

from .. import __version__
from ..utils.exceptions import MoespacError
from . import (
    decode as cli_decode,
)
from . import (
    evaluate as cli_evaluate,
)
from . import (
    machines as cli_machines,
)
from . import (
    replay as cli_replay,
)
from . import (
    trace as cli_trace,
)
from .command import Command
from .output import print_json

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130


def doctor_arguments(parser: argparse.ArgumentParser) -> None:
    """Takes no argument of its own."""


def doctor(arguments: argparse.Namespace) -> int:
    from .doctor import describe, examine

    report = examine()
    if arguments.json:
        print_json(report.as_dict())
    else:
        print(describe(report))
    return 0 if report.ok else FAILED


COMMANDS = (
    Command("doctor", "versions, devices, memory, bundled data, and what to do", doctor_arguments, doctor),
    Command("decode", "one prompt, decoded with speculation", cli_decode.arguments, cli_decode.run),
    Command("record", "one prompt, decoded into a trace file", cli_trace.record_arguments, cli_trace.record),
    Command("trace", "what a trace file holds", cli_trace.trace_arguments, cli_trace.trace),
    Command(
        "replay",
        "what a trace's decode would have taken on a machine, by policy and budget (modelled)",
        cli_replay.arguments,
        cli_replay.run,
    ),
    Command("fit", "what a machine leaves for experts", cli_machines.fit_arguments, cli_machines.fit),
    Command(
        "calibrate",
        "measure this machine and write its profile",
        cli_machines.calibrate_arguments,
        cli_machines.calibrate,
    ),
    Command(
        "evaluate",
        "how well sensors and rules predict the next window's experts",
        cli_evaluate.arguments,
        cli_evaluate.run,
    ),
)


def _of_other_packages() -> list[Command]:
    """Commands that the core must not import, such as those that show: they register themselves."""
    found: list[Command] = [
        entry.load() for entry in sorted(entry_points(group="moespac.commands"), key=lambda e: e.name)
    ]
    return found


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        # One way out for bad input, whether argparse or the code behind it found it.
        raise MoespacError(f"{message}; see: {self.prog} --help")


def parser() -> argparse.ArgumentParser:
    top = _Parser(prog="moespac", description="Decode with a mixture-of-experts model, and see its experts.")
    top.add_argument("--version", action="version", version=f"moespac-nb {__version__}")
    commands = top.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for command in (*COMMANDS, *_of_other_packages()):
        sub = commands.add_parser(command.name, help=command.help, description=command.help)
        sub.add_argument("--json", action="store_true", help="print one JSON document instead of text")
        command.arguments(sub)
        sub.set_defaults(run=command.run)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in sys.stdout, sys.stderr:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a letter shows '?' and goes on
    try:
        arguments = parser().parse_args(argv)
        code: int = arguments.run(arguments)
        sys.stdout.flush()
        return code
    except MoespacError as error:
        if "--json" in argv:
            print_json({"error": str(error)})
        else:
            print(f"moespac: {error}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("moespac: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, say) has left: nothing to tell it, and nothing to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
