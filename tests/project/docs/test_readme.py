"""The README's code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOMS = re.compile(r"^\| `(\w+)/` \|", flags=re.MULTILINE)


@pytest.fixture
def readme(root: Path) -> str:
    return (root / "README.md").read_text("utf-8")


def test_the_whole_method_is_twelve_lines_that_run(readme: str, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", readme, flags=re.MULTILINE | re.DOTALL)
    lines = [line for line in code.splitlines() if line and not line.startswith("from ")]
    assert len(lines) == 12
    names: dict[str, object] = {}
    exec(compile(code, "README.md", "exec"), names)
    replayed, live = capsys.readouterr().out.splitlines()
    assert re.match(r"\[[\d ]+\] 0\.\d+", replayed)
    assert re.match(r"\d+ Counters\(", live)


def test_every_room_has_its_line(readme: str, root: Path) -> None:
    rooms = {path.parent.name for path in (root / "moespac_nb").glob("*/__init__.py")}
    assert rooms <= set(ROOMS.findall(readme))


def test_every_room_named_is_there(readme: str, root: Path) -> None:
    table = readme.partition("| room of `moespac_nb/` |")[2].partition("\n\n")[0]
    assert [room for room in ROOMS.findall(table) if not (root / "moespac_nb" / room).is_dir()] == []
