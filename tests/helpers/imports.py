"""What a piece of Python imports, anywhere in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator


def imported_modules(source: str, package: str = "") -> Iterator[str]:
    """The full names of what a module imports; package: the one that it lies in.

    Of `from a import b` both `a` and `a.b` are given, as `b` may be a module.
    """
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package.split(".")[: 1 - node.level or None] if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield module
            yield from (f"{module}.{alias.name}" for alias in node.names)
