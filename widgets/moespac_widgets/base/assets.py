"""The front-end files: what a widget sends to the browser, and the catalogue of its words.

A widget's file is a real ES module beside its Python module, and imports what it shares from `front/`.
anywidget takes one module as one string and there is no build step, so `bundle` puts what is imported in
front of the file, once each, and leaves out import lines, the word export, comments and indentation: what a
reader of the file needs and a browser does not. Names at the top level of the files must therefore differ.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ["CIVIDIS", "KINDS", "Words", "bundle", "catalogue", "modules", "style"]

HOME = Path(__file__).resolve().parents[1]
_IMPORT = re.compile(
    r'^import (?:\{[^}]*\}|(\w+)) from "[./\w]*?([\w.]+)"(?: with \{ type: "json" \})?;\n', re.M
)

_PALETTE = json.loads((HOME / "front/palette.json").read_text(encoding="utf-8"))
KINDS: dict[str, str] = _PALETTE["kinds"]  # Okabe-Ito: what a token or an operation is
CIVIDIS: list[str] = _PALETTE["cividis"]  # amounts, from least to most


class Words(NamedTuple):
    """A text of the catalogue that Python shows, a title or a notice, and the values of its {names}."""

    key: str
    values: Mapping[str, Any] = {}

    def read(self, texts: Mapping[str, str]) -> str:
        """Return the text with its names filled in; a value that is Words itself is read as well.

        Parameters
        ----------
        texts : mapping of str to str
            The catalogue's texts by key.

        Examples
        --------
        >>> Words("title", {"n": 2}).read({"title": "{n} steps"})
        '2 steps'
        """

        def filled(name: re.Match[str]) -> str:
            value = self.values[name[1]]
            return value.read(texts) if isinstance(value, Words) else str(value)

        return re.sub(r"\{(\w+)\}", filled, texts[self.key])


def bundle(script: str) -> str:
    """Return a front-end file and everything that it imports as one ES module.

    Parameters
    ----------
    script : str
        The file's name, such as "stepper.js".
    """
    return "\n".join(modules(script).values())


def _path(name: str) -> Path:
    """Return the file of that name; no name is used twice."""
    shared = HOME / "front" / name
    return shared if shared.exists() else next((HOME / "views").glob(f"*/{name}"))


@cache
def modules(script: str) -> dict[str, str]:
    """Return the files that a script imports, each before those that need it, and last the script itself.

    Parameters
    ----------
    script : str
        The file's name, such as "stepper.js".

    Returns
    -------
    dict of str to str
        Sources by file name, without imports, comments and indentation.
    """
    sources: dict[str, str] = {}
    taken: set[str] = set()

    def take(name: str) -> None:
        source = _path(name).read_text(encoding="utf-8")
        for line in _IMPORT.finditer(source):
            constant, imported = line.groups()
            if imported in taken:
                continue
            taken.add(imported)
            if constant:
                value = json.loads(_path(imported).read_text(encoding="utf-8"))
                sources[imported] = f"const {constant} = {json.dumps(value, separators=(',', ':'))};\n"
            else:
                take(imported)
        sources[name] = _lean(_IMPORT.sub("", source))

    take(script)
    return sources


def _lean(source: str) -> str:
    """Without comments, indentation, and line breaks inside brackets. No template literal spans lines.

    A comment behind code is kept where it holds a quote mark, as it may be part of a text; such a line is
    not joined with the next.
    """
    unindented = re.sub(r"^\s+", "", source, flags=re.M)
    alone = re.sub(r"^//.*\n|^/\*\*(?:.|\n)*?\*/\n", "", unindented, flags=re.M)
    bare = re.sub(r"""[ ]+// [^"'`\n]*$|^export (?!default)""", "", alone, flags=re.M)
    return re.sub(r"^(?!.*//)(.*(?:[{(\[,]$|(?=\n[})\]])))\n", r"\1", bare, flags=re.M)


def style(*scripts: str) -> str:
    """Return the style sheet that all widgets share, followed by the given widgets' own.

    A widget's own sheet, stepper.css beside stepper.js, holds inside that widget alone: on a notebook's page
    all sheets come together, in any order.

    Parameters
    ----------
    *scripts : str
        Front-end files, such as "stepper.js".
    """
    kinds = "".join(f" --ms-{name}: {colour};" for name, colour in KINDS.items())
    sheets = [f":root {{{kinds} }}", _lean_sheet(HOME / "front/base.css")]
    for name in (script.removesuffix(".js") for script in scripts):
        path = HOME / f"views/{name}/{name}.css"
        if path.exists():
            sheets.append(f".moespac.of-{name} {{\n{_lean_sheet(path)}}}")
    return "\n".join(sheets)


def _lean_sheet(path: Path) -> str:
    """Return the rules one a line, without comments."""
    bare = re.sub(r"/\*.*?\*/", "", path.read_text(encoding="utf-8"), flags=re.S)
    return re.sub(r"(?<=[;{,])\s*\n\s*|\n\s*(?=\})|(?<=\})\n(?=\n)", "", bare)


def catalogue(*prefixes: str) -> dict[str, str]:
    """Return the texts whose keys begin with one of the prefixes: `catalogue("base")` has "base.play".

    Parameters
    ----------
    *prefixes : str
        First parts of keys of `texts/en.json`.
    """
    texts = json.loads((HOME / "texts/en.json").read_text(encoding="utf-8"))
    return {key: text for key, text in texts.items() if key.split(".")[0] in prefixes}
