"""Make the .ipynb files from their py:percent sources, without outputs: python tools/notebooks.py [DIR]"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import jupytext
import nbformat


def main() -> None:
    directory = (
        Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "notebooks"
    )
    for source in sorted(directory.glob("*.py")):
        notebook = jupytext.read(source)
        for number, cell in enumerate(notebook.cells):
            cell["id"] = (
                f"{source.stem[:2]}-{number:02d}"  # fixed, so that the file changes only with its source
            )
        notebook.metadata.pop("jupytext", None)
        partial = source.with_suffix(".partial")
        nbformat.write(notebook, partial)
        os.replace(partial, source.with_suffix(".ipynb"))
        print(source.with_suffix(".ipynb"))


if __name__ == "__main__":
    main()
