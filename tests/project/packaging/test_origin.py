"""The public address: one setting, from which badges, links and Colab's first cell are made."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import nbformat
import pytest

import moespac_nb
from moespac_widgets.base import colab
from moespac_widgets.base.display import MODE

NAME = "someone/moe-course"


@pytest.fixture
def launch() -> ModuleType:
    from tools.release import launch

    return launch


@pytest.fixture
def checkout(root: Path, launch: ModuleType, tmp_path: Path) -> Path:
    """The files that hold the address or follow from it, with no address set."""
    for name in (
        "pyproject.toml",
        "constraints.txt",
        "CITATION.cff",
        "moespac_nb/__init__.py",
        *launch.MARKED,
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(root / name, tmp_path / name)
    set_origin(None, tmp_path)
    return tmp_path


def set_origin(name: str | None, checkout: Path) -> list[Path]:
    from tools.release.set_origin import set_origin

    return set_origin(name, checkout)


def everything(checkout: Path) -> dict[str, str]:
    return {
        str(path.relative_to(checkout)): path.read_text("utf-8")
        for path in checkout.rglob("*")
        if path.is_file()
    }


def test_what_is_committed_follows_from_the_setting(launch: ModuleType, root: Path) -> None:
    """To mend: python run.py set-origin OWNER/REPO, or --unset."""
    stale = [path.name for path, text in launch.texts(root).items() if path.read_text("utf-8") != text]
    assert stale == []


def test_without_an_address_there_is_no_badge_but_a_sentence(launch: ModuleType, checkout: Path) -> None:
    assert launch.notebook_badges("00_start_here", checkout) is None
    assert launch.colab_cell(checkout) is None
    for name in launch.MARKED:
        assert "set-origin OWNER/REPO" in (checkout / name).read_text("utf-8")
    assert not re.search(
        "mybinder.org/v2|/colab.research|repository-code", "".join(everything(checkout).values())
    )


def test_the_address_is_in_every_place_and_leads_to_the_release(launch: ModuleType, checkout: Path) -> None:
    changed = {path.name for path in set_origin(NAME, checkout)}
    assert changed == {"pyproject.toml", "CITATION.cff", *(Path(name).name for name in launch.MARKED)}
    tag = f"v{moespac_nb.__version__}"
    readme = (checkout / "README.md").read_text("utf-8")
    assert (
        f"(https://mybinder.org/v2/gh/{NAME}/{tag}?urlpath=lab%2Ftree%2Fnotebooks%2F00_start_here.ipynb)"
        in readme
    )
    assert f"/github/{NAME}/blob/{tag}/notebooks/00_start_here.ipynb)" in readme
    assert f'repository-code: "https://github.com/{NAME}"' in (checkout / "CITATION.cff").read_text("utf-8")
    urls = tomllib.loads((checkout / "pyproject.toml").read_text("utf-8"))["project"]["urls"]
    assert urls == {"Repository": f"https://github.com/{NAME}"}
    assert f"{NAME}/blob/{tag}/notebooks/07_the_budget_lab.ipynb" in str(
        launch.notebook_badges("07_the_budget_lab", checkout)
    )


def test_unsetting_it_takes_all_back(checkout: Path) -> None:
    before = everything(checkout)
    set_origin(NAME, checkout)
    once = everything(checkout)
    assert once != before
    assert set_origin(NAME, checkout) == []
    set_origin("other/name", checkout)
    assert NAME not in "".join(everything(checkout).values())
    set_origin(None, checkout)
    assert everything(checkout) == before


def test_a_stale_badge_is_noticed(launch: ModuleType, checkout: Path) -> None:
    set_origin(NAME, checkout)
    readme = checkout / "README.md"
    readme.write_text(readme.read_text("utf-8").replace(NAME, "someone/else"), encoding="utf-8")
    assert launch.texts(checkout)[readme] != readme.read_text("utf-8")


@pytest.mark.parametrize(
    "given",
    [
        "moe-course",
        "https://github.com/a/b",
        "a/b.git",
        "a/b/c",
        "-a/b",
        "a/..",
        'a/b"\nx = "',
        "a/b c",
        "/b",
        "",
    ],
)
def test_another_form_is_refused_and_nothing_written(given: str, checkout: Path) -> None:
    before = everything(checkout)
    with pytest.raises(SystemExit, match="expected: OWNER/REPO"):
        set_origin(given, checkout)
    assert everything(checkout) == before


def test_missing_marks_are_named(checkout: Path, launch: ModuleType) -> None:
    (checkout / "README.md").write_text("# nothing\n")
    with pytest.raises(SystemExit, match=r"README.md lacks its marks"):
        launch.texts(checkout)


@pytest.mark.slow
def test_the_command_makes_every_notebooks_badges_and_first_cell(checkout: Path, root: Path) -> None:
    left_out = shutil.ignore_patterns("__pycache__")
    for name in ("moespac_nb", "notebooks", "tools"):
        shutil.copytree(root / name, checkout / name, ignore=left_out, dirs_exist_ok=True)

    def run(*arguments: str) -> dict[str, nbformat.NotebookNode]:
        command = [sys.executable, "-m", "tools.release.set_origin", *arguments]
        subprocess.run(command, cwd=checkout, check=True, capture_output=True)
        paths = sorted((checkout / "notebooks").glob("*.ipynb"))
        return {path.stem: nbformat.read(path, as_version=4) for path in paths}

    plain, marked = run("--unset"), run(NAME)
    assert marked
    for name, notebook in marked.items():
        assert f"/notebooks/{name}.ipynb" in notebook.cells[0].source + notebook.cells[1].source
        code = [cell for cell in notebook.cells if cell.cell_type == "code"]
        assert "google.colab" in code[0].source
        assert len(code) == 1 + sum(cell.cell_type == "code" for cell in plain[name].cells)
    assert run(NAME) == marked
    assert run("--unset") == plain


# -- Colab's first cell -------------------------------------------------------------------------------------


@pytest.fixture
def cell(checkout: Path, launch: ModuleType) -> str:
    set_origin(NAME, checkout)
    return str(launch.colab_cell(checkout))


def test_the_first_cell_is_short_and_python(cell: str) -> None:
    assert len(cell.splitlines()) <= 12
    assert max(map(len, cell.splitlines())) <= 160
    ast.parse(cell)


def test_elsewhere_the_first_cell_does_nothing(
    cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path / "docs")
    before = everything(tmp_path)
    space: dict[str, Any] = {"get_ipython": lambda: pytest.fail("the shell was asked")}
    exec(cell, space)
    assert set(space) - {"__builtins__", "get_ipython"} == {"sys"}
    assert everything(tmp_path) == before


@pytest.mark.parametrize("drawn", [True, False])
def test_on_colab_it_installs_and_keeps_what_is_there(
    drawn: bool, cell: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = SimpleNamespace(enable_custom_widget_manager=lambda: None, eval_js=lambda script: drawn)
    monkeypatch.setitem(sys.modules, "google", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "google.colab", SimpleNamespace(output=output))
    monkeypatch.setitem(sys.modules, "google.colab.output", output)
    monkeypatch.setenv(MODE, "")
    monkeypatch.chdir(tmp_path)
    commands: list[str] = []
    exec(cell, {"get_ipython": lambda: SimpleNamespace(system=commands.append)})
    kept = (tmp_path / "kept.txt").read_text().split()
    assert f"torch=={version('torch')}" in kept
    assert f"ipywidgets=={version('ipywidgets')}" in kept
    (command,) = commands
    release = moespac_nb.__version__
    assert command.startswith("pip install -q -c kept.txt tokenizers==")
    wheel = f"/{NAME}/releases/download/v{release}/moespac_nb-{release}-py3-none-any.whl"
    assert re.search(r" 'moespac-nb\[exercises\] @ \S+'$", command)
    assert command.endswith(f"{wheel}'")
    assert colab.os.environ[MODE] == ("live" if drawn else "static")


def test_the_page_that_draws_no_widget_is_told_why(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[Any] = []
    monkeypatch.setattr(colab, "display", shown.append)
    monkeypatch.setenv(MODE, "live")

    def fails(script: str) -> bool:
        raise TimeoutError("no answer")

    assert colab.choose(fails) == "static"
    assert "TimeoutError: no answer" in shown[-1].data
    assert colab.choose(lambda script: False) == "static"
    assert "drew no widget" in shown[-1].data
    assert colab.choose(lambda script: True) == "live"
    assert "static" not in shown[-1].data


@pytest.mark.full
@pytest.mark.slow
def test_pip_takes_the_constraints_that_the_cell_writes(cell: str, tmp_path: Path) -> None:
    """As far as a wheel of this checkout instead of the release's goes."""
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path]
    subprocess.run([*command, Path(__file__).resolve().parents[3]], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = re.search(r"kept = '(.*)'", cell) or re.search(r'kept = "(.*)"\.split', cell)
    assert names
    (tmp_path / "kept.txt").write_text("\n".join(f"{name}=={version(name)}" for name in names[1].split()))
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "-c", "kept.txt", str(wheel)]
    done = subprocess.run(pip, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Would install moespac-nb" in done.stdout
