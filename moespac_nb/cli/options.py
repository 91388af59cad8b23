"""What `moespac replay` and `moespac decode` share: how much room, who decides over it, on which machine."""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["given", "machine_arguments", "warned"]


def machine_arguments(parser: argparse.ArgumentParser) -> None:
    """Defaults are those of the code behind it."""
    parser.add_argument("--machine", metavar="NAME|FILE", help="rtx4090, …, or a .toml file")
    parser.add_argument("--model", metavar="NAME|FILE", help="qwen3-30b-a3b, …, or a .toml file")
    parser.add_argument("--accounting", help="slots-equal or device-equal: is the draft charged for?")


def given(options: argparse.Namespace, *names: str) -> dict[str, Any]:
    """Those options that were given, by name."""
    return {name: value for name in names if (value := getattr(options, name)) is not None}


@contextmanager
def warned(quiet: bool) -> Iterator[list[str]]:
    """What the block warned of, in words, once it is through; on stderr too, unless the caller prints it."""
    said: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield said
    said += dict.fromkeys(str(one.message) for one in caught)
    if not quiet:
        for words in said:
            print(f"moespac: warning: {words}", file=sys.stderr)
