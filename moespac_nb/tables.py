"""Tables on their way out: to pandas, where it is installed, and to a CSV file that is whole or not there."""

from __future__ import annotations

import codecs
import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from .errors import MoespacError
from .whole_file import whole_file

__all__ = ["frame", "write_csv"]


def frame(data: Any) -> Any:
    """A pandas DataFrame of columns by name, or of rows."""
    try:
        import pandas as pd  # type: ignore[import-untyped,unused-ignore]
    except ImportError:
        raise MoespacError("a DataFrame needs pandas, which is not installed: pip install pandas") from None
    return pd.DataFrame(data)


def write_csv(path: str | Path, columns: Iterable[str], rows: Iterable[Sequence[Any]]) -> None:
    """A header line, then a line each."""
    with whole_file(Path(path), "the table") as file:
        writer = csv.writer(codecs.getwriter("utf-8")(file))
        writer.writerow(columns)
        writer.writerows(rows)
