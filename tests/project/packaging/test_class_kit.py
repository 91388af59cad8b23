"""The kit for a class without a network: whole or not there, its faults in words, installed with no index."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

Disk = namedtuple("Disk", "total used free")


@pytest.fixture
def class_kit(root: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The tool, with a pip that makes empty wheels."""
    from tools.release import class_kit

    def pip(*arguments: str, command: str, python: str) -> tuple[int, str]:
        option = "--wheel-dir" if command == "wheel" else "--dest"
        folder = Path(arguments[arguments.index(option) + 1])
        folder.mkdir(exist_ok=True)
        name = "moespac_nb-0.1.0" if command == "wheel" else arguments[-1].split("/")[-1].split("==")[0]
        (folder / f"{name}-py3-none-any.whl").write_text(name)
        return 0, ""

    monkeypatch.setattr(class_kit.run, "pip", pip)
    monkeypatch.setattr(class_kit.run, "answers", lambda url: False)
    return class_kit


@pytest.fixture
def kit(class_kit: ModuleType, tmp_path: Path) -> Path:
    class_kit.main([str(tmp_path / "kit")])
    return tmp_path / "kit"


def check(kit: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **variables}
    command = [sys.executable, kit / "check.py", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True)


def test_a_kit_is_whole_and_has_ten_lines_to_read(kit: Path, root: Path) -> None:
    wanted = {path.name for path in (root / "notebooks").glob("*.ipynb")}
    assert {path.name for path in (kit / "notebooks").iterdir()} == wanted
    card = json.loads((kit / "kit.json").read_text())
    assert set(card["wheels"]) == {path.name for path in (kit / "wheels").iterdir()}
    assert len(card["wheels"]) == 3  # the project's, torch's, and what stands for the others
    readme = (kit / "README.txt").read_text()
    assert "python check.py" in readme
    assert "{" not in readme
    assert len(readme.splitlines()) <= 10
    assert [path.name for path in kit.parent.iterdir()] == ["kit"]


def test_torch_comes_for_the_cpu_first_and_the_rest_finds_it(
    class_kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[tuple[str, ...]] = []
    made = class_kit.run.pip

    def pip(*arguments: str, command: str, python: str) -> tuple[int, str]:
        calls.append((command, *arguments))
        cpu = class_kit.run.CPU_INDEX in arguments
        return (1, "") if cpu else made(*arguments, command=command, python=python)

    monkeypatch.setattr(class_kit.run, "pip", pip)
    monkeypatch.setattr(class_kit.run, "answers", lambda url: True)
    monkeypatch.setattr(class_kit.sys, "platform", "linux")
    class_kit.main([str(tmp_path / "kit")])
    _, on_cpu, by_default, rest = calls
    assert class_kit.run.CPU_INDEX in on_cpu  # it fails, and the default index is asked
    assert by_default[-1] == class_kit.run.pinned("torch")
    assert "--no-deps" in by_default
    assert rest[-1].endswith(".whl[lab]")
    assert rest[rest.index("--find-links") + 1] == rest[rest.index("--dest") + 1]


def test_a_folder_that_is_no_kit_is_left_alone(class_kit: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.txt").write_text("years")
    with pytest.raises(SystemExit, match="is not empty, and no kit; expected: a new folder"):
        class_kit.main([str(tmp_path / "mine")])
    with pytest.raises(SystemExit, match=r"thesis.txt is a file; expected: a new folder"):
        class_kit.main([str(tmp_path / "mine/thesis.txt")])
    assert (tmp_path / "mine/thesis.txt").read_text() == "years"
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


@pytest.mark.parametrize("before", [True, False], ids=["over a kit", "anew"])
def test_what_is_interrupted_leaves_what_was_there(
    before: bool, class_kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before:
        class_kit.main([str(tmp_path / "kit")])
    with monkeypatch.context() as patch:

        def interrupted(partial: Path) -> None:
            raise KeyboardInterrupt

        patch.setattr(class_kit, "describe", interrupted)
        with pytest.raises(KeyboardInterrupt):
            class_kit.main([str(tmp_path / "kit")])
    assert (tmp_path / "kit/kit.json").exists() is before
    assert not (tmp_path / "kit.partial/kit.json").exists()
    class_kit.main([str(tmp_path / "kit")])  # and it can be made after all
    assert [path.name for path in tmp_path.iterdir()] == ["kit"]


def test_a_full_disk_is_said_before_and_while(
    class_kit: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(class_kit.shutil, "disk_usage", lambda path: Disk(10**9, 0, 10**9))
        with pytest.raises(SystemExit, match=r"1\.0 GB free at .*; a kit needs 2 GB"):
            class_kit.main([str(tmp_path / "kit")])
    with monkeypatch.context() as patch:
        patch.setattr(
            class_kit.run, "pip", lambda *a, **o: (1, "OSError: [Errno 28] No space left on device")
        )
        with pytest.raises(SystemExit, match="The disk is full"):
            class_kit.main([str(tmp_path / "kit")])
    with monkeypatch.context() as patch:

        def full(*arguments: Any) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr(class_kit.shutil, "copy", full)
        with pytest.raises(SystemExit, match="The disk is full"):
            class_kit.main([str(tmp_path / "kit")])
    assert not (tmp_path / "kit").exists()


def test_a_torn_copy_is_noticed_before_anything_is_installed(kit: Path) -> None:
    (kit / "wheels/torch-py3-none-any.whl").write_text("to")
    (kit / "wheels/moespac_nb-0.1.0-py3-none-any.whl").unlink()
    done = check(kit)
    assert done.returncode == 1
    assert "wheels/torch-py3-none-any.whl is damaged: copy it again" in done.stderr
    assert "wheels/moespac_nb-0.1.0-py3-none-any.whl is missing" in done.stderr
    assert not (kit / ".venv").exists()


@pytest.mark.parametrize(
    ("what", "value", "said"),
    [
        ("python", "3.8", "the kit is for Python 3.8: run python3.8 check.py"),
        ("machine", "Plan9 mips", "the kit is for Plan9 mips"),
    ],
)
def test_another_python_or_machine_is_told(kit: Path, what: str, value: str, said: str) -> None:
    card = json.loads((kit / "kit.json").read_text())
    (kit / "kit.json").write_text(json.dumps({**card, what: value}))
    done = check(kit)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_an_old_python_can_read_the_check(root: Path) -> None:
    ast.parse((root / "tools/release/kit/check.py").read_text("utf-8"), feature_version=(3, 7))


@pytest.mark.full
@pytest.mark.slow
def test_a_class_installs_from_a_kit_with_no_index(root: Path, tmp_path: Path) -> None:
    """Made with an index, moved, and installed with none in reach."""
    made = tmp_path / "made"
    subprocess.run([sys.executable, "-m", "tools.release.class_kit", made], check=True, capture_output=True)
    kit = tmp_path / "stick/copied"
    kit.parent.mkdir()
    shutil.move(made, kit)
    nowhere = "http://127.0.0.1:9"
    offline = {
        "PIP_NO_INDEX": "1",
        "http_proxy": nowhere,
        "https_proxy": nowhere,
        "PIP_CONFIG_FILE": os.devnull,
    }
    first = check(kit, "--no-lab", **offline)
    assert first.returncode == 0, first.stdout + first.stderr
    assert "it works: 8 tokens decoded" in first.stdout
    again = check(kit, "--no-lab", **offline)
    assert again.returncode == 0
    assert "installing" not in again.stdout
