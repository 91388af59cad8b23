"""What commands print: JSON and tables on standard output, warnings and progress on standard error."""

from __future__ import annotations

import codecs
import sys
import warnings
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import Any, TypeVar

from ..utils.exceptions import InvalidInputError

__all__ = ["check_file", "print_json", "print_table", "show", "tracked", "warned", "working"]

_T = TypeVar("_T")


def print_json(document: Any) -> None:
    """Print one document; where the stream is not UTF-8, letters that it may lack are written as escapes."""
    try:
        plain = codecs.lookup(getattr(sys.stdout, "encoding", None) or "ascii").name != "utf-8"
    except LookupError:
        plain = True
    print(dumps(document, indent=2, ensure_ascii=plain))


def show(words: str, document: Any, json: bool) -> None:
    """Print what a command found: in words, or as a document."""
    if json:
        print_json(document)
    else:
        print(words)


def print_table(columns: Sequence[str], rows: Collection[Sequence[str]], words: int = 1) -> None:
    """Print a table whose first columns are `words` and the others numbers, each row on one line.

    No column is ever cut. On a terminal that is too narrow, rows and columns change places if that helps.
    """
    from rich.console import Console

    printer = Console(width=100_000, highlight=False, markup=False, emoji=False)
    tables = [_table(columns, rows, words)]
    if sys.stdout.isatty():
        head, *others = zip(columns, *rows, strict=True)
        tables.append(_table(head, others, 1))
    widths = [printer.measure(table).maximum for table in tables]
    printer.print(tables[0 if widths[0] <= Console().width else widths.index(min(widths))])


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], words: int) -> Any:
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        table.add_column(column, justify="left" if number < words else "right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on standard error that the block takes its time, if that is a terminal."""
    if not sys.stderr.isatty():
        yield
        return
    from rich.console import Console

    with Console(stderr=True).status(f"{what} …"):
        yield


def tracked(items: Collection[_T], what: str) -> Iterable[_T]:
    """Yield the items, with a bar of progress on standard error if that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, what, console=Console(stderr=True), transient=True)


@contextmanager
def warned(quiet: bool) -> Iterator[list[str]]:
    """Yield a list that holds the block's warnings once it is through; print them, too, unless `quiet`."""
    messages: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield messages
    messages += dict.fromkeys(str(warning.message) for warning in caught)
    if not quiet:
        for message in messages:
            print(f"moespac: warning: {message}", file=sys.stderr)


def check_file(option: str, path: Path, quiet: bool) -> None:
    """Raise `MoespacError` before the work unless a file can be written; tell of one that is there."""
    from ..utils.files import check_writable

    if not path.name or path.is_dir() or not path.parent.is_dir():
        raise InvalidInputError(f"{option} is {str(path)!r}; expected: a file in a folder that is there")
    check_writable(path, option)
    if path.exists() and not quiet:
        print(f"moespac: {path} is there already and will be replaced", file=sys.stderr)
