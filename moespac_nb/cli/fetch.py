"""`moespac fetch-trace`: public captures of real routing, downloaded when asked."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from .output import print_json, print_table, show

__all__ = ["fetch_trace"]


def fetch_trace(name: str | None = None, to: Path = Path(), json: bool = False) -> int:
    """Download a public capture, or list what there is.

    A download that broke off goes on where it stopped. The file's checksum is compared with the registry's.

        moespac fetch-trace
        moespac fetch-trace olmoe-math-reasoning --to captures
    """
    from ..datasets.captures import fetch_capture, list_captures

    captures = {capture.name: capture for capture in list_captures()}
    if name is None:
        if json:
            print_json({"captures": [asdict(capture) for capture in captures.values()]})
        else:
            rows = [(c.name, c.what, c.licence, f"{c.bytes:,}") for c in captures.values()]
            print_table(("name", "what", "licence", "bytes"), rows, words=3)
        return 0
    with _progress(name) as progress:
        path = fetch_capture(name, to, progress)
    capture = captures[name]
    words = f"written   {path}, {capture.bytes:,} bytes, {capture.licence}\nread      moespac trace {path}"
    show(words, {"file": str(path), **asdict(capture)}, json)
    return 0


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what draws a bar of bytes on standard error, if that is a terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn

    columns = TextColumn(what), BarColumn(), DownloadColumn()
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what)
        yield lambda there, whole: bar.update(task, completed=there, total=whole)
