"""run.py's decisions. CI itself makes the environment with it."""

from __future__ import annotations

import ast
import errno
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def run(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """run.py as a module, its checkout a folder of the test's own."""
    spec = importlib.util.spec_from_file_location("run", root / "run.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    (tmp_path / "constraints.txt").write_text("numpy==1\ntorch==2.13.0\n")
    venv = tmp_path / ".venv"
    for name, value in {
        "ROOT": tmp_path,
        "VENV": venv,
        "PYTHON": venv / module.PYTHON.relative_to(module.VENV),
        "STAMP": venv / module.STAMP.name,
        "LOCK": tmp_path / module.LOCK.name,
    }.items():
        monkeypatch.setattr(module, name, value)
    return module


@pytest.fixture
def sound(run: ModuleType, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """As `run`, with an environment that is there and a pip that succeeds."""
    run.PYTHON.parent.mkdir(parents=True)
    run.PYTHON.touch()
    monkeypatch.setattr(run, "is_sound", lambda: True)
    monkeypatch.setattr(run, "answers", lambda url: False)
    monkeypatch.setattr(run, "pip", lambda *arguments: (0, ""))
    return run


def test_an_old_python_is_told_what_to_do(root: Path) -> None:
    code = "import runpy, sys; sys.version_info = (3, 8, 1); runpy.run_path(sys.argv[1], run_name='__main__')"
    done = subprocess.run([sys.executable, "-c", code, str(root / "run.py")], capture_output=True, text=True)
    assert done.returncode == 1
    assert "This is Python 3.8; moespac-nb needs 3.11 or newer" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_can_parse_it_as_far_as_the_message(root: Path) -> None:
    tree = ast.parse((root / "run.py").read_text("utf-8"), feature_version=(3, 6))
    newer = ("Match", "NamedExpr", "TryStar")
    assert not [node for node in ast.walk(tree) if type(node).__name__ in newer]


def test_the_oldest_python_is_the_one_the_project_names(run: ModuleType, root: Path) -> None:
    assert f'requires-python = ">={".".join(map(str, run.OLDEST))}"' in (root / "pyproject.toml").read_text()


@pytest.mark.parametrize(
    ("cuda", "linux", "answers", "from_cpu_index"),
    [
        (False, True, True, [True, False]),
        (False, True, False, [False]),
        (True, True, True, [False]),
        (False, False, True, [False]),
    ],
)
def test_torch_comes_for_the_cpu_unless_there_is_cuda(run, cuda, linux, answers, from_cpu_index) -> None:
    choices = run.torch_choices("torch==2.13.0", cuda, linux, answers)
    assert [run.CPU_INDEX in choice for choice in choices] == from_cpu_index
    assert all(choice[-1] == "torch==2.13.0" for choice in choices)


def test_the_default_index_is_tried_when_the_cpu_index_fails(sound, monkeypatch) -> None:
    tried = []

    def pip(*arguments: str) -> tuple[int, str]:
        tried.append(arguments)
        return int(sound.CPU_INDEX in arguments), ""

    monkeypatch.setattr(sound, "pip", pip)
    monkeypatch.setattr(sound, "answers", lambda url: True)
    monkeypatch.setattr(sound.sys, "platform", "linux")
    monkeypatch.setattr(sound.shutil, "which", lambda name: None)
    sound.install("lab")
    assert [sound.CPU_INDEX in arguments for arguments in tried] == [True, False, False]


@pytest.mark.parametrize(
    ("installed", "asked", "ready"),
    [("lab", "lab", True), ("test", "test", True), ("test", "lab", True), ("lab", "test", False)],
)
def test_a_finished_installation_is_not_done_again(sound, installed: str, asked: str, ready: bool) -> None:
    sound.install(installed)
    assert sound.is_ready(asked) is ready


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_a_changed_dependency_makes_the_installation_stale(sound, tmp_path: Path, name: str) -> None:
    sound.install("test")
    (tmp_path / name).write_text("torch==2.14.0\n")
    assert not sound.is_ready("test")


def test_an_interrupted_installation_is_taken_up_again(sound, monkeypatch) -> None:
    sound.install("test")

    def interrupted(*arguments: str) -> tuple[int, str]:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sound, "pip", interrupted)
        with pytest.raises(KeyboardInterrupt):
            sound.install("lab")
    assert not sound.is_ready("lab")
    sound.set_up("lab")
    assert sound.is_ready("lab")


def test_a_half_made_environment_is_made_again(run, monkeypatch) -> None:
    run.PYTHON.parent.mkdir(parents=True)
    (run.VENV / "pyvenv.cfg").touch()
    run.PYTHON.write_text("cut off")
    assert not run.is_sound()
    commands = []

    def done(command: list[object]) -> subprocess.CompletedProcess[str]:
        commands.append(command)
        return subprocess.CompletedProcess(args=[], returncode=0)

    monkeypatch.setattr(run.subprocess, "run", done)
    run.make_environment(cuda=False)
    assert commands[0][1:] == ["-m", "venv", "--clear", run.VENV]


def test_a_cut_off_package_makes_the_environment_unsound(run, monkeypatch) -> None:
    package = run.VENV / "lib" / "site-packages" / "numpy-1.dist-info"
    package.mkdir(parents=True)
    monkeypatch.setattr(run, "PYTHON", sys.executable)
    (package / "RECORD").touch()
    assert run.is_sound()
    (package / "RECORD").unlink()
    assert not run.is_sound()


def test_a_folder_that_is_no_environment_is_left_alone(run) -> None:
    run.VENV.mkdir()
    (run.VENV / "thesis.tex").touch()
    with pytest.raises(SystemExit, match="move it"):
        run.make_environment(cuda=False)
    assert (run.VENV / "thesis.tex").exists()


def test_too_little_space_is_said_before_anything_is_made(run, monkeypatch) -> None:
    monkeypatch.setattr(run.shutil, "disk_usage", lambda path: type("Usage", (), {"free": 10**9}))
    with pytest.raises(SystemExit, match=r"1\.0 GB free .* needs about 3 GB"):
        run.make_environment(cuda=False)
    assert not run.VENV.exists()


def test_a_missing_venv_module_is_named(run, monkeypatch) -> None:
    monkeypatch.setattr(run.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="apt-get install python3-venv"):
        run.make_environment(cuda=False)


@pytest.mark.parametrize(
    ("printed", "said"),
    [
        (
            "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device",
            "disk is full",
        ),
        ("WARNING: Retrying: NewConnectionError(...)\nERROR: No matching distribution found", "be reached"),
        ("ERROR: No matching distribution found for torch==2.13.0", "has it one for this Python"),
        ("ERROR: Could not install: [Errno 13] Permission denied: 'x'", "cannot be written"),
        ("something new", "above"),
    ],
)
def test_what_pip_says_is_explained(run, printed: str, said: str) -> None:
    assert said in run.explain(printed)
    assert "goes on from there" in run.explain(printed)


def test_a_failed_installation_leaves_no_stamp(sound, monkeypatch) -> None:
    monkeypatch.setattr(sound, "pip", lambda *arguments: (1, "No space left on device"))
    with pytest.raises(SystemExit, match="disk is full"):
        sound.set_up("test")
    assert not sound.is_ready("test")


def test_a_folder_that_cannot_be_written_is_named(run, monkeypatch) -> None:
    monkeypatch.setattr(run, "LOCK", run.ROOT / "gone" / "lock")
    with pytest.raises(SystemExit, match="Cannot write in"):
        run.set_up("test")


def test_a_second_installation_waits_for_the_first(run, root: Path) -> None:
    code = (
        "import importlib.util, pathlib, sys\n"
        "spec = importlib.util.spec_from_file_location('run', sys.argv[1])\n"
        "run = importlib.util.module_from_spec(spec); spec.loader.exec_module(run)\n"
        "run.LOCK = pathlib.Path(sys.argv[2])\n"
        "with run.locked(): print('mine')\n"
    )
    command = [sys.executable, "-c", code, str(root / "run.py"), str(run.LOCK)]
    with run.locked():
        refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 1
    assert "Another run.py is installing here" in refused.stderr
    assert run.LOCK.exists()  # the file alone, left by whoever died, locks nobody out
    assert subprocess.run(command, capture_output=True, text=True).stdout == "mine\n"


@pytest.mark.skipif(os.name == "nt", reason="flock is not Windows's")
def test_a_file_system_without_locks_is_no_obstacle(run, monkeypatch) -> None:
    import fcntl

    def unsupported(*arguments: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", unsupported)
    with run.locked():
        assert run.LOCK.exists()


def test_other_arguments_go_to_pytest_its_code_comes_back(sound, monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(sound, "hand_over", lambda command: commands.append(command) or 5)
    assert sound.main(["test", "--full", "-k", "stamp", "tests/project/packaging/test_run.py"]) == 5
    assert commands[0][1:3] == ["-m", "pytest"]
    assert commands[0][-4:] == ["--full", "-k", "stamp", "tests/project/packaging/test_run.py"]


def test_lab_opens_the_first_notebook_and_passes_the_rest_on(sound, monkeypatch) -> None:
    commands = []
    monkeypatch.setattr(sound, "hand_over", lambda command: commands.append(command) or 0)
    assert sound.main(["lab", "--no-browser", "--", "--port=9999"]) == 0
    assert commands[0][1:4] == ["-m", "jupyterlab", "notebooks/00_start_here.ipynb"]
    assert {"--no-browser", "--port=9999"} <= set(commands[0])


@pytest.mark.parametrize(
    ("given", "tool", "rest"),
    [
        (["class-kit", "folder"], "tools.release.class_kit", ["folder"]),
        (["set-origin", "someone/name"], "tools.release.set_origin", ["someone/name"]),
        (["set-origin", "--unset"], "tools.release.set_origin", ["--unset"]),
        (["class-kit", "--help"], "tools.release.class_kit", ["--help"]),
        (["notebooks", "--solutions", "solved"], "tools.docs.notebooks", ["--solutions", "solved"]),
    ],
)
def test_a_tool_runs_where_the_caller_is_with_what_it_was_given(
    given: list[str],
    tool: str,
    rest: list[str],
    sound: ModuleType,
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[list[object], object, object]] = []
    monkeypatch.setattr(
        sound, "hand_over", lambda command, cwd, path: calls.append((command, cwd, path)) or 3
    )
    assert sound.main(given) == 3
    (((python, _m, module, *others), cwd, path),) = calls
    assert (python, module, others, cwd, path) == (sound.PYTHON, tool, rest, None, sound.ROOT)
    assert (root / f"{tool.replace(chr(46), chr(47))}.py").is_file()
