"""Real JupyterLab in a real browser: a server of its own, a notebook opened and run to the end."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tools.support.browser import Opened, without_a_fault

ROOT = Path(__file__).resolve().parents[2]

OPEN = """async path => {
  const app = window.jupyterapp;
  await app.restored;
  const panel = await app.commands.execute('docmanager:open', {path, factory: 'Notebook'});
  await panel.context.ready;
  await panel.sessionContext.ready;
  await panel.sessionContext.session.kernel.info;
  app.shell.collapseLeft();
  app.shell.activateById(panel.id);
}"""
RUN_ALL = "() => { window.jupyterapp.commands.execute('notebook:run-all-cells'); }"
# Off-screen output is not in the page, so the notebook's model is asked; "done" is every code cell counted.
STATE = """() => {
  const cells = [...window.jupyterapp.shell.currentWidget.content.model.cells];
  const code = cells.filter(c => c.type === 'code').map(c => c.toJSON());
  const outputs = code.flatMap(c => c.outputs);
  return {
    done: code.every(c => c.execution_count !== null),
    errors: outputs.filter(o => o.output_type === 'error').map(o => o.ename + ': ' + o.evalue),
    text: outputs.map(o => JSON.stringify(o.text ?? o.data ?? '')).join('\\n'),
  };
}"""

CELLS = """() => {
  const { content } = window.jupyterapp.shell.currentWidget;
  return [content.model.cells.length, content.activeCellIndex];
}"""
RUN_CELL = """async ([i, source]) => {
  const panel = window.jupyterapp.shell.currentWidget;
  if (source) panel.content.widgets[i].model.sharedModel.setSource(source);
  panel.content.activeCellIndex = i;
  await window.jupyterapp.commands.execute('notebook:run-cell');
}"""
SESSION = "window.jupyterapp.shell.currentWidget.sessionContext.session"
IN_KERNEL = f"""async code => {{
  const future = {SESSION}.kernel.requestExecute({{code, silent: false, store_history: false}});
  let text = '';
  future.onIOPub = m => {{ if (m.header.msg_type === 'stream') text += m.content.text; }};
  await future.done;
  return text;
}}"""
READY = "() => window.jupyterapp !== undefined"


@dataclass
class Lab(Opened):
    """JupyterLab in a browser, with a notebook open."""

    @property
    def cells(self) -> list[int]:
        """How many there are, and which one is active."""
        cells: list[int] = self.page.evaluate(CELLS)
        return cells

    def run_cell(self, place: int, source: str | None = None) -> None:
        self.page.evaluate(RUN_CELL, [place, source])

    def in_kernel(self, code: str) -> str:
        return str(self.page.evaluate(IN_KERNEL, code)).strip()

    def kernel_says(self, code: str, expected: str) -> None:
        """Wait until the kernel has heard."""
        for _ in range(40):
            said = self.in_kernel(code)
            if said == expected:
                return
            time.sleep(0.1)
        raise AssertionError(f"{code} says {said}, not {expected}")

    def stop_kernel(self) -> None:
        self.page.evaluate(f"() => {{ {SESSION}.kernel.shutdown(); }}")

    def save_and_reload(self, path: str) -> None:
        self.page.evaluate("() => window.jupyterapp.commands.execute('docmanager:save')")
        self.page.reload()
        self.page.wait_for_function(READY, timeout=120_000)
        self.page.evaluate(OPEN, path)

    def run_all(self, path: str, seconds: float = 240) -> dict[str, Any]:
        """Run every cell; returns `errors` and `text` of the outputs."""
        self.page.evaluate(OPEN, path)
        self.page.evaluate(RUN_ALL)
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            state: dict[str, Any] = self.page.evaluate(STATE)
            if state["done"] or state["errors"]:
                return state
            time.sleep(0.5)
        raise AssertionError(f"{path} was not through after {seconds} s: {state['text'][-500:]}")


def write_notebook(path: Path, cells: Iterable[str]) -> None:
    """A notebook of code cells, for the kernel that runs here."""
    import nbformat

    written = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    # Without it JupyterLab asks which kernel, and waits.
    written.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(written, path)


@contextmanager
def lab(root: Path, browser: Any, theme: str = "JupyterLab Light") -> Iterator[Lab]:
    """JupyterLab on `root`, opened in `browser`; settings and state live and die below `root`."""
    home = root / ".home"
    settings = home / "settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    quiet = {"fetchNews": "false", "checkForUpdates": False}
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(quiet))
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    token, port = secrets.token_hex(16), _free_port()
    places = {f"JUPYTER_{name}_DIR": str(home / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    lab_dirs = {
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
    }
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))  # for kernels: tools
    variables = {**os.environ, "HOME": str(home), "PYTHONPATH": paths, **places, **lab_dirs}
    command = [
        sys.executable, "-m", "jupyterlab", "--expose-app-in-browser", "--no-browser", "--allow-root",
        "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
        f"--IdentityProvider.token={token}", f"--ServerApp.root_dir={root}",
    ]  # fmt: skip
    log = (home / "lab.log").open("w")
    server = subprocess.Popen(command, cwd=root, stdout=log, stderr=log, env=variables)
    try:
        _wait_for(f"http://127.0.0.1:{port}/api?token={token}", server, home / "lab.log")
        scheme = "dark" if "Dark" in theme else "light"
        page = browser.new_page(viewport={"width": 1280, "height": 1000}, color_scheme=scheme)
        opened = Lab(page)
        here = f"127.0.0.1:{port}"
        opened.watch((f"http://{here}", f"ws://{here}", "data:", "blob:"), severe=("error",))
        page.goto(f"http://{here}/lab?token={token}")
        page.wait_for_function(READY, timeout=120_000)
        yield opened
        page.close()
    finally:
        server.terminate()
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            server.kill()
        log.close()


THEMES = pytest.mark.parametrize(
    "theme", ["JupyterLab Light", pytest.param("JupyterLab Dark", marks=pytest.mark.full)]
)


@dataclass
class Read:
    """A notebook of the project that was run to its end without an error."""

    page: Any
    text: str  # of its outputs
    picture: Callable[[str], None]  # take one, of this name


@contextmanager
def read(notebook: Path, browser: Any, theme: str, beside: Path) -> Iterator[Read]:
    """Run a copy of it below `beside`. No error, no word on the console, no request to another host."""
    shutil.copy(notebook, beside)
    pictures = notebook.parent.parent / "build/pictures"
    pictures.mkdir(parents=True, exist_ok=True)
    number, scheme = notebook.name[:2], "dark" if "Dark" in theme else "light"
    with lab(beside, browser, theme) as opened:
        state = opened.run_all(notebook.name)
        assert not state["errors"]

        def picture(name: str) -> None:
            opened.page.screenshot(path=pictures / f"{number}-{name}-{scheme}.png")

        yield Read(opened.page, state["text"], picture)
        without_a_fault(opened)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait_for(url: str, server: subprocess.Popen[bytes], log: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise AssertionError(f"JupyterLab ended with {server.returncode}: {log.read_text()[-1000:]}")
        try:
            urllib.request.urlopen(url, timeout=5).read()
            return
        except OSError:
            time.sleep(0.3)
    raise AssertionError(f"JupyterLab did not answer within {seconds} s: {log.read_text()[-1000:]}")
