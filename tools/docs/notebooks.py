"""Make the .ipynb files from their py:percent sources, without outputs.

    python -m tools.docs.notebooks [03 05 ...]        # what students open, beside the sources
    python -m tools.docs.notebooks --solutions DIR    # the same with the exercises solved

The source holds everything once: its front matter becomes a cell under the title, and what stands between
### BEGIN SOLUTION and ### END SOLUTION becomes dots for the student. Badges and Colab's first cell come from
the repository's address, see `launch.py`.
"""

from __future__ import annotations

import argparse
import ast
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_markdown_cell
from yaml import YAMLError

from moespac_nb.utils.files import atomic_write
from tools.release.launch import colab_cell, notebook_badges

__all__ = ["chosen", "front_matter", "made", "sources"]

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SOLUTION = re.compile(r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION\n?", re.M | re.S)
NEEDED = {
    "title": str, "minutes": int, "needs": list, "objectives": list, "exact": str, "measured": str,
    "modelled": str, "sections": list, "board": list, "misunderstandings": list,
}  # fmt: skip
PARTS = {
    "sections": {"name": str, "minutes": int},
    "board": {"ask": str, "answer": str},
    "misunderstandings": {"said": str, "so": str},
}
HOW_MANY = {"objectives": range(3, 6), "board": range(2, 5), "misunderstandings": range(2, 5)}
MINUTES = range(20, 41)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="of the notebooks; all without any")
    parser.add_argument("--sources", type=Path, metavar="DIR", default=NOTEBOOKS)
    parser.add_argument("--solutions", type=Path, metavar="DIR")
    args = parser.parse_args()
    for source in chosen(args.numbers, args.sources):
        notebook = made(source, solved=bool(args.solutions))
        path = (args.solutions or args.sources) / f"{source.stem}.ipynb"
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_write(path, "the notebook") as file:
            file.write((nbformat.writes(notebook) + "\n").encode())
        print(path)


def sources(directory: Path = NOTEBOOKS) -> list[Path]:
    return sorted(directory.glob("[0-9][0-9]_*.py"))


def chosen(numbers: Sequence[str], directory: Path = NOTEBOOKS) -> list[Path]:
    """The sources of these notebooks, of all without any; ends with a sentence where there is none."""
    found = {path.name[:2]: path for path in sources(directory)}
    unknown = [number for number in numbers if number not in found]
    if unknown:
        raise SystemExit(f"there is no notebook {', '.join(unknown)}; expected: {', '.join(found)}")
    return [found[number] for number in numbers or found]


def made(source: Path, *, solved: bool = False) -> NotebookNode:
    """A notebook as it is opened. solved: with the solutions, else dots in their place."""
    notebook = _read(source)
    matter = front_matter(source, notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = solution_kept(cell.source) if solved else solution_taken(cell.source)
    title, heading, rest = notebook.cells[0].source.partition("\n## ")
    if not title.startswith("# "):
        raise SystemExit(
            f"{source.name}: its first cell is no title; expected: markdown that begins with '# '"
        )
    badges, colab = notebook_badges(source.stem), colab_cell()
    notebook.cells[:1] = [
        new_markdown_cell("\n\n".join(filter(None, (title.strip(), badges)))),
        new_markdown_cell("\n".join(front_cell(matter, source.parent))),
        *([new_code_cell(colab, metadata={"tags": ["colab"]})] if colab else []),
        *([new_markdown_cell(heading.strip() + " " + rest)] if heading else []),
    ]
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"{source.stem[:2]}-{number:02d}"  # fixed: the file changes only with its source
    notebook.metadata.pop("jupytext", None)
    return notebook


def _read(source: Path) -> NotebookNode:
    try:
        return jupytext.read(source)
    except YAMLError as problem:
        raise SystemExit(f"{source.name}: its front matter cannot be read: {problem}") from problem


def front_matter(source: Path, notebook: NotebookNode | None = None) -> Mapping[str, Any]:
    """What a notebook says of itself, checked against its headings."""
    notebook = notebook or _read(source)
    matter: Mapping[str, Any] = notebook.metadata.get("moespac", {})
    problems = list(_problems(matter, notebook))
    if problems:
        raise SystemExit(f"{source.name}: its front matter " + "; ".join(problems))
    return matter


def _problems(matter: Mapping[str, Any], notebook: NotebookNode) -> Iterator[str]:
    wrong = [name for name, kind in NEEDED.items() if not isinstance(matter.get(name), kind)]
    if wrong:
        yield f"lacks {', '.join(wrong)}, or has something else there"
        return
    for name, parts in PARTS.items():
        if not all(_consists_of(parts, each) for each in matter[name]):
            asked = " and ".join(f"{part} ({kind.__name__})" for part, kind in parts.items())
            yield f"has {name} that are not just {asked}"
            return
    if not all(isinstance(each, str) for name in ("needs", "objectives") for each in matter[name]):
        yield "has needs or objectives that are no text: a number such as 03 stands in quotes, so does 'a: b'"
        return
    for name, accepted in HOW_MANY.items():
        if len(matter[name]) not in accepted:
            yield f"has {len(matter[name])} {name}; expected: {accepted[0]} to {accepted[-1]}"
    if matter["minutes"] not in MINUTES:
        yield f"asks for {matter['minutes']} minutes; expected: {MINUTES[0]} to {MINUTES[-1]}"
    named = [section["name"] for section in matter["sections"]]
    prose = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    headings = re.findall(r"^## (.+)$", prose, re.M)
    if named not in (headings, headings[:-1]):  # the last one may be where to go from here
        yield f"names the sections {named}, and the headings are {headings}"
    minutes = sum(section["minutes"] for section in matter["sections"])
    if minutes != matter["minutes"]:
        yield f"has sections of {minutes} minutes in a notebook of {matter['minutes']}"


def _consists_of(parts: Mapping[str, type], given: object) -> bool:
    return (
        isinstance(given, Mapping)
        and set(given) == set(parts)
        and all(isinstance(given[part], kind) for part, kind in parts.items())
    )


def front_cell(matter: Mapping[str, Any], beside: Path) -> Iterator[str]:
    """The cell under the title."""
    stems = {path.name[:2]: path.stem for path in sources(beside)}
    needs = [f"[{number}]({stems[number]}.ipynb)" for number in matter["needs"] if number in stems]
    yield f"**{matter['minutes']} minutes**{', after notebook ' + ', '.join(needs) if needs else ''}."
    yield from ("", "After this notebook you can", "")
    yield from (f"{place}. {each}" for place, each in enumerate(matter["objectives"], 1))
    kinds = [(kind, matter[kind]) for kind in ("exact", "measured", "modelled") if matter[kind] != "nothing"]
    yield from ("", " · ".join(f"**{kind}**: {what}" for kind, what in kinds))


def solution_kept(code: str) -> str:
    return SOLUTION.sub(r"\2", code).rstrip("\n")


def solution_taken(code: str) -> str:
    """Dots for each solution; where it gives names a value, these names hold the dots."""

    def dots(found: re.Match[str]) -> str:
        last = ast.parse(textwrap.dedent(found[2])).body[-1]
        targets = last.targets if isinstance(last, ast.Assign) and not found[1] else []
        names = [each.id for target in targets for each in ast.walk(target) if isinstance(each, ast.Name)]
        return f"{found[1]}{''.join(f'{name} = ' for name in names)}...  # your answer\n"

    return SOLUTION.sub(dots, code).rstrip("\n")


if __name__ == "__main__":
    main()
