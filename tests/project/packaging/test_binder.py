"""What Binder would build: the plan, rendered and read without Docker, and its last step, run."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
import tomllib
import venv
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="Binder's tools and its machines are not Windows")


@pytest.fixture(scope="module")
def plan(root: Path) -> str:
    """The steps of the image for this checkout, by the build pack that takes it."""
    from repo2docker.app import Repo2Docker

    app, here = Repo2Docker(), Path.cwd()
    os.chdir(root)
    try:
        packs = (pack(app.base_image) for pack in app.buildpacks)
        chosen = next(pack for pack in packs if pack.detect())
        chosen.platform = "linux/amd64"
        return str(chosen.render(build_args={}))
    finally:
        os.chdir(here)


def test_binder_takes_the_oldest_python_that_the_project_runs_on(plan: str, root: Path) -> None:
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    oldest = project["requires-python"].removeprefix(">=")
    found = re.search(
        r"environment\S*py-(3\S*?)-linux-64\S*lock", plan.replace("-2d", "-").replace("-2e", ".")
    )
    assert found
    assert found[1] == oldest


def test_requirements_come_before_the_checkout(plan: str) -> None:
    steps = [
        'pip install --no-cache-dir -r "binder/requirements.txt"',
        "COPY --chown=1000:1000 src/ ",
        "RUN ./binder/postBuild",
    ]
    places = [plan.find(step) for step in steps]
    assert -1 not in places
    assert places == sorted(places)


def test_torch_is_the_build_for_the_cpu(root: Path) -> None:
    """A bare number would bring CUDA, some gigabytes; the label is on PyTorch's own index alone."""
    lines = (root / "binder/requirements.txt").read_text("utf-8").splitlines()
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in lines
    (torch,) = (line for line in lines if line.startswith("torch"))
    assert torch.endswith("+cpu")


def test_requirements_do_not_name_the_checkout(root: Path) -> None:
    """Else every commit would install everything again."""
    lines = (root / "binder/requirements.txt").read_text("utf-8").splitlines()
    assert not [line for line in lines if re.match(r"(-e\s|--editable|\.|moespac)", line)]


def test_the_badge_opens_the_first_notebook_in_jupyterlab(root: Path) -> None:
    from tools.release.launch import FIRST, Origin

    address = urlsplit(Origin("someone/moe-course", "1.2.3").binder(FIRST))
    assert address.path == "/v2/gh/someone/moe-course/v1.2.3"
    interface, tree, path = parse_qs(address.query)["urlpath"][0].split("/", 2)
    assert (interface, tree) == ("lab", "tree")
    assert (root / path).is_file()


@pytest.mark.slow
def test_the_last_step_installs_the_project_and_its_data(root: Path, tmp_path: Path) -> None:
    """postBuild itself, in a copy of the checkout, where what the requirements bring is there already."""
    copy, home = tmp_path / "copy", tmp_path / "home"
    for name in ("binder", "data", "moespac_nb", "notebooks", "widgets"):
        shutil.copytree(root / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(root / name, copy / name)
    venv.create(home, symlinks=True)
    (own,) = home.glob("lib/python*/site-packages")
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    (own / "lent.pth").write_text("\n".join(lent), encoding="utf-8")
    clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    clean |= {"PATH": f"{home / 'bin'}:{os.environ['PATH']}", "PIP_NO_INDEX": "1"}
    assert os.access(copy / "binder/postBuild", os.X_OK)
    done = subprocess.run([copy / "binder/postBuild"], cwd=copy, env=clean, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"in {own}/moespac_nb/_data: every checksum right" in done.stdout
