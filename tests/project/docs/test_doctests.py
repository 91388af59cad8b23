"""The examples in docstrings are run."""

from __future__ import annotations

import doctest
import pkgutil
from importlib import import_module
from pathlib import Path

import pytest

import moespac_exercises
import moespac_nb
import moespac_widgets

FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
MODULES = [
    module.name
    for package in (moespac_nb, moespac_widgets, moespac_exercises)
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
]
FOLDERS = {"moespac_nb": ".", "moespac_widgets": "widgets", "moespac_exercises": "notebooks"}


def with_examples(root: Path) -> list[str]:
    return [
        name
        for name in MODULES
        if (path := root / FOLDERS[name.split(".")[0]] / f"{name.replace('.', '/')}.py").is_file()
        and ">>>" in path.read_text("utf-8")
    ]


@pytest.mark.parametrize("name", with_examples(Path(__file__).resolve().parents[3]))
def test_its_examples_hold(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(import_module(name), optionflags=FLAGS)
    assert result.failed == 0


def test_there_are_examples(root: Path) -> None:
    assert {"moespac_nb.hardware.memory", "moespac_widgets.base.table"} <= set(with_examples(root))
