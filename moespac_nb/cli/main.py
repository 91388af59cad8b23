"""The `moespac` command: its commands, its exit codes, one way out for everything that is wrong."""

from __future__ import annotations

import inspect
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from importlib.metadata import entry_points
from shutil import get_terminal_size
from typing import Annotated, Any

import typer

from .. import __version__
from ..utils.exceptions import MoespacError
from .break_even import break_even
from .decode import decode
from .evaluate import evaluate
from .fetch import fetch_trace
from .importing import import_
from .machines import calibrate, fit
from .options import with_help
from .output import print_json, show, working
from .replay import replay
from .trace import record, trace

__all__ = ["BAD_INPUT", "COMMANDS", "FAILED", "INTERRUPTED", "main"]

FAILED, BAD_INPUT, INTERRUPTED = 1, 2, 130
NAME, COMPLETION = "moespac", "_MOESPAC_COMPLETE"


def doctor(json: bool = False) -> int:
    """Check this installation: versions, devices, memory, data.

    Ends with 1 if there is something to do, and says what.

        moespac doctor
    """
    from .doctor import describe, examine

    with working("looking"):
        report = examine()
    show(describe(report), report, json)
    return 0 if report["ok"] else FAILED


# A command returns its exit code. Its docstring is its help, its parameters are its options.
COMMANDS: Sequence[Callable[..., int]] = (
    doctor, decode, record, import_, trace, replay, fit, calibrate, evaluate, break_even,
    fetch_trace,
)  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code: 0, 1 failed, 2 bad input, 130 interrupted."""
    argv = list(sys.argv[1:] if argv is None else argv)
    for stream in sys.stdout, sys.stderr:
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # a console that lacks a letter shows '?' and goes on
    try:
        code = _run(argv)
        sys.stdout.flush()
        return code
    except (MoespacError, typer.TyperException) as error:
        if "--json" in argv:
            print_json({"error": _in_words(error)})
        else:
            print(f"moespac: {_in_words(error)}", file=sys.stderr)
        return BAD_INPUT
    except KeyboardInterrupt:
        print("moespac: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # The reader (`head`, say) has left: nothing to tell it, and nothing to flush at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED


def _run(argv: list[str]) -> int:
    command = typer.main.get_command(_app())
    if COMPLETION in os.environ:
        command(prog_name=NAME)
    try:
        # Not `command(argv)`, which would print errors its own way.
        with command.make_context(NAME, argv) as context:
            code: int = command.invoke(context)
        return code
    except typer.Exit as ended:
        return ended.exit_code


def _in_words(error: Exception) -> str:
    if not isinstance(error, typer.TyperException):
        return str(error).replace("pass download=True", "give --download")
    message = re.sub(r"^Invalid value for '(.+?)': ", r"\1 is ", error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    where = f"{context.command_path} --help" if context else "--help"
    return f"{message}; see: {where}"


def _app() -> typer.Typer:
    """Put together the core's commands and those of other packages, which the core must not import."""
    app = typer.Typer(
        context_settings={"help_option_names": ["-h", "--help"]},
        # Panels and colours for a person, plain lines for a pipe, and where panels would be too narrow.
        rich_markup_mode="rich" if sys.stdout.isatty() and get_terminal_size().columns >= 80 else None,
    )
    app.callback()(_moespac)
    others = [entry.load() for entry in sorted(entry_points(group="moespac.commands"), key=lambda e: e.name)]
    for command in (*COMMANDS, *others):
        name = command.__name__.strip("_").replace("_", "-")
        app.command(name, help=_help(command))(_options(command))
    return app


def _print_version(asked: bool) -> None:
    if asked:
        print(f"moespac-nb {__version__}")
        raise typer.Exit


def _moespac(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="print the version", metavar="", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Decode with a mixture-of-experts model, and see its experts."""


def _help(command: Callable[..., int]) -> str:
    """Return the docstring with its examples, which are command lines, kept on lines of their own."""
    text = re.sub(r"\n *(?=moespac )", "\n    ", inspect.getdoc(command) or "")
    return text.replace("\n\n    ", "\n\n\b\n    ")


def _options(command: Callable[..., int]) -> Callable[..., int]:
    """Let typer see the parameters with their helps, and each field of a dataclass as one of them."""
    groups: dict[str, Any] = {}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command, eval_str=True).parameters.items():
        if is_dataclass(group := parameter.annotation):
            groups[name] = group
            parameters += inspect.signature(groups[name], eval_str=True).parameters.values()
        else:
            parameters.append(parameter)

    def called(**values: Any) -> int:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        return command(**values)

    options = [with_help(command.__name__, parameter) for parameter in parameters]
    called.__signature__ = inspect.Signature(options)  # type: ignore[attr-defined]
    return called


if __name__ == "__main__":
    sys.exit(main())
