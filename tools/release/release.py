"""Whether a tag may be released, and what its release says: python -m tools.release.release TAG [OWNER/REPO]

TAG must be the version's, the changelog must have a dated section for it, the public address must be the
repository's. Prints that section. The release workflow runs it first, with nothing installed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

from tools.release.launch import HOST, ROOT, origin_of, version_of

__all__ = ["notes"]


def notes(tag: str, repository: str | None = None, root: Path = ROOT) -> str:
    """The changelog's section for the tag. SystemExit says what is wrong with it."""
    version = version_of(root)
    if tag != f"v{version}":
        raise SystemExit(f"the tag is {tag}, the version {version}; expected: the tag v{version}")
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    found = re.search(
        rf"^## {re.escape(version)}, \d{{4}}-\d\d-\d\d\n((?:(?!^## ).*\n?)*)", changes, flags=re.M
    )
    if not found or not found[1].strip():
        raise SystemExit(
            f"CHANGELOG.md says nothing of {version}: give it a section '## {version}, YEAR-MONTH-DAY'"
        )
    origin = origin_of(root)
    if repository and (origin is None or origin.name != repository):
        named = origin.address if origin else "not set"
        raise SystemExit(
            f"the project's public address is {named}, and this is {HOST}{repository}: run "
            f"python run.py set-origin {repository}, commit, and tag that"
        )
    return found[1].strip()


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3:
        sys.exit(__doc__)
    print(notes(*sys.argv[1:]))
