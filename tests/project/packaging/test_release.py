"""A release: the tag is the version's, the changelog speaks of it, what is built is whole."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml

import moespac_nb

TAG = f"v{moespac_nb.__version__}"


@pytest.fixture
def release() -> ModuleType:
    from tools.release import release

    return release


@pytest.fixture
def checkout(root: Path, tmp_path: Path) -> Path:
    """As it is, with an address, and a changelog that is ready."""
    (tmp_path / "moespac_nb").mkdir()
    (tmp_path / "CHANGELOG.md").write_text(f"## {TAG[1:]}, 2026-12-01\n\n- new\n")
    for name in ("pyproject.toml", "moespac_nb/__init__.py"):
        shutil.copy(root / name, tmp_path / name)
    project = tmp_path / "pyproject.toml"
    text = re.sub(r"\[project\.urls\]\nRepository.*\n", "", project.read_text("utf-8"))
    project.write_text(text + '\n[project.urls]\nRepository = "https://github.com/a/b"\n')
    return tmp_path


def test_a_tag_is_released_with_what_the_changelog_says(release: ModuleType, checkout: Path) -> None:
    (checkout / "CHANGELOG.md").write_text(
        f"# Changelog\n\n## {TAG[1:]}, 2026-12-01\n\n- new\n\n## 0.0.9, 2025-01-01\n\n- old\n"
    )
    assert release.notes(TAG, "a/b", checkout) == "- new"
    assert release.notes(TAG, None, checkout) == "- new"


@pytest.mark.parametrize("tag", [f"{TAG}.1", TAG[1:], "v9", "main"])
def test_another_tag_is_refused(tag: str, release: ModuleType, checkout: Path) -> None:
    with pytest.raises(SystemExit, match=re.escape(f"the tag is {tag}, the version {TAG[1:]}; expected")):
        release.notes(tag, "a/b", checkout)


@pytest.mark.parametrize("heading", ["0.0.9, 2025-01-01", f"{TAG[1:]}, not yet released"])
def test_a_version_that_the_changelog_does_not_date_is_refused(
    heading: str, release: ModuleType, checkout: Path
) -> None:
    (checkout / "CHANGELOG.md").write_text(f"# Changelog\n\n## {heading}\n\n- old\n")
    with pytest.raises(SystemExit, match=r"CHANGELOG\.md says nothing of"):
        release.notes(TAG, "a/b", checkout)


def test_a_fork_without_an_address_is_told_how_to_set_it(release: ModuleType, checkout: Path) -> None:
    with pytest.raises(SystemExit, match=r"run python run\.py set-origin fork/b, commit"):
        release.notes(TAG, "fork/b", checkout)


def test_it_runs_with_nothing_installed(root: Path) -> None:
    command = [sys.executable, "-m", "tools.release.release", "v0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert "the tag is v0" in done.stderr


def steps(workflow: Path) -> list[dict[str, Any]]:
    jobs = yaml.safe_load(workflow.read_text("utf-8"))["jobs"].values()
    return [step for job in jobs for step in job["steps"]]


def test_a_release_is_tested_before_it_is_published(root: Path) -> None:
    commands = [step.get("run", "") for step in steps(root / ".github/workflows/release.yml")]
    stages = ("tools.release.release", "run.py test", "-m build", "gh release create")
    places = [next(i for i, command in enumerate(commands) if stage in command) for stage in stages]
    assert places == sorted(places)


def test_workflows_call_what_is_there(root: Path) -> None:
    found = list((root / ".github/workflows").iterdir())
    assert found
    for workflow in found:
        for step in steps(workflow):
            assert ("uses" in step) != ("run" in step)
            assert re.fullmatch(r"actions/[a-z-]+@v\d+", step.get("uses", "actions/x@v1"))
            for word in shlex.split(step.get("run", "")):
                assert not word.endswith((".py", ".txt")) or (root / word).is_file(), word


@pytest.mark.slow
@pytest.mark.full
def test_what_is_built_holds_the_notebooks_and_the_data(root: Path, tmp_path: Path) -> None:
    """As the workflow builds: the source archive, and from it the wheel."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", tmp_path, root]
    subprocess.run(command, check=True, capture_output=True)
    (archive,), (wheel,) = tmp_path.glob("*.tar.gz"), tmp_path.glob("*.whl")
    with tarfile.open(archive) as files:
        names = {name.partition("/")[2] for name in files.getnames()}
    assert {
        "run.py",
        "constraints.txt",
        "binder/postBuild",
        "tools/release/kit/check.py",
        "binder/colab.txt",
    } <= names
    assert {f"notebooks/{path.name}" for path in (root / "notebooks").glob("*.ipynb")} <= names
    assert wheel.name == f"moespac_nb-{moespac_nb.__version__}-py3-none-any.whl"  # what Colab's cell asks for
