"""Paths and checksums of the bundled data."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..utils.exceptions import InvalidInputError, MissingDataError, MoespacError

__all__ = [
    "MANIFEST",
    "DataIssue",
    "bundled_files",
    "data_path",
    "data_root",
    "digest",
    "read_manifest",
    "trace_names",
    "verify_checksums",
]

MANIFEST = "manifest.json"
_PACKAGE = Path(__file__).resolve().parents[1]
_RESTORE = "install moespac-nb again, or in a checkout: git checkout -- data"


@dataclass(frozen=True)
class DataIssue:
    """One fault of the bundled data.

    Parameters
    ----------
    file : str
        The file, relative to the data's folder, with slashes.
    what : str
        The fault.
    remedy : str
        What to do.
    """

    file: str
    what: str
    remedy: str

    def __str__(self) -> str:
        """Return the fault as a sentence."""
        return f"{self.file}: {self.what}; {self.remedy}"


def data_root() -> Path:
    """Return the folder of the bundled data: inside the package in a wheel, else `data/` of the checkout.

    Returns
    -------
    Path

    Raises
    ------
    MissingDataError
        If there is no such folder.
    """
    folders = _PACKAGE / "_data", _PACKAGE.parent / "data"
    for folder in folders:
        if folder.is_dir():
            return folder
    raise MissingDataError(f"no bundled data at {' or '.join(map(str, folders))}; {_RESTORE}")


def data_path(name: str) -> Path:
    """Return the path of a bundled file or folder.

    Parameters
    ----------
    name : str
        Relative to the data's folder, with slashes.

    Returns
    -------
    Path

    Raises
    ------
    MissingDataError
        If it does not exist.

    Examples
    --------
    >>> data_path("pair/target.safetensors").name
    'target.safetensors'
    """
    path = data_root() / name
    if not path.exists():
        raise MissingDataError(f"bundled data {name!r} is missing from {data_root()}; {_RESTORE}")
    return path


def digest(path: Path) -> str:
    """Return the SHA-256 checksum of a file.

    Parameters
    ----------
    path : Path
        The file.

    Returns
    -------
    str
        In hexadecimal.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def bundled_files(root: Path) -> list[str]:
    """List the files that belong in the manifest: those that code reads.

    Parameters
    ----------
    root : Path
        The data's folder.

    Returns
    -------
    list of str
        Relative to `root` and sorted; documents, hidden files and the manifest itself are left out.
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
    """Read the manifest.

    Parameters
    ----------
    root : Path
        The data's folder.

    Returns
    -------
    dict
        `{file: {"bytes": int, "sha256": str}}`.

    Raises
    ------
    MissingDataError
        If there is no manifest.
    MoespacError
        If it is damaged.
    """
    path = root / MANIFEST
    try:
        files = json.loads(path.read_text(encoding="utf-8"))["files"]
        return {name: {"bytes": int(e["bytes"]), "sha256": str(e["sha256"])} for name, e in files.items()}
    except FileNotFoundError:
        raise MissingDataError(f"{path} is missing; {_RESTORE}") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidInputError(f"{path} is damaged ({error}); {_RESTORE}") from None


def verify_checksums(root: Path | None = None) -> list[DataIssue]:
    """Compare every bundled file with its size and checksum in the manifest.

    Parameters
    ----------
    root : Path, optional
        The data's folder; None takes the bundled one.

    Returns
    -------
    list of DataIssue
        Empty if nothing is wrong.
    """
    try:
        root = root or data_root()
        listed = read_manifest(root)
    except MoespacError as error:
        return [DataIssue(MANIFEST, "cannot be used", str(error))]
    files = bundled_files(root)
    issues = [DataIssue(name, "is missing", _RESTORE) for name in sorted(listed.keys() - set(files))]
    for name in files:
        path = root / name
        if name not in listed:
            remedy = "delete it, or run: python -m tools.pair.manifest"
            issues.append(DataIssue(name, "is not in the manifest", remedy))
        elif (size := path.stat().st_size) != listed[name]["bytes"]:
            expected = listed[name]["bytes"]
            issues.append(DataIssue(name, f"is damaged: {size:,} bytes, expected {expected:,}", _RESTORE))
        elif digest(path) != listed[name]["sha256"]:
            issues.append(DataIssue(name, "is damaged: its checksum is not the manifest's", _RESTORE))
    return issues


def trace_names() -> list[str]:
    """List the names that `load_trace` takes: domains, and the models whose routing can be generated.

    Returns
    -------
    list of str

    Examples
    --------
    >>> trace_names()[-1]
    'synthetic:qwen3-30b-a3b'
    """
    folder = data_root()
    domains = sorted(path.stem for path in (folder / "prompts").glob("*.jsonl"))
    return domains + sorted(f"synthetic:{path.stem}" for path in (folder / "synthetic").glob("*.json"))
