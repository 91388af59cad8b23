"""What is imported is declared, and what is declared is used."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.helpers.imports import imported_modules

OWN = {"moespac_nb", "moespac_widgets", "moespac_exercises", "tests", "tools", "run"}
DISTRIBUTIONS = {
    "IPython": "ipython",
    "PIL": "pillow",
    "lazy_loader": "lazy-loader",
    "repo2docker": "jupyter-repo2docker",
    "sphinx_revealjs": "sphinx-revealjs",
    "yaml": "pyyaml",
}
# Who imports, and the extras that they are installed with.
IMPORTERS = {
    "moespac_nb": ("import",),
    "widgets": (),
    "notebooks": ("exercises", "lab"),
    "docs": ("book",),
    "tools": ("exercises", "import", "lab", "book", "test"),
    "tests": ("exercises", "import", "lab", "book", "test"),
}
ELSEWHERE = {
    "accelerate": "tools.gpu.stages.policies says so where it is missing",
    "google": "Colab's own",
    "pandas": "`to_frame` says which command installs it",
    "rdata": "tools.pair.build_corpus says which command installs it",
}
USED_UNIMPORTED = {
    "hatchling": "the build backend",
    "ipykernel": "the notebooks' kernel",
    "moespac-nb": "its own extras",
    "mypy": "a command",
    "pre-commit": "a command",
    "pytest-timeout": "pytest's `timeout`",
    "ruff": "a command",
    "tokenizers": "transformers reads the pair's tokenizer with it; the bound is what the pair needs",
}


def imported_packages(folder: Path) -> set[str]:
    """The distributions of the packages that the Python files of a folder import, anywhere in them."""
    sources = [path.read_text("utf-8") for path in folder.rglob("*.py")]
    names = {name.split(".")[0] for source in sources for name in imported_modules(source, "own.own.own.own")}
    return {DISTRIBUTIONS.get(name, name) for name in names - OWN - {"own"} - sys.stdlib_module_names}


@pytest.fixture(scope="module")
def declared(root: Path) -> dict[str, set[str]]:
    """The names of the dependencies, by extra; those of the package itself under ""."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    lines = {"": project["dependencies"], **project["optional-dependencies"]}
    return {extra: {Requirement(line).name for line in needed} for extra, needed in lines.items()}


@pytest.mark.parametrize("folder", IMPORTERS)
def test_what_is_imported_is_declared(root: Path, declared: dict[str, set[str]], folder: str) -> None:
    known = declared[""].union(*(declared[extra] for extra in IMPORTERS[folder]))
    assert imported_packages(root / folder) - known - set(ELSEWHERE) == set()


def test_what_is_declared_is_used(root: Path, declared: dict[str, set[str]]) -> None:
    imported = set().union(*(imported_packages(root / folder) for folder in IMPORTERS))
    texts = [path.read_text("utf-8") for path in (root / "tools").rglob("*.py")]
    texts += [(root / name).read_text("utf-8") for name in ("docs/conf.py", "run.py", ".ci/run")]
    words = set(re.findall(r"[\w-]+", "\n".join(texts)))
    unused = set().union(*declared.values()) - imported - set(USED_UNIMPORTED)
    assert {name for name in unused if not words & {name, name.replace("-", "_")}} == set()


def test_the_package_declares_only_what_it_imports(root: Path, declared: dict[str, set[str]]) -> None:
    readers = ("moespac_nb", "widgets", "notebooks")
    imported = set().union(*(imported_packages(root / folder) for folder in readers))
    assert declared[""] - imported - set(USED_UNIMPORTED) == set()


def test_the_package_does_without_what_checks_exercises(root: Path, declared: dict[str, set[str]]) -> None:
    imported = imported_packages(root / "moespac_nb") | imported_packages(root / "widgets")
    assert declared["exercises"] & (imported | declared[""]) == set()


@pytest.mark.parametrize("name", ["binder/requirements.txt", "tools/release/launch.py"])
def test_who_sets_notebooks_up_installs_what_checks_exercises(
    root: Path, declared: dict[str, set[str]], name: str
) -> None:
    text = (root / name).read_text("utf-8")
    assert "moespac-nb[exercises]" in text or all(f"{each}==" in text for each in declared["exercises"])


def test_a_missing_extra_names_its_command(monkeypatch: pytest.MonkeyPatch) -> None:
    from moespac_nb import MoespacError

    monkeypatch.setitem(sys.modules, "filelock", None)
    monkeypatch.delitem(sys.modules, "moespac_exercises.progress", raising=False)
    with pytest.raises(MoespacError, match=r"need filelock, .* pip install 'moespac-nb\[exercises\]'"):
        import moespac_exercises.progress  # noqa: F401
