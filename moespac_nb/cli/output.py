"""What every command prints with --json, whatever letters the other end can read."""

from __future__ import annotations

import codecs
import json
import sys
from pathlib import Path
from typing import Any

from ..utils.exceptions import MoespacError

__all__ = ["check_file", "print_json"]


def print_json(document: Any) -> None:
    """One document; where the stream is not UTF-8, letters that it may lack are written as escapes."""
    try:
        plain = codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name != "utf-8"
    except LookupError:
        plain = True
    print(json.dumps(document, indent=2, ensure_ascii=plain))


def check_file(option: str, path: Path) -> None:
    """Before the work, not after: raises MoespacError unless a file can be written there."""
    from ..utils.files import check_writable

    if not path.name or path.is_dir() or not path.parent.is_dir():
        raise MoespacError(f"{option} is {str(path)!r}; expected: a file in a folder that is there")
    check_writable(path, option)
