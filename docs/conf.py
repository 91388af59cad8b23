"""The book's settings for Sphinx; `python -m tools.docs.book` composes its sources and builds it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby
from typing import Any

from docutils import nodes
from docutils.utils.math.latex2mathml import tex2mathml

import moespac_nb

project, author, release = "moespac-nb", "The moespac-nb authors", moespac_nb.__version__
copyright = "2026, the moespac-nb authors, Apache-2.0"  # noqa: A001  # Sphinx's name for it

extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
napoleon_google_docstring = False
napoleon_use_ivar = True
myst_enable_extensions = ["dollarmath", "deflist"]
myst_heading_anchors = 3
nb_execution_mode = "off"  # tools/docs/book.py has run them
nb_render_markdown_format = "myst"
nb_mime_priority_overrides = [("*", "text/html", 0)]
# Words of a type, such as "shape", are no links: napoleon takes them for one.
suppress_warnings = ["mystnb.unknown_mime_type", "ref.python"]

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {"members": True, "exclude-members": "__init__,__new__"}
autoclass_content = "class"
python_use_unqualified_type_names = True
default_role = "code"

html_theme = "furo"
html_title = "moespac-nb"
html_static_path: list[str] = []
html_math_renderer = "mathml"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {"navigation_with_keys": True}


def as_rest(lines: list[str]) -> list[str]:
    """A docstring's text as reStructuredText, up to its first section, of which napoleon makes the rest."""
    # A page holds many docstrings, each with its own [1]: as plain text, not as links.
    lines = [re.sub(r"\[(\d)\]_", r"[\1]", re.sub(r"\.\. (?=\[\d\])", "-  ", line)) for line in lines]
    section = next((n for n, line in enumerate(lines[1:]) if re.fullmatch("-{3,}", line)), len(lines))
    return [*_text(lines[:section]), *(_escaped(line) for line in lines[section:])]


def _text(lines: list[str]) -> list[str]:
    """A plain text: what is indented, and under no bullet, is code as it stands."""
    made: list[str] = []
    for is_code, block in groupby(_blocks(lines), lambda one: one[0]):
        written = [line for _, line in block]
        if is_code:
            language = "pycon" if written[0].lstrip().startswith(">>>") else "none"
            made += ["", f".. code-block:: {language}", "", *("    " + line for line in written), ""]
        else:
            made += _plain("\n".join(written)).split("\n")
    return made


def _blocks(lines: list[str]) -> Iterator[tuple[bool, str]]:
    """Each line, and whether it is code."""
    in_code = in_bullet = False
    for line in lines:
        in_bullet = line.startswith("- ") or (in_bullet and line.startswith("  "))
        in_code = not in_bullet and (line.startswith((" ", ">>>")) or (in_code and not line))
        yield in_code, line


def _plain(text: str) -> str:
    """What is between backticks is code; stars, bars and underscores mean themselves; lists stand apart."""
    parts = re.split(r"(`[^`]+`)", re.sub(r"\n(?=- )", "\n\n", text))
    parts[::2] = [re.sub(r"([\\*|_`])", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))  # "`Step`s": markup ends before a letter


def _escaped(line: str) -> str:
    """A line of a section: stars and bars mean themselves, but for what is literal or an example."""
    if line.lstrip().startswith((">>>", "...", "..")):
        return line
    parts = re.split(r"(``[^`]+``|`[^`]+`)", line)
    parts[::2] = [re.sub(r"([|*])(?!\*?\w+ *:)", r"\\\1", part) for part in parts[::2]]
    return re.sub(r"(`[^`]+`)(?=\w)", r"\1\\ ", "".join(parts))


def _docstring(*event: Any) -> None:
    lines = event[-1]
    lines[:] = as_rest(lines)


def _math(self: Any, node: Any) -> None:
    """Formulas as MathML, which browsers draw themselves: no script, no font, no network."""
    block = isinstance(node, nodes.math_block)
    made = tex2mathml(node.astext(), as_block=block)
    self.body.append(f'<div class="math">{made}</div>' if block else made)
    raise nodes.SkipNode


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", _docstring, priority=400)  # before napoleon
    app.add_html_math_renderer("mathml", (_math, None), (_math, None))
