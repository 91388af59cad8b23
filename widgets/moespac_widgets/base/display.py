"""What a cell's output holds for a view: the live view, or one that needs no kernel and no widget manager.

MOESPAC_WIDGETS says which, and is read whenever a view is displayed:

    live       (or nothing) the live view, and beside it, for pages that draw none, its state, a small picture
               and a sentence that says what to do. The browser shows the one or the other.
    static     the page that `to_html` writes, packed into the output: everything but what a kernel computes.
               20 to 150 kB a view; needs a browser's script, and neither a network nor a file beside it.
    pages:DIR  the same page as a file in DIR, and a frame that shows it. The frame's address is the last part
               of DIR and the file's name, so DIR must lie beside the page that the notebook becomes:
               `pages:book/lesson-widgets` for book/lesson.html. A file is named by its content: running a
               notebook again, or several at once, neither overwrites nor repeats.

Every frame grows to the height of what it shows.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import os
import re
import tempfile
from collections.abc import Callable, Iterable, Mapping
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from moespac_nb.utils.exceptions import InvalidInputError
from moespac_nb.utils.files import atomic_write

from .assets import Words

__all__ = ["MODE", "StaticView"]

MODE = "MOESPAC_WIDGETS"
WIDGET = "application/vnd.jupyter.widget-view+json"
PAGES = "pages:"

# The page tells its height, see page.js; without a script around it the frame scrolls.
_FRAME = """<iframe title="{title}" {source} loading="lazy" allowfullscreen
style="width:100%;height:{height}px;border:0"></iframe>
<script>(() => {{
  const frame = document.currentScript.previousElementSibling;
  addEventListener("message", (event) => {{
    const height = event.source === frame.contentWindow && event.data && event.data.moespacHeight;
    if (height) frame.style.height = `${{height + 16}}px`;
  }});
}})();</script>"""
_UNPACK = """<!doctype html><meta charset="utf-8"><script>(async () => {{
const packed = Uint8Array.from(atob("{packed}"), (letter) => letter.charCodeAt(0));
const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
const page = await new Response(stream).text();
document.open(); document.write(page); document.close();
}})();</script>"""
_HEIGHT = 480  # pixels, until the page has told


class StaticView:
    """How a view is displayed: the first base of its class."""

    comm: Any
    model_id: str
    _catalogue: Mapping[str, str]  # titles, and the sentences of this module
    _ipython_display_ = None  # ipywidgets 7 has one, which would be asked first and knows live views only

    def caption(self) -> str:
        """Return the view's title."""
        raise NotImplementedError

    def state_in_words(self) -> Iterable[tuple[str, str]]:
        """Return names and values of the state, for readers who see no view."""
        raise NotImplementedError

    def fallback_html(self) -> str:
        """Return HTML of what the view shows, without a script; nothing where its state says all there is."""
        return ""

    def to_html(self, path: str | Path) -> Path:
        """Write the view as one page that needs neither kernel nor network.

        Parameters
        ----------
        path : str or Path
            The page to write, a name that ends in .html.
        """
        raise NotImplementedError

    def _repr_mimebundle_(self, **options: Any) -> Any:
        title = self.caption()
        if self.comm is None:
            words = self._say("static.closed")
            return {"text/plain": words, "text/html": f"<p>{escape(words)}</p>"}
        show = _mode()
        if show is not None:
            return {"text/plain": title, "text/html": show(self, title)}
        words = self._say("static.not_live")
        live = getattr(super(), "_repr_mimebundle_", self._live)(**options)
        data, metadata = live if isinstance(live, tuple) else (live, {})
        return {**data, "text/plain": words, "text/html": self._beside(words)}, metadata

    def _say(self, key: str) -> str:
        return Words(key, {"title": self.caption(), "mode": MODE}).read(self._catalogue)

    def _live(self, **_options: Any) -> dict[str, Any]:
        """Return the bundle of ipywidgets 7, which makes none itself."""
        return {WIDGET: {"version_major": 2, "version_minor": 0, "model_id": self.model_id}}

    def _beside(self, words: str) -> str:
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(value)}</td></tr>'
            for name, value in self.state_in_words()
        )
        sentence = re.sub("`(.*?)`", r"<code>\1</code>", escape(words))
        return f"<p><em>{sentence}</em></p>{self.fallback_html()}<table><tbody>{rows}</tbody></table>"


def _mode() -> Callable[[Any, str], str] | None:
    """Return the function that displays a view instead of a live one, if the environment asks for one."""
    mode = os.environ.get(MODE, "")
    if mode in ("", "live"):
        return None
    if mode == "static":
        return _packed
    folder = mode.removeprefix(PAGES)
    if folder in ("", mode):
        raise InvalidInputError(f"{MODE} is {mode!r}; expected: live, static, or {PAGES} and a folder")
    return lambda view, title: _beside(view, title, Path(folder))


def _packed(view: StaticView, title: str) -> str:
    packed = base64.b64encode(gzip.compress(_page_of(view), mtime=0)).decode()
    return _frame(title, f'srcdoc="{escape(_UNPACK.format(packed=packed))}"')


def _beside(view: StaticView, title: str, folder: Path) -> str:
    page = _page_of(view)
    kind = re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(view).__name__).lower()
    name = f"{kind}-{hashlib.sha256(page).hexdigest()[:12]}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise InvalidInputError(f"{MODE} names {folder}, which cannot be made: {problem}") from problem
    with atomic_write(folder / name, "a view's page") as file:
        file.write(page)
    return _frame(title, f'src="{quote(folder.name)}/{name}"')


def _page_of(view: StaticView) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return view.to_html(Path(folder) / "view.html").read_bytes()


def _frame(title: str, source: str) -> str:
    return _FRAME.format(title=escape(title), source=source, height=_HEIGHT)
