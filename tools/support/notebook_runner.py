"""A notebook run to its end, as a student has it or with the exercises solved, and what came of it."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

from tools.docs.notebooks import made

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
SOURCES = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.py"))
# Whoever asks another host for something fails in its own cell.
NO_NETWORK = """\
import socket as _socket
_connect = _socket.socket.connect
def _local(self, address):
    if self.family != _socket.AF_UNIX and address[0] not in ("127.0.0.1", "::1", "localhost"):
        raise OSError(f"a notebook asked for {address}")
    return _connect(self, address)
_socket.socket.connect = _local"""
# Linux counts a parent's peak as its child's in getrusage; VmHWM is the process's own.
PEAK = """\
import re as _re, resource as _r, sys as _s
if _s.platform == "linux":
    _peak = int(_re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) * 1024
else:
    _peak = _r.getrusage(_r.RUSAGE_SELF).ru_maxrss * (1 if _s.platform == "darwin" else 1024)
print("peak", _peak)"""


@dataclass(frozen=True)
class Run:
    """cells: with their outputs. progress: what was kept, {"exercises": …, "guesses": …}."""

    cells: list[Any]
    progress: dict[str, Any]

    @property
    def outputs(self) -> list[Any]:
        return [output for cell in self.cells for output in cell.get("outputs", ())]

    @property
    def errors(self) -> list[str]:
        return [f"{o.ename}: {o.evalue}" for o in self.outputs if o.output_type == "error"]

    @property
    def stderr(self) -> str:
        return "".join(o.text for o in self.outputs if o.output_type == "stream" and o.name == "stderr")

    @property
    def plain(self) -> list[str]:
        """What displays say in plain words."""
        return [o.data.get("text/plain", "") for o in self.outputs if "data" in o]

    @property
    def peak_bytes(self) -> int | None:
        found = [o.text for o in self.outputs if o.output_type == "stream" and o.text.startswith("peak ")]
        return int(found[-1].split()[1]) if found else None


def build(source: Path, *, solved: bool) -> Any:
    """The notebook of a source, as `tools/docs/notebooks.py` makes it."""
    return made(source, solved=solved)


def run(notebook: Any, folder: Path, *, allow_errors: bool = False) -> Run:
    """Execute in an empty folder, without a network."""
    own = notebook.cells
    notebook.cells = [nbformat.v4.new_code_cell(NO_NETWORK), *own]
    if os.name != "nt":
        notebook.cells.append(nbformat.v4.new_code_cell(PEAK))
    client = NotebookClient(
        notebook,
        timeout=600,
        allow_errors=allow_errors,
        store_widget_state=False,
        resources={"metadata": {"path": str(folder)}},
    )
    client.execute()
    kept = folder / "moespac-progress.json"
    progress = json.loads(kept.read_text()) if kept.exists() else {"exercises": {}, "guesses": {}}
    return Run(notebook.cells, progress)
