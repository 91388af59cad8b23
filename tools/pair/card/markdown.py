"""Markdown that a person reads: tables and fenced text. Knows nothing of what is in them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table; its first column is words, the others are numbers."""
    lines = [head, ["---", *["--:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def fenced(text: str) -> str:
    """Text shown as it is, whatever it holds."""
    longest = max((len(run) for run in re.findall(r"~+", text)), default=0)
    fence = "~" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"


def prose(text: str) -> str:
    """One paragraph, however its lines were broken in the source."""
    return " ".join(text.split())


def section(title: str, *parts: str) -> str:
    return paragraphs(f"### {title}", *parts)


def paragraphs(*parts: str) -> str:
    return "\n\n".join(part for part in parts if part)
