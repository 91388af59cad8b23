"""`moespac progress`: what learners have done, as one table."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from moespac_nb.cli.command import Command
from moespac_nb.cli.output import print_json


def arguments(parser: argparse.ArgumentParser) -> None:
    """Files, or folders with files, and where to."""
    parser.add_argument(
        "files",
        nargs="+",
        type=Path,
        metavar="FILE|FOLDER",
        help="what notebooks wrote: moespac-progress.json",
    )
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table there, for a spreadsheet")


def run(options: argparse.Namespace) -> int:
    """Read all, then say or write it."""
    from moespac_nb.utils.files import atomic_write

    from .progress import as_csv, class_table

    table = class_table(options.files)
    for problem in table.left_out:
        print(f"left out: {problem}", file=sys.stderr)
    if options.csv:
        with atomic_write(options.csv, "the table") as file:
            file.write(as_csv(table))
    if options.json:
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        print_json(rows)
        return 0
    widths = [max(map(len, column)) for column in zip(table.columns, *table.rows, strict=True)]
    for row in (table.columns, *table.rows):
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())
    if options.csv:
        print(f"written   {options.csv}")
    return 0


PROGRESS = Command("progress", "what learners have done, as one table for a class", arguments, run)
