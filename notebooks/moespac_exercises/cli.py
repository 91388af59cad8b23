"""`moespac progress`: what learners have done, as one table."""

from __future__ import annotations

import sys
from pathlib import Path

from moespac_nb.cli.output import print_json, print_table


def progress(paths: list[Path], csv: Path | None = None, json: bool = False) -> int:
    """Show what learners have done, as one table for a class.

    moespac progress handed-in --csv class.csv
    """
    from moespac_nb.utils.files import atomic_write

    from .progress import as_csv, class_table

    table = class_table(paths)
    for problem in table.left_out:
        print(f"left out: {problem}", file=sys.stderr)
    if csv:
        with atomic_write(csv, "the table") as file:
            file.write(as_csv(table))
    if json:
        print_json([dict(zip(table.columns, row, strict=True)) for row in table.rows])
        return 0
    print_table(table.columns, table.rows, words=len(table.columns))
    if csv:
        print(f"written   {csv}")
    return 0
