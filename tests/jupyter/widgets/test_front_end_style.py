"""The widgets' JavaScript and CSS: formatted and linted by biome where it is installed, no line too long."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

WIDEST = 120
SOURCES = sorted(
    path
    for ending in ("js", "css")
    for path in (Path(__file__).resolve().parents[3] / "widgets/moespac_widgets").rglob(f"*.{ending}")
)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_line_of_the_front_end_is_too_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert not [f"{path.name}:{n}" for n, line in enumerate(lines, 1) if len(line) > WIDEST]


def test_the_front_end_is_formatted_and_free_of_lint(root: Path) -> None:
    """Without biome the test skips, or fails where MOESPAC_REQUIRE_NODE is set."""
    biome = root / "node_modules/.bin" / ("biome.cmd" if os.name == "nt" else "biome")
    if not biome.exists():
        message = "biome is not installed: npm install --no-package-lock"
        if os.environ.get("MOESPAC_REQUIRE_NODE"):
            pytest.fail(message)
        pytest.skip(message)
    command = [biome, "ci", "--colors=off", "--error-on-warnings"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    checked = re.search(r"Checked (\d+) files", done.stdout + done.stderr)
    assert checked
    assert int(checked[1]) in (len(SOURCES), len(SOURCES) + 1)  # its own configuration may be among them


def test_biomes_version_is_pinned(root: Path) -> None:
    package = json.loads((root / "package.json").read_text(encoding="utf-8"))
    (version,) = package["devDependencies"].values()
    assert version[0].isdigit()
