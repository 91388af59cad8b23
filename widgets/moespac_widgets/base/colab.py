"""On Google Colab: whether live views come up there, and static ones if not.

Colab draws foreign widgets with a manager that it loads from elsewhere, which a network may forbid or a page
forget. So a probe is displayed, and the page is asked whether it was drawn. Made after Colab's documentation;
tests put a stand-in in its place.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from html import escape
from typing import Any

import anywidget
from IPython.display import HTML, display

from .display import MODE

__all__ = ["choose"]

SECONDS = 20
_MARK = "moespac-probe"
_ASK = f"""new Promise((answer) => {{
  let rest = {10 * SECONDS};
  const timer = setInterval(() => {{
    const drawn = document.querySelector(".{_MARK}") !== null;
    if (!drawn && --rest) return;
    clearInterval(timer);
    answer(drawn);
  }}, 100);
}})"""


class _Probe(anywidget.AnyWidget):
    _esm = f'export default {{ render({{ el }}) {{ el.classList.add("{_MARK}"); }} }};'


def choose(ask: Callable[[str], Any] | None = None) -> str:
    """Choose live or static views: display a probe, and ask the page whether it was drawn.

    MOESPAC_WIDGETS is set to the mode, and a sentence says which it is.

    Parameters
    ----------
    ask : callable, optional
        Runs a script in the page and returns its answer; None takes Colab's.

    Returns
    -------
    str
        "live" or "static".
    """
    if ask is None:
        from google.colab import output  # type: ignore[import-not-found]

        output.enable_custom_widget_manager()
        ask = output.eval_js
    probe = _Probe()
    display(probe)
    try:
        why = "" if ask(_ASK) else f"the page drew no widget within {SECONDS} seconds"
    except Exception as problem:
        why = f"the page could not be asked: {type(problem).__name__}: {problem}"
    finally:
        probe.close()
    mode = os.environ[MODE] = "static" if why else "live"
    display(HTML(f"<p>{escape(_STATIC.format(why=why) if why else _LIVE)}</p>"))
    return mode


_LIVE = "Live views work here."
_STATIC = (
    "Views are static here, as {why}: they can be stepped and scrubbed, but nothing new is computed in them. "
    "To try again, reload the page and run this cell again."
)
