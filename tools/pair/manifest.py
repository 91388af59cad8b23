"""Writes data/manifest.json: bytes and sha256 of every bundled file. Run it after changing any of them."""

from __future__ import annotations

import json
from pathlib import Path

from moespac_nb.datasets.files import MANIFEST, bundled_files, digest
from moespac_nb.utils.files import atomic_write

ROOT = Path(__file__).resolve().parents[2]


def manifest_of(root: Path) -> dict[str, dict[str, dict[str, int | str]]]:
    paths = {name: root / name for name in bundled_files(root)}
    return {
        "files": {name: {"bytes": p.stat().st_size, "sha256": digest(p)} for name, p in paths.items()},
    }


def write_manifest(root: Path) -> Path:
    path = root / MANIFEST
    with atomic_write(path, "the manifest") as file:
        file.write(f"{json.dumps(manifest_of(root), indent=1)}\n".encode())
    return path


if __name__ == "__main__":
    written = write_manifest(ROOT / "data")
    print(f"{written}: {len(json.loads(written.read_text(encoding='utf-8'))['files'])} files")
