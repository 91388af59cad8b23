"""The page of the notebooks, docs/notebooks.md, with what each takes.

    python tools/notebook_table.py                # runs every notebook and measures it
    python tools/notebook_table.py --only-text    # keeps the figures of the last run, renews all else

Each runs with its exercises solved, in a kernel of its own: seconds, the kernel's most memory, the file's size.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

from moespac_nb.exercises import exercises_of
from moespac_nb.whole_file import whole_file
from notebooks import NOTEBOOKS, front_matter, made, sources

ROOT = NOTEBOOKS.parent
sys.path.insert(0, str(ROOT / "tests"))

from course import run  # noqa: E402

PAGE, FIGURES = ROOT / "docs/notebooks.md", ROOT / "docs/notebooks.json"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only-text", action="store_true")
    if not parser.parse_args().only_text:
        figures = {source.stem: measured(source) for source in tqdm(sources(), desc="notebooks")}
        with whole_file(FIGURES, "the figures") as file:
            file.write(json.dumps(figures, indent=1).encode() + b"\n")
    with whole_file(PAGE, "the page") as file:
        file.write(("\n".join(page()) + "\n").encode())
    print(PAGE)


def measured(source: Path) -> dict[str, float]:
    """Seconds from starting the kernel to the last cell's end, and its peak memory."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = run(made(source, solved=True), Path(folder))
        seconds = time.perf_counter() - begun
    return {"seconds": round(seconds, 1), "peak_mib": round((done.peak_bytes or 0) / 2**20)}


def page() -> Iterator[str]:
    """The page's lines."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    matters = {source: front_matter(source) for source in sources()}
    yield from ("# The notebooks", "")
    yield (
        "Each has its objectives under its title, exercises that check themselves, and a guess to be made "
        "before a number is shown. Minutes are a reader's. Seconds and memory were **measured** by "
        "`python tools/notebook_table.py` on a shared x86 server: exercises solved, one thread, from "
        "starting the kernel on."
    )
    yield from ("", "| notebook | minutes | exercises | runs in, s | kernel's peak, MiB | file, kB |")
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for source, matter in matters.items():
        number, took = source.name[:2], figures[source.stem]
        size = source.with_suffix(".ipynb").stat().st_size / 1000
        name = f"[{number} {matter['title']}](../notebooks/{source.stem}.ipynb)"
        exercises = len(exercises_of(number))
        yield (
            f"| {name} | {matter['minutes']} | {exercises} | {took['seconds']:.0f} | {took['peak_mib']:.0f} "
            f"| {size:.0f} |"
        )
    for source, matter in matters.items():
        yield from _about(source.name[:2], matter)


def _about(number: str, matter: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {number} {matter['title']}", "")
    yield from (f"- {objective}" for objective in matter["objectives"])
    asked = "; ".join(f"{each.id} {each.title}" for each in exercises_of(number))
    yield from ("", f"Exercises: {asked}.")


if __name__ == "__main__":
    main()
