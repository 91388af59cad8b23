"""code: Python functions from a signature and a docstring, in the manner of HumanEval; whole modules beside."""

from __future__ import annotations

import ast
import random
import textwrap
from collections.abc import Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import Texts


def natural(texts: Texts) -> Iterator[Document]:
    """Documented functions first (prompt: up to the docstring), then modules in pieces of 60 lines."""
    for name, source in texts.code.items():
        yield from _functions(name, source)
    for name, source in texts.code.items():
        lines = source.splitlines()
        for start in range(0, len(lines), 60):
            piece = lines[start : start + 60]
            if len(piece) > 15:
                cut = len(piece) // 3
                yield Document(
                    f"# {name}\n" + "\n".join(piece[:cut]) + "\n",
                    "\n".join(piece[cut:]) + "\n",
                    f"stdlib {name}",
                    False,
                )


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    return iter(())


def _functions(name: str, source: str) -> Iterator[Document]:
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return
    lines = source.splitlines()
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or ast.get_docstring(node) is None or len(node.body) < 2:
            continue
        start, body, end = node.lineno - 1, node.body[1].lineno - 1, node.end_lineno or 0
        if not 3 <= end - body <= 40 or body - start > 25:
            continue
        whole = textwrap.dedent("\n".join(lines[start:end])).splitlines()
        yield Document(
            "\n".join(whole[: body - start]) + "\n",
            "\n".join(whole[body - start :]) + "\n",
            f"stdlib {name}",
            False,
        )
