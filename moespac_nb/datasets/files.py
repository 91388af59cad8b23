"""Where the bundled data lies, and whether it is whole.

Knows paths and checksums only: what a file means is known by the module that reads it.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.exceptions import MoespacError

MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_RESTORE = "install moespac-nb again, or in a checkout: git checkout -- data"


@dataclass(frozen=True)
class DataIssue:
    """One thing wrong with the bundled data: the file (relative, with slashes), what, and what to do."""

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}: {self.what}; {self.remedy}"


def data_root() -> Path:
    """The folder of the bundled data: inside the package in a wheel, else `data/` of the checkout."""
    places = _PACKAGE / "_data", _PACKAGE.parent / "data"
    for place in places:
        if place.is_dir():
            return place
    raise MoespacError(f"no bundled data at {' or '.join(map(str, places))}; {_RESTORE}")


def data_path(name: str) -> Path:
    """The path of one bundled file or folder, `"pair/target.safetensors"` say.

    Raises MoespacError where there is none.
    """
    path = data_root() / name
    if not path.exists():
        raise MoespacError(f"bundled data {name!r} is missing from {data_root()}; {_RESTORE}")
    return path


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_files(root: Path) -> list[str]:
    """What the manifest lists: every file under `root` that code reads, relative and sorted.

    Documents, hidden files and the manifest itself are left out.
    """
    paths = (path.relative_to(root) for path in root.rglob("*") if path.is_file())
    return sorted(
        path.as_posix()
        for path in paths
        if path.suffix != ".md"
        and path.as_posix() != MANIFEST
        and not any(part.startswith(".") for part in path.parts)
    )


def read_manifest(root: Path) -> dict[str, dict[str, Any]]:
    """`{file: {"bytes": int, "sha256": str}}`; raises MoespacError where it is missing or damaged."""
    path = root / MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: {"bytes": int(e["bytes"]), "sha256": str(e["sha256"])} for name, e in files.items()}
    except FileNotFoundError:
        raise MoespacError(f"{path} is missing; {_RESTORE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise MoespacError(f"{path} is damaged ({error}); {_RESTORE}") from None


def verify_checksums(root: Path | None = None) -> list[DataIssue]:
    """Compares the bundled files with the manifest, every byte of them; an empty list means all is well."""
    try:
        root = root or data_root()
        listed = read_manifest(root)
    except MoespacError as error:
        return [DataIssue(MANIFEST, "cannot be used", str(error))]
    found = bundled_files(root)
    problems = [DataIssue(name, "is missing", _RESTORE) for name in sorted(listed.keys() - set(found))]
    for name in found:
        path = root / name
        if name not in listed:
            remedy = "delete it, or run: python -m tools.pair.manifest"
            problems.append(DataIssue(name, "is not in the manifest", remedy))
        elif (size := path.stat().st_size) != listed[name]["bytes"]:
            wanted = listed[name]["bytes"]
            problems.append(DataIssue(name, f"is damaged: {size:,} bytes, expected {wanted:,}", _RESTORE))
        elif digest(path) != listed[name]["sha256"]:
            problems.append(DataIssue(name, "is damaged: its checksum is not the manifest's", _RESTORE))
    return problems
