"""Imports within the room: no circle, not even one that is put off into functions."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path


def test_no_module_of_the_trace_room_imports_itself_by_way_of_others(root: Path) -> None:
    room = root / "moespac_nb" / "trace"
    names = {file.stem for file in room.glob("*.py")}
    graph: dict[str, set[str]] = {}
    for file in room.glob("*.py"):
        imports = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.ImportFrom)]
        near = [node for node in imports if node.level == 1]
        graph[file.stem] = {node.module for node in near if node.module} | {
            alias.name for node in near if node.module is None for alias in node.names if alias.name in names
        }
    assert graph["trace"] >= {"npz", "schema", "validation"}
    list(TopologicalSorter(graph).static_order())  # raises CycleError
