"""What a person meets first: help, examples, suggestions, completion; on a terminal and through a pipe."""

from __future__ import annotations

import inspect
import os
import re
import shlex
import subprocess
import sys

import pytest
import typer

from moespac_nb import DOMAINS, POLICIES, RULES, list_machines, list_model_specs, offload, replay
from moespac_nb.cli import decode, evaluate
from moespac_nb.cli import main as cli
from moespac_nb.cli import replay as replay_command
from moespac_nb.hardware.budget import ACCOUNTINGS
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.importing.findings import DROPS
from moespac_nb.importing.formats import FORMATS
from moespac_nb.importing.reading import OWN
from moespac_nb.trace.schema import EXPERT_CHANNELS
from moespac_nb.trace.step import MoEShape
from tools.support.synthetic_trace import made_up

COMMAND = re.compile(
    r"moespac ((?:decode|record|import|trace|replay|fit|calibrate|evaluate|break-even|fetch-trace|dashboard|"
    r"progress|doctor)\b[^`\n]*)"
)
HEAVY = {"torch", "transformers", "numpy", "pandas", "plotly", "ipywidgets", "pulp", "networkx"}
NAMES = {
    "policy": set(POLICIES),
    "machine": set(list_machines()),
    "model": {name.removesuffix("-4bit") for name in list_model_specs()},
    "domain": set(DOMAINS),
    "accounting": set(ACCOUNTINGS),
    "rule": {"evidence", *RULES},
    "figure": {*evaluate.FIGURES, "all"},
    "channels": set(EXPERT_CHANNELS),
    "format": {OWN, *FORMATS},
    "drop": {*DROPS, "all"},
}


on_terminals = pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals of this kind")


def commands() -> dict[str, typer.core.TyperCommand]:
    return typer.main.get_command(cli._app()).commands


def parsed(line: str) -> None:
    """Take a command line apart, without running it; anything unknown raises."""
    name, *words = shlex.split(line, comments=True)
    commands()[name].make_context(name, words)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert cli.main([*arguments]) == 0
    return capsys.readouterr().out


def in_terminal(*arguments: str, columns: int = 80, stream: str = "stdout") -> tuple[str, str]:
    """What a command prints to a stream that is a terminal, and to the other, which is a pipe."""
    import pty

    ours, theirs = pty.openpty()
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, stream: theirs}
    environment = {**os.environ, "COLUMNS": str(columns), "TERM": "xterm-256color"}
    command = [sys.executable, "-m", "moespac_nb.cli.main", *arguments]
    with subprocess.Popen(command, env=environment, text=True, encoding="utf-8", **streams) as process:
        os.close(theirs)
        output = b""
        try:
            while chunk := os.read(ours, 65536):
                output += chunk
        except OSError:  # as Linux says that nobody writes any more
            pass
        piped = (process.stdout or process.stderr).read()
    os.close(ours)
    assert process.returncode == 0
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", output.decode()).replace("\r\n", "\n"), piped


@pytest.mark.parametrize("name", commands())
def test_each_command_has_help_on_every_option_and_examples_that_parse(name, capsys):
    help_text = shown(capsys, name, "--help")
    examples = re.findall(r"^ {6}moespac (.+)$", help_text, re.M)
    assert any(example.split()[0] == name for example in examples)
    for example in examples:
        parsed(example)
    assert all(option.help for option in commands()[name].params)
    assert shown(capsys, name, "-h") == help_text


def test_the_list_of_commands_cuts_no_description(capsys):
    listed = shown(capsys, "--help")
    for name, command in commands().items():
        assert re.search(rf"^  {name} +{re.escape(command.help.partition(chr(10))[0])}$", listed, re.M)


@pytest.mark.parametrize(
    "file", ["README.md", "docs/gallery.md", "docs/teaching.md", "docs/figures/method.md"]
)
def test_commands_in_the_documents_parse(root, file):
    lines = COMMAND.findall((root / file).read_text("utf-8"))
    assert lines
    for line in lines:
        parsed(line.partition(" && ")[0])


def test_commands_in_the_notebooks_parse(root):
    lines = [
        line for path in root.glob("notebooks/0*.py") for line in COMMAND.findall(path.read_text("utf-8"))
    ]
    assert len(lines) > 8
    for line in lines:
        parsed(line)


def test_helps_name_what_can_be_named(capsys):
    of_options = {
        option.name: option for command in commands().values() for option in reversed(command.params)
    }
    for option, names in NAMES.items():
        words = set(re.findall(r"[\w.-]*\w", of_options[option].help))
        assert names - words <= ({"next-window-oracle"} if option == "policy" else set()), option
    assert "next-window-oracle" in shown(capsys, "replay", "--help")


def test_defaults_are_those_of_the_python_functions():
    own, core = (inspect.signature(function).parameters for function in (replay_command.replay, replay))
    for name in own.keys() & core.keys() - {"timeline"}:
        assert own[name].default == core[name].default, name
    fit = inspect.signature(commands()["fit"].callback).parameters
    assert fit["context"].default == inspect.signature(plan_memory).parameters["context"].default
    own, core = (inspect.signature(function).parameters for function in (decode.OffloadOptions, offload))
    for name in ("policy", "machine", "device"):
        assert f"by default {core[name].default}" in next(
            option.help for option in commands()["decode"].params if option.name == name
        )
        assert own[name].default is None


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from moespac_nb.cli.main import main; main(['-h']); print(*sys.modules, file=sys.stderr)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "Commands:" in run.stdout
    assert not HEAVY & set(run.stderr.split())
    assert "rich" not in run.stderr.split()  # a pipe gets plain lines


def test_the_version_is_the_packages(capsys):
    from moespac_nb import __version__

    assert shown(capsys, "--version") == f"moespac-nb {__version__}\n"


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("moespac re", {"record", "replay"}),
        ("moespac replay --mach", {"--machine"}),
        ("moespac replay --policy spac", {"spac-joint", "spac-paper"}),
        ("moespac fit --machine rtx", {"rtx3060", "rtx4090"}),
        ("moespac fit --model olmoe", {"olmoe-1b-7b", "olmoe-1b-7b-4bit"}),
        ("moespac decode --domain ma", {"math"}),
        ("moespac trace notes", {"notes.npz"}),
    ],
)
def test_a_shell_completes(tmp_path, words, expected):
    (tmp_path / "notes.npz").touch()
    asked = {"_MOESPAC_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
    run = subprocess.run(
        [sys.executable, "-m", "moespac_nb.cli.main"],
        env={**os.environ, **asked},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert set(run.stdout.split()) == expected


@pytest.fixture
def trace(tmp_path):
    path = tmp_path / "own.npz"
    made_up(MoEShape(4, 16, 2), gamma=4, steps=12, seed=1).save(path)
    return str(path)


ASKED = ("--policy", "recency,cpu-only", "--budget", "25%,50%")


def test_a_pipe_gets_whole_plain_lines_however_narrow(capsys, monkeypatch, trace):
    wide = shown(capsys, "replay", trace, *ASKED)
    monkeypatch.setenv("COLUMNS", "40")
    assert shown(capsys, "replay", trace, *ASKED) == wide
    assert len(re.findall(r"^(?:recency|cpu-only) .* (?:yes|no)$", wide, re.M)) == 4
    assert not re.search(r"[\x1b╭│─…]", wide)


@on_terminals
def test_a_narrow_terminal_gets_the_table_turned_and_nothing_cut(capsys, trace):
    def cells(output: str) -> list[list[str]]:
        table = output.split("\n\n")[1].splitlines()
        return [re.split(r" {2,}", line.strip()) for line in table]

    piped = cells(shown(capsys, "replay", trace, *ASKED))
    assert cells(in_terminal("replay", trace, *ASKED, columns=200)[0]) == piped
    narrow, _ = in_terminal("replay", trace, *ASKED, columns=60)
    assert cells(narrow) == [list(row) for row in zip(*piped, strict=True)]


@on_terminals
def test_progress_is_shown_to_a_person_and_is_not_in_what_is_piped(capsys, trace):
    progress, piped = in_terminal("replay", trace, *ASKED, stream="stderr")
    assert "replaying" in progress
    assert piped == shown(capsys, "replay", trace, *ASKED)


@on_terminals
def test_help_on_a_terminal_is_in_panels_that_a_narrow_one_does_without():
    wide, narrow = (in_terminal("decode", "--help", columns=columns)[0] for columns in (80, 60))
    for panel in ("Model and prompt", "Decoding", "Budget and machine"):
        assert f"─ {panel} ─" in wide
    assert "─" not in narrow
    assert "--prompt-index" in wide
    assert "--prompt-index" in narrow
