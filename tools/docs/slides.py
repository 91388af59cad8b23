"""Slides from the notebooks as they were run: python -m tools.docs.slides [03 05 ...] [--out DIR] [--code]

A heading begins a slide, and what follows it lies below: ↓ goes on, → to the next heading. A figure is
under its prose; code is left out unless it is asked for. A cell's own `slideshow` metadata goes before all
that. They open from the folder: no server, no network.
"""

from __future__ import annotations

import argparse
import re
import shutil
from pathlib import Path

import nbformat
import sphinx_revealjs
from docutils.utils.math.latex2mathml import tex2mathml
from nbconvert import SlidesExporter
from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell
from tqdm import tqdm

from tools.docs.executed import execute, write_plotly
from tools.docs.notebooks import chosen

ROOT = Path(__file__).resolve().parents[2]
REVEAL = Path(sphinx_revealjs.__file__).parent / "_static/revealjs"  # reveal.js as a Python package brings it


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="of the notebooks; all without any")
    parser.add_argument("--out", type=Path, default=ROOT / "build/slides")
    parser.add_argument("--code", action="store_true")
    args = parser.parse_args()
    notebooks = [source.with_suffix(".ipynb") for source in chosen(args.numbers)]
    prepare(args.out)
    for notebook in tqdm(notebooks, desc="notebooks"):
        run = args.out / "slides" / notebook.name
        shutil.copy(notebook, run)
        execute(run, run.with_name(f"{run.stem}-widgets"))
        page = run.with_suffix(".html")
        page.write_text(as_slides(nbformat.read(run, as_version=4), code=args.code), encoding="utf-8")
        run.unlink()
        tqdm.write(str(page))


def prepare(out: Path) -> None:
    """What all slides share."""
    (out / "slides").mkdir(parents=True, exist_ok=True)
    write_plotly(out)
    shutil.copytree(REVEAL / "dist", out / "reveal.js/dist", dirs_exist_ok=True)


def as_slides(notebook: NotebookNode, *, code: bool) -> str:
    """A notebook that was run, as one page of slides."""
    notebook.cells = [part for cell in notebook.cells for part in at_headings(cell)]
    before = None
    for cell in notebook.cells:
        slideshow = cell.metadata.setdefault("slideshow", {})
        before = slideshow.setdefault("slide_type", slide_type(cell, before, code))
        if cell.cell_type == "markdown":
            cell.source = with_mathml(cell.source)
    exporter = SlidesExporter(
        template_name="slides_template",
        extra_template_basedirs=[str(ROOT / "tools/docs")],
        reveal_url_prefix="../reveal.js",
        reveal_theme="white",
        exclude_input=not code,
    )
    return str(exporter.from_notebook_node(notebook)[0])


def at_headings(cell: NotebookNode) -> list[NotebookNode]:
    """A markdown cell in pieces that begin with a heading; any other as it is."""
    if cell.cell_type != "markdown":
        return [cell]
    pieces = re.split(r"^(?=##? )", cell.source, flags=re.M)
    return [new_markdown_cell(piece, metadata=cell.metadata.copy()) for piece in pieces if piece.strip()]


def slide_type(cell: NotebookNode, before: str | None, code: bool) -> str:
    """Where a cell goes, in nbconvert's words: what a cell shows stands under the prose before it."""
    if cell.cell_type == "markdown":
        return "slide" if re.match(r"##? ", cell.source) else "subslide"
    if not (cell.outputs or code):
        return "skip"
    return "-" if before in ("slide", "subslide") else "subslide"


def with_mathml(text: str) -> str:
    """$formulas$ as MathML; what stands in code stays."""
    parts = re.split(r"(```.*?```|`[^`\n]*`)", text, flags=re.S)
    for at in range(0, len(parts), 2):
        block = re.sub(r"\$\$(.+?)\$\$", lambda m: tex2mathml(m[1].strip(), True), parts[at], flags=re.S)
        parts[at] = re.sub(r"(?<![\\\d])\$([^$\n]+)\$", lambda m: tex2mathml(m[1]), block)
    return "".join(parts)


if __name__ == "__main__":
    main()
