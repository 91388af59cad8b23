"""Notebooks run by a kernel with the versions of Colab's notebook stack, binder/colab.txt."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

from moespac_widgets.base.display import MODE, WIDGET

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="Colab is Linux")]

PINNED = ("anywidget", "ipykernel", "ipython", "ipywidgets", "numpy", "plotly")
KERNEL = "colab"
TRACE = """\
from moespac_nb import Operation, load_trace, replay
from moespac_widgets import *
trace = load_trace("math", mode="sample", dense=True, half="report")[:12]
result = replay(trace, "recency", "25%", gamma=4)"""
VIEWS = (
    "BalancerExplorer(trace, gamma=4)",
    "BudgetLab(trace, gamma=4)",
    'Dashboard(trace, "recency", gamma=4)',
    "DemandMap(trace, gamma=4)",
    'PlacementGraph(trace, "recency", gamma=4)',
    "Race(trace, gamma=4)",
    "Stepper(trace, gamma=4)",
    "Timeline(result)",
    "UtilityInspector(trace, gamma=4)",
)
FIGURES = ('timeline_figure([Operation("gpu", "L0 gpu", 0.0, 1.0)])', "parts_figure([result])")


@pytest.fixture(scope="module")
def kernels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for JUPYTER_PATH: a kernel with Colab's versions; the rest is lent by this environment."""
    home, place = tmp_path_factory.mktemp("colab"), tmp_path_factory.mktemp("jupyter")
    venv.create(home, symlinks=True)
    python = home / "bin/python"
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-compile", "--quiet"]
    done = subprocess.run([*pip, "-r", root / "binder/colab.txt"], capture_output=True, text=True)
    if done.returncode and re.search("NewConnectionError|No matching distribution|ProxyError", done.stderr):
        pytest.skip(f"Colab's versions cannot be fetched: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (own,) = home.glob("lib/python*/site-packages")
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    here = [root, root / "widgets"]  # an editable installation's own .pth is not read from there
    (own / "lent.pth").write_text("\n".join(map(str, [*lent, *here])), encoding="utf-8")
    spec = {"argv": [str(python), "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": "Colab", "language": "python"}  # fmt: skip
    (place / "kernels" / KERNEL).mkdir(parents=True)
    (place / "kernels" / KERNEL / "kernel.json").write_text(json.dumps(spec))
    return place


@pytest.fixture(autouse=True)
def _found(kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_PATH", str(kernels))


def executed(notebook: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """The notebook, run through without an error or a warning."""
    settings = {"kernel_name": KERNEL, "timeout": 600, "store_widget_state": False}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **settings).execute()
    outputs = [one for cell in notebook.cells for one in cell.get("outputs", ())]
    said = "".join(one.text for one in outputs if one.output_type == "stream" and one.name == "stderr")
    assert not re.search("Warning|Error|Traceback", said), said
    return notebook


@pytest.mark.parametrize("mode", ["live", pytest.param("static", marks=pytest.mark.full)])
def test_every_view_is_displayed_with_colabs_versions(
    mode: str, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(MODE, mode)
    ask = f"from importlib.metadata import version\nprint([version(name) for name in {PINNED}])"
    cells = [new_code_cell(source) for source in (ask, TRACE, *FIGURES, *VIEWS)]
    notebook = executed(new_notebook(cells=cells), tmp_path)
    pins = dict(re.findall(r"^(\S+)==(\S+)$", (root / "binder/colab.txt").read_text("utf-8"), flags=re.M))
    assert notebook.cells[0].outputs[0].text.strip() == str([pins[name] for name in PINNED])
    for cell in notebook.cells[2:]:
        output = cell.outputs[-1]  # before its first figure plotly 5 sends its script
        assert output.output_type in ("execute_result", "display_data"), cell.source
        if cell.source in VIEWS:
            assert (WIDGET in output.data) is (mode == "live"), cell.source
            assert ("<iframe" in output.data["text/html"]) is (mode == "static"), cell.source


@pytest.mark.full
@pytest.mark.parametrize(
    "path",
    sorted((Path(__file__).resolve().parents[3] / "notebooks").glob("*.ipynb")),
    ids=lambda path: path.stem,
)
def test_every_notebook_runs_with_colabs_versions(path: Path, tmp_path: Path) -> None:
    executed(nbformat.read(path, as_version=4), tmp_path)
