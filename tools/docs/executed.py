"""Notebooks as they were run, for pages without a kernel: widgets are pages, figures share one script."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from plotly import io as plotly_io
from plotly.offline import get_plotlyjs

__all__ = ["PLOTLY", "execute", "write_plotly"]

PLOTLY = "plotly.min.js"
FIGURE = "application/vnd.plotly.v1+json"


def write_plotly(folder: Path) -> None:
    """The script that the figures of all notebooks in the folders below share."""
    (folder / PLOTLY).write_text(get_plotlyjs(), encoding="utf-8")


def execute(path: Path, pages: Path) -> None:
    """Run a notebook in place, in an empty folder; its widgets' pages go to `pages`, which lies beside it."""
    notebook = nbformat.read(path, as_version=4)
    folder = path.with_suffix("")
    folder.mkdir()
    client = NotebookClient(
        notebook, timeout=600, store_widget_state=False, resources={"metadata": {"path": str(folder)}}
    )
    try:
        client.execute(env={**os.environ, "MOESPAC_WIDGETS": f"pages:{pages}"})
    finally:
        shutil.rmtree(folder)
    script: str | bool = f"../{PLOTLY}"
    for output in (one for cell in notebook.cells for one in cell.get("outputs", ())):
        figure = output.get("data", {}).pop(FIGURE, None)
        if figure is not None:
            output["data"]["text/html"] = _as_html(figure, script)
            script = False  # the first figure of a page brings it
    nbformat.write(notebook, path)


def _as_html(figure: dict[str, Any], script: str | bool) -> str:
    drawn = plotly_io.from_json(json.dumps({part: figure[part] for part in ("data", "layout")}))
    return str(drawn.to_html(full_html=False, include_plotlyjs=script))
