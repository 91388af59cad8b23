"""The page of the notebooks, docs/notebooks.md, with what each takes.

    python -m tools.docs.notebook_table [03 05 ...]    # runs these, or every one, and measures them
    python -m tools.docs.notebook_table --only-text    # keeps the figures of the last runs, renews all else
    python -m tools.docs.notebook_table --check        # fails if the page is out of date

Each runs with its exercises solved, in a kernel of its own: seconds, the kernel's most memory, file size.
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

from moespac_exercises import exercises_of
from moespac_nb.utils.files import atomic_write
from tools.docs.notebooks import NOTEBOOKS, chosen, front_matter, made, sources
from tools.support.notebook_runner import run

ROOT = NOTEBOOKS.parent

PAGE, FIGURES = ROOT / "docs/notebooks.md", ROOT / "docs/notebooks.json"
HOW = """\
`check` says of an answer “right”, or names the smallest case found on which it is wrong, what came back and
what that breaks; never the solution. Dots are no answer yet, so a notebook runs to its end before any
exercise is done. What was answered and guessed is kept in one file, `moespac-progress.json` in the working
folder, or where `MOESPAC_PROGRESS` says, and goes nowhere else. `moespac progress FOLDER --csv FILE` makes
one table of a class's files; `python -m tools.docs.notebooks --solutions DIR` writes the notebooks solved.

In JupyterLab, on a light and on a dark page, as the browser tests see them
(`tools/docs/notebook_pictures.py`):

![Notebook 00: the decoding stepper on a round of a word problem](gallery/notebook-00-stepper-light.png)
![The same on a dark page](gallery/notebook-00-stepper-dark.png)
![Notebook 05: the balancer explorer](gallery/notebook-05-explorer-light.png)
![The same on a dark page](gallery/notebook-05-explorer-dark.png)
![Notebook 07: the budget lab after a guess](gallery/notebook-07-lab-light.png)
![The same on a dark page](gallery/notebook-07-lab-dark.png)"""


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="of the notebooks; all without any")
    parser.add_argument("--only-text", action="store_true")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.check:
        if "\n".join(page()) + "\n" != PAGE.read_text(encoding="utf-8"):
            sys.exit(
                f"{PAGE.relative_to(ROOT)} is out of date: python -m tools.docs.notebook_table --only-text"
            )
        return
    if not args.only_text:
        measure(chosen(args.numbers))
    with atomic_write(PAGE, "the page") as file:
        file.write(("\n".join(page()) + "\n").encode())
    print(PAGE)


def measure(these: list[Path]) -> None:
    """Renew the figures of these notebooks; the others' stay."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    for source in tqdm(these, desc="notebooks"):
        figures[source.stem] = measured(source)
        with atomic_write(FIGURES, "the figures") as file:
            file.write(json.dumps(figures, indent=1, sort_keys=True).encode() + b"\n")


def measured(source: Path) -> dict[str, float]:
    """Seconds from starting the kernel to the last cell's end, its peak memory, the student's file."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        done = run(made(source, solved=True), Path(folder))
        seconds = time.perf_counter() - begun
    return {
        "seconds": round(seconds, 1),
        "peak_mib": round((done.peak_bytes or 0) / 2**20),
        "file_kb": round(source.with_suffix(".ipynb").stat().st_size / 1000, 1),
    }


def page() -> Iterator[str]:
    """The page's lines."""
    figures = json.loads(FIGURES.read_text(encoding="utf-8"))
    matters = {source: front_matter(source) for source in sources()}
    unknown = [source.name[:2] for source in matters if source.stem not in figures]
    if unknown:
        sys.exit(
            f"nothing was measured of {', '.join(unknown)}: python -m tools.docs.notebook_table {unknown[0]}"
        )
    yield from ("# The notebooks", "")
    yield (
        "Each has its objectives under its title, exercises that check themselves, and a guess to be made "
        "before a number is shown. Minutes are planned for a reader. Seconds and memory were **measured** by "
        "`python -m tools.docs.notebook_table` on two cores of a shared x86 server: exercises solved, one "
        "thread, from starting the kernel to the end of the last cell."
    )
    yield from ("", "| notebook | minutes | exercises | runs in, s | kernel's peak, MiB | file, kB |")
    yield "| --- | ---: | ---: | ---: | ---: | ---: |"
    for source, matter in matters.items():
        number, took = source.name[:2], figures[source.stem]
        exercises = len(exercises_of(number))
        yield (
            f"| {number} {matter['title']} | {matter['minutes']} | {exercises} | {took['seconds']:.0f} "
            f"| {took['peak_mib']:.0f} | {took['file_kb']:.0f} |"
        )
    yield from ("", HOW)
    for source, matter in matters.items():
        yield from _about(source.name[:2], matter)


def _about(number: str, matter: Mapping[str, Any]) -> Iterator[str]:
    yield from ("", f"## {number} {matter['title']}", "", "After it you can", "")
    yield from (f"- {objective}" for objective in matter["objectives"])
    kinds = [f"{kind}: {matter[kind]}" for kind in ("exact", "measured", "modelled")]
    yield from ("", f"What is {'; '.join(kinds)}.")
    asked = "; ".join(f"{each.id} {each.title}" for each in exercises_of(number))
    yield from ("", f"Exercises: {asked}.")


if __name__ == "__main__":
    main()
