"""What both ends of the version ranges are installed with; trying them takes minutes and is not done here."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


@pytest.fixture
def version_ends(root: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    from tools.quality import version_ends

    return version_ends


def test_the_lowest_end_is_each_range_s_first_version(version_ends: Any) -> None:
    pins = version_ends.pins("lowest", keep=[])
    assert len(pins) == len(version_ends.requirements()) > 10
    assert {"pulp==3.3.1", "transformers==5.20"} < set(pins)
    for need in version_ends.requirements():
        version = version_ends.lowest(need).split("==")[1]
        assert need.specifier.contains(version), "the lowest version is not in its own range"
        assert not need.specifier.contains("0.0.1")


def test_the_newest_end_is_free_but_for_what_is_kept(version_ends: Any) -> None:
    kept = f"numpy=={metadata.version('numpy')}"
    assert version_ends.pins("newest", keep=[]) == []
    assert version_ends.pins("newest", keep=["numpy"]) == [kept]
    assert kept in version_ends.pins("lowest", keep=["numpy"])


@pytest.mark.parametrize("line", ["numpy", "numpy<3", "numpy==2.0"])
def test_a_requirement_without_a_lower_bound_is_refused(version_ends: Any, line: str) -> None:
    with pytest.raises(SystemExit, match=rf"pyproject\.toml needs {line}; expected: a range"):
        version_ends.lowest(Requirement(line))


def test_the_range_checked_at_first_use_is_the_declared_one(version_ends: Any) -> None:
    from moespac_nb.models import compat

    declared = next(need for need in version_ends.requirements() if need.name == "transformers")
    assert declared.specifier == SpecifierSet(f">={compat.WINDOWS_FROM},<{compat.BEYOND}")


def test_every_test_file_of_the_fast_set_is_there(version_ends: Any, root: Path) -> None:
    assert [name for name in version_ends.TESTS if not (root / name).is_file()] == []
