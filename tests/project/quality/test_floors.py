"""Imports go down only: from the table of floors in CONTRIBUTING.md, over the whole tree."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.imports import imported_modules

MOST_ENTRIES = 14
PACKAGES = {"moespac_nb": ".", "moespac_widgets": "widgets", "moespac_exercises": "notebooks"}


def imports_of(path: Path, folder: Path) -> set[str]:
    """What a file imports; folder: the one that its package is found from."""
    return set(imported_modules(path.read_text("utf-8"), ".".join(path.relative_to(folder).parent.parts)))


def arrows(root: Path, package: str) -> Iterator[tuple[str, str]]:
    """From which module of a package to which module of any of the packages."""
    folder = root / PACKAGES[package]
    for path in sorted((folder / package).rglob("*.py")):
        module = ".".join(path.relative_to(folder).with_suffix("").parts).removesuffix(".__init__")
        for imported in imports_of(path, folder):
            if imported.split(".")[0] in PACKAGES:
                yield module, imported


@pytest.fixture(scope="module")
def floors(root: Path) -> dict[str, int]:
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", (root / "CONTRIBUTING.md").read_text("utf-8"), flags=re.M)
    return {room: int(floor) for floor, rooms in rows for room in re.findall(r"`([\w.]+)`", rooms)}


def room_of(module: str, floors: dict[str, int]) -> str:
    """The room that a module lies in; what is in no room of `moespac_nb` is its top level."""
    return next(room for room in sorted(floors, key=len, reverse=True) if f"{module}.".startswith(f"{room}."))


def arrows_between_rooms(root: Path, floors: dict[str, int], package: str) -> set[tuple[str, str]]:
    """The rooms that import another, and which. `from .. import name` counts for the room of the name."""
    found = set()
    for module, imported in arrows(root, package):
        here, there = room_of(module, floors), room_of(imported, floors)
        is_parent_of_room = imported == "moespac_nb" and here.startswith("moespac_nb.")
        if here != there and not is_parent_of_room:
            found.add((here, there))
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_imports_from_the_floors_below(root: Path, floors: dict[str, int], package: str) -> None:
    upwards = {(a, b) for a, b in arrows_between_rooms(root, floors, package) if floors[a] <= floors[b]}
    assert upwards == set()


def test_every_room_has_a_floor(root: Path, floors: dict[str, int]) -> None:
    rooms = {f"moespac_nb.{path.parent.name}" for path in (root / "moespac_nb").glob("*/__init__.py")}
    assert rooms == {room for room in floors if room.startswith("moespac_nb.")}


def circles(graph: dict[str, set[str]]) -> set[frozenset[str]]:
    """The sets of modules that import each other, directly or through others."""
    reached = {node: set(there) for node, there in graph.items()}
    for through in graph:
        for node in graph:
            if through in reached[node]:
                reached[node] |= reached[through]
    return {
        frozenset(other for other in graph if other in reached[node] and node in reached[other])
        for node in graph
        if node in reached[node]
    }


@pytest.mark.parametrize("package", PACKAGES)
def test_no_modules_import_each_other(root: Path, package: str) -> None:
    pairs = list(arrows(root, package))
    graph: dict[str, set[str]] = {module: set() for module, _ in pairs}
    for module, imported in pairs:
        is_own_package = f"{module}.".startswith(f"{imported}.")  # `from . import sibling`
        if imported in graph and not is_own_package:
            graph[module].add(imported)
    assert circles(graph) == set()


def test_notebooks_are_the_highest(root: Path) -> None:
    folders = {package: root / folder for package, folder in PACKAGES.items()}
    files = [
        (path, folder) for package, folder in folders.items() for path in (folder / package).rglob("*.py")
    ]
    tops = {imported.split(".")[0] for path, folder in files for imported in imports_of(path, folder)}
    assert "numpy" in tops
    assert tops & {"tests", "tools", "notebooks", "run"} == set()


def test_tests_do_not_import_tests(root: Path) -> None:
    guilty = set()
    for path in (root / "tests").rglob("*.py"):
        names = {name for name in imports_of(path, root) if name.startswith("tests.")}
        if any(not f"{name}.".startswith("tests.helpers.") for name in names):
            guilty.add(path.relative_to(root).as_posix())
    assert guilty == set()


def test_tools_do_not_import_tests(root: Path) -> None:
    paths = [*(root / "tools").rglob("*.py"), root / "run.py"]
    guilty = {
        path.relative_to(root).as_posix()
        for path in paths
        if any(name.split(".")[0] == "tests" for name in imports_of(path, root))
    }
    assert guilty == set()


def test_nothing_edits_sys_path(root: Path) -> None:
    edit = re.compile(
        r"sys\.path(\.(insert|append|extend)\(|\s*(\+=|=[^=])|\[.*\]\s*=[^=])|syspath_prepend\("
    )
    folders = ("moespac_nb", "widgets", "notebooks", "tools", "tests", "docs")
    paths = [path for folder in folders for path in (root / folder).rglob("*.py")]
    assert [path.name for path in paths if edit.search(path.read_text("utf-8"))] == []


def test_a_room_is_small_enough_to_be_seen_at_once(root: Path) -> None:
    tops = [root / folder / package for package, folder in PACKAGES.items()]
    entries = {
        room: len([path for path in room.iterdir() if path.name != "__pycache__"])
        for top in tops
        for room in [
            path for path in top.rglob("*") if path.is_dir() and path.name not in ("__pycache__", "_data")
        ]
    }
    assert {room.name: count for room, count in entries.items() if count > MOST_ENTRIES} == {}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import a.b", {"a.b"}),
        ("from .c import d", {"p.q.c", "p.q.c.d"}),
        ("def f():\n    from ..c import d", {"p.c", "p.c.d"}),
        ("from . import c", {"p.q", "p.q.c"}),
        ("from .. import c", {"p", "p.c"}),
    ],
)
def test_every_form_of_an_import_is_seen(source: str, expected: set[str]) -> None:
    assert set(imported_modules(source, "p.q")) == expected


def test_a_circle_is_found() -> None:
    graph = {"a": {"b"}, "b": {"c"}, "c": {"b", "d"}, "d": set[str]()}
    assert circles(graph) == {frozenset({"b", "c"})}
