"""`moespac import`: routing that other programs recorded, into a trace file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .output import check_file, show, working

__all__ = ["import_"]


def import_(
    paths: list[str],
    out: Path,
    format: str = "auto",  # noqa: A002  # as the option is called
    drop: list[str] | None = None,
    experts: int | None = None,
    json: bool = False,
) -> int:
    """Import routing that another program recorded.

    What is odd about a log is named, and left out on request. A log that is too large for one file makes
    several, my-1.npz and so on.

        moespac import moe_routes.jsonl --drop warm-up --out my.npz

        moespac import a.jsonl b.jsonl --format moevm-rows --experts 64 --out my.npz
    """
    from ..importing.reading import write_parts

    check_file("--out", out, quiet=json)
    with working("importing"):
        files = write_parts(paths, out, format, drop=drop or (), experts=experts)
    shape, notes = files[0].geometry, list(files[0].notes)
    document: dict[str, Any] = {
        "files": [str(file.path) for file in files],
        "geometry": shape.__dict__,
        "texts": sum(file.texts for file in files),
        "steps": sum(file.steps for file in files),
        "notes": notes,
    }
    lines = [f"{file.path}: {file.texts:,} texts, {file.steps:,} steps" for file in files]
    lines.append(f"experts    {shape.layers} layers of {shape.experts}, {shape.top_k} a token")
    show("\n".join(lines + [f"note       {note}" for note in notes]), document, json)
    return 0
