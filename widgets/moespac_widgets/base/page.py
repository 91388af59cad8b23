"""Widgets as one page without kernel or network: front end, state and data in a single HTML file."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Literal, Protocol

from moespac_nb.utils.exceptions import InvalidInputError
from moespac_nb.utils.files import atomic_write

from .assets import HOME, catalogue, modules, style

__all__ = ["LEAST_WIDTH", "PageView", "write_page"]

LEAST_WIDTH = 540  # pixels of a column; where two do not fit, they lie one under the other
WIDTHS = {1: 1120, 2: 1680}  # the most that so many columns take

_PAGE = """<!doctype html>
<html lang="{language}">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ margin: 12px auto; max-width: {width}px; padding: 0 8px; background: Canvas; color: CanvasText; }}
h1 {{ font: 600 18px system-ui, sans-serif; }}
h2 {{ margin: 12px 0 4px; font: 600 15px system-ui, sans-serif; }}
main {{ display: flex; flex-wrap: wrap; gap: 0 14px; align-items: flex-start; }}
main > div {{ flex: 1 1 {least}px; min-width: 0; }}
.moespac {{ margin-bottom: 12px; }}
{style}
</style>
<h1>{title}</h1>
<main></main>
<script type="application/json" id="state">{state}</script>
<script>
"use strict";
const SCRIPTS = {scripts};
{page}
</script>
</html>
"""


class PageView(Protocol):
    """Protocol of what a page asks of a view; every `LiveView` has it.

    Attributes
    ----------
    SCRIPT : str
        The view's front-end file.
    """

    SCRIPT: str

    def caption(self) -> str:
        """Return the view's title."""

    def page_state(self) -> dict[str, Any]:
        """Return what the front end reads on a page, by name; arrays may be packed by `pack`."""


def write_page(
    path: str | Path,
    widgets: Sequence[PageView],
    title: str | None = None,
    linked: Sequence[str] = ("step",),
    columns: Literal[1, 2] = 1,
) -> Path:
    """Write widgets as one page that needs neither kernel nor network.

    Parameters
    ----------
    path : str or Path
        The page to write, a name that ends in .html.
    widgets : sequence of PageView
        At least one view, such as a `LiveView`; they are dealt in turn to the columns.
    title : str, optional
        The page's heading; None takes the first widget's.
    linked : sequence of str
        Traits that move together in all widgets that have them.
    columns : {1, 2}
        How many columns a wide window shows.

    Returns
    -------
    Path
        The same path.

    Raises
    ------
    MoespacError
        If there is no widget, or the path does not end in .html.

    Examples
    --------
    >>> from moespac_widgets import DemandMap, Stepper
    >>> write_page("lesson.html", [Stepper(trace), DemandMap(trace)])        # doctest: +SKIP
    """
    if not widgets:
        raise InvalidInputError("there is no widget to write; expected: at least one")
    path = Path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise InvalidInputError(f"the page would be written to {path}; expected: a name that ends in .html")
    scripts = dict.fromkeys(widget.SCRIPT for widget in widgets)
    shown = [{"script": widget.SCRIPT, "state": _readable(widget.page_state())} for widget in widgets]
    state = {"linked": list(linked), "columns": columns, "widgets": shown}
    page = _PAGE.format(
        width=WIDTHS[columns],
        least=LEAST_WIDTH,
        language=escape(catalogue("base")["base.language"]),
        title=escape(title or widgets[0].caption()),
        style=style(*scripts),
        state=json.dumps(state, ensure_ascii=False).replace("<", "\\u003c"),
        scripts=_front_ends(scripts),
        page=(HOME / "front/page.js").read_text(encoding="utf-8"),
    )
    with atomic_write(path, "the page") as file:
        file.write(page.encode())
    return path


def _readable(value: Any) -> Any:
    """Write the value as JSON, with bytes in base 64."""
    if isinstance(value, Mapping):
        return {key: _readable(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_readable(part) for part in value]
    if isinstance(value, memoryview):
        return {"base64": base64.b64encode(value).decode()}
    return value


def _front_ends(scripts: Iterable[str]) -> str:
    """Each front end by name as a function that returns its export; shared files stand once."""
    files = {name: source for script in scripts for name, source in modules(script).items()}
    own = [f"{json.dumps(script)}: () => {{\n{files.pop(script)}\n}}" for script in scripts]
    inside = ",\n".join(re.sub(r"^export default ", "return ", source, flags=re.M) for source in own)
    shared = "\n".join(files.values())
    return f"(() => {{\n{shared}\nreturn {{ {inside} }};\n}})()".replace("</script", "<\\/script")
