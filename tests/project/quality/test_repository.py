"""What holds for the repository as a whole."""

from __future__ import annotations

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import moespac_nb
from moespac_nb.datasets import files as resources

LONGEST_MODULE_LINES = 350
PAIR_LIMIT_BYTES = 40_000_000
TREE_LIMIT_BYTES = 48 * 2**20


def pins(text: str) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9._-]+)==([^+\s]+)", text, flags=re.MULTILINE | re.IGNORECASE))


def test_the_versions_agree(root: Path) -> None:
    cited = re.search(r"^version: (\S+)$", (root / "CITATION.cff").read_text("utf-8"), flags=re.MULTILINE)
    changed = re.search(r"^## (\d\S*?),", (root / "CHANGELOG.md").read_text("utf-8"), flags=re.MULTILINE)
    assert cited
    assert changed
    assert {cited[1], changed[1]} == {moespac_nb.__version__}


def test_constraints_pin_every_dependency_within_its_range(root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    pinned = pins((root / "constraints.txt").read_text("utf-8"))
    lines = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    for requirement in map(Requirement, lines):
        if requirement.name != project["name"]:
            assert requirement.specifier.contains(pinned[requirement.name]), requirement.name


def test_binder_installs_the_versions_that_are_tested(root: Path) -> None:
    binder = pins((root / "binder" / "requirements.txt").read_text("utf-8"))
    tested = pins((root / "constraints.txt").read_text("utf-8"))
    assert binder.items() <= tested.items()
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["exercises"]]
    assert {Requirement(line).name for line in lines} <= binder.keys()


def test_every_module_can_be_read_in_one_sitting(root: Path) -> None:
    modules = [*(root / "moespac_nb").rglob("*.py"), *(root / "widgets").rglob("*.py")]
    lines = {path.name: len(path.read_text("utf-8").splitlines()) for path in modules}
    assert {name: count for name, count in lines.items() if count > LONGEST_MODULE_LINES} == {}


def test_the_bundled_data_is_what_its_manifest_says() -> None:
    assert [str(problem) for problem in resources.verify_checksums()] == []


def test_the_bundled_pair_is_small_enough_to_travel() -> None:
    pair = resources.data_path("pair")
    assert sum(path.stat().st_size for path in pair.iterdir()) <= PAIR_LIMIT_BYTES


def test_the_tree_is_small_enough_to_travel(root: Path) -> None:
    if not (root / ".git").exists():
        pytest.skip("not a checkout: which files are tracked is not known")
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True).stdout
    names = listed.decode().rstrip("\0").split("\0")
    assert "pyproject.toml" in names
    sizes = {name: (root / name).stat().st_size for name in names if (root / name).is_file()}
    largest = sorted(sizes, key=lambda name: -sizes[name])[:8]
    assert sum(sizes.values()) <= TREE_LIMIT_BYTES, {name: sizes[name] for name in largest}


@pytest.mark.parametrize(
    ("damage", "what"),
    [
        (lambda data: (data / "a.txt").unlink(), "a.txt: is missing"),
        (lambda data: (data / "a.txt").write_text("bro"), "a.txt: is damaged: 3 bytes, expected 5"),
        (lambda data: (data / "a.txt").write_text("whale"), "a.txt: is damaged: its checksum"),
        (lambda data: (data / "b.txt").write_text("?"), "b.txt: is not in the manifest"),
        (lambda data: (data / "manifest.json").unlink(), "manifest.json: cannot be used"),
        (lambda data: (data / "manifest.json").write_text('{"files": 3}'), "manifest.json: cannot be used"),
    ],
)
def test_damage_to_the_data_is_named(tmp_path: Path, damage, what: str) -> None:
    (tmp_path / "a.txt").write_text("whole")
    digest = resources.digest(tmp_path / "a.txt")
    manifest = {"files": {"a.txt": {"bytes": 5, "sha256": digest}}}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert resources.verify_checksums(tmp_path) == []
    damage(tmp_path)
    (problem,) = resources.verify_checksums(tmp_path)
    assert str(problem).startswith(what)


def test_a_missing_file_is_named() -> None:
    with pytest.raises(moespac_nb.MoespacError, match=r"'pair/traget\.safetensors' is missing"):
        resources.data_path("pair/traget.safetensors")
