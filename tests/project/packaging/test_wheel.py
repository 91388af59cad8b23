"""The built wheel, in an environment that never saw the checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

pytestmark = [pytest.mark.wheel, pytest.mark.slow]

WHEEL_LIMIT_BYTES = 80_000_000


@dataclass(frozen=True)
class Installed:
    wheel: Path
    home: Path  # of the environment
    empty: Path  # a folder with nothing in it, to run in

    def run(self, program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        folder = self.home / ("Scripts" if os.name == "nt" else "bin")
        clean = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        return subprocess.run(
            [folder / program, *arguments], cwd=self.empty, env=clean, capture_output=True, text=True
        )


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    home, empty, dist = (tmp_path_factory.mktemp(name) for name in ("home", "empty", "dist"))
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(root)]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = dist.glob("*.whl")
    venv.create(home)
    python = home / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index"]
    subprocess.run([*pip, str(wheel)], check=True, capture_output=True)
    # The dependencies are lent by the environment of the tests, to save copying gigabytes. A .pth file in a
    # folder that is itself named in one is not read: so the checkout's editable install does not come along.
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.run([python, "-c", ask], check=True, capture_output=True, text=True).stdout.strip()
    lent = dict.fromkeys([sysconfig.get_path("purelib"), sysconfig.get_path("platlib")])
    Path(own, "lent.pth").write_text("\n".join(lent), encoding="utf-8")
    return Installed(wheel, home, empty)


def test_the_package_comes_from_the_wheel_with_its_data(installed: Installed) -> None:
    ask = (
        "import moespac_nb, moespac_widgets, moespac_nb.datasets.files as r\n"
        "print(moespac_nb.__file__, moespac_widgets.__file__, r.data_root(), sep='\\n')"
    )
    done = installed.run("python", "-c", ask)
    assert done.returncode == 0, done.stderr
    for line in done.stdout.splitlines():
        assert Path(line).is_relative_to(installed.home.resolve())


def test_the_wheel_is_small_enough_to_send(installed: Installed) -> None:
    assert installed.wheel.stat().st_size <= WHEEL_LIMIT_BYTES


def test_the_widgets_front_end_and_words_are_in_the_wheel(installed: Installed, root: Path) -> None:
    home = root / "widgets" / "moespac_widgets"
    wanted = [path for path in home.rglob("*") if path.suffix in {".css", ".js", ".json", ".pyi"}]
    assert wanted
    with zipfile.ZipFile(installed.wheel) as wheel:
        missing = {f"moespac_widgets/{path.relative_to(home).as_posix()}" for path in wanted} - set(
            wheel.namelist()
        )
    assert not missing
    ask = (
        "from moespac_widgets import Stepper\n"
        "from moespac_widgets.base.assets import bundle\n"
        "print(len(bundle(Stepper.SCRIPT)))"
    )
    done = installed.run("python", "-c", ask)
    assert done.returncode == 0, done.stderr


def test_doctor_is_content(installed: Installed) -> None:
    done = installed.run("moespac", "doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(done.stdout)
    assert report["data"]["problems"] == []
    assert Path(report["data"]["path"]).is_relative_to(installed.home.resolve())


def test_decode_decodes(installed: Installed) -> None:
    done = installed.run("moespac", "decode", "--domain", "math", "--max-new-tokens", "8", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert 1 <= figures["new_tokens"] <= 8
    assert figures["text"]
    assert figures["lossless_checked"] is True


def test_bad_input_to_the_installed_command_writes_nothing(installed: Installed) -> None:
    done = installed.run("moespac", "decode", "--domain", "poetry")
    assert done.returncode == 2
    assert "poetry" in done.stderr
    assert "math" in done.stderr
    assert list(installed.empty.iterdir()) == []


def test_the_installed_command_finds_the_widgets(installed: Installed) -> None:
    done = installed.run("moespac", "dashboard", "maths", "--html", "page.html")
    assert done.returncode == 2
    assert "did you mean 'math'" in done.stderr  # the dashboard's own words, so it was found
    assert not list(installed.empty.iterdir())
