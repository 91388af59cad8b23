"""Notebooks: made from their sources, small, run to the end without a warning, within time and memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).resolve().parent.parent / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("*.py"))
PEAK_BYTES = 1 << 30
PEAK_CELL = (
    "import resource as _r, sys as _s\n"
    "print('peak', _r.getrusage(_r.RUSAGE_SELF).ru_maxrss * (1 if _s.platform == 'darwin' else 1024))"
)


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_the_notebook_is_made_from_its_source(source: Path) -> None:
    """To mend: python tools/notebooks.py."""
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    wanted = jupytext.read(source)
    assert [(c.cell_type, c.source) for c in notebook.cells] == [
        (c.cell_type, c.source) for c in wanted.cells
    ]
    assert not any(c.get("outputs") or c.get("execution_count") for c in notebook.cells)
    assert source.with_suffix(".ipynb").stat().st_size < 200_000


@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_code_cells_stay_short(source: Path) -> None:
    for cell in jupytext.read(source).cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 12, cell.source


@pytest.mark.slow
@pytest.mark.parametrize("source", SOURCES, ids=lambda p: p.stem)
def test_the_notebook_runs_from_an_empty_folder(source: Path, tmp_path: Path) -> None:
    notebook = nbformat.read(source.with_suffix(".ipynb"), as_version=4)
    if os.name != "nt":
        notebook.cells.append(nbformat.v4.new_code_cell(PEAK_CELL))
    client = NotebookClient(
        notebook, timeout=600, store_widget_state=False, resources={"metadata": {"path": str(tmp_path)}}
    )
    client.execute()
    written = [o for c in notebook.cells for o in c.get("outputs", ())]
    assert not [o for o in written if o.output_type == "error"]
    said = "".join(o.text for o in written if o.output_type == "stream" and o.name == "stderr")
    assert "Warning" not in said
    if os.name != "nt":
        peak = int(notebook.cells[-1].outputs[0].text.split()[1])
        assert peak <= PEAK_BYTES, f"the kernel took {peak / 2**20:.0f} MiB"


def test_a_stale_notebook_is_noticed(tmp_path: Path) -> None:
    tool = NOTEBOOKS.parent / "tools/notebooks.py"
    (tmp_path / "a.py").write_text("# %%\nprint(1)\n")
    subprocess.run([sys.executable, tool, tmp_path], check=True, capture_output=True)
    cells = json.loads((tmp_path / "a.ipynb").read_text())["cells"]
    assert ["".join(c["source"]) for c in cells] == ["print(1)"]
