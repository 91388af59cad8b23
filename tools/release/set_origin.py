"""Say where the project lies in public; badges, links and first cells follow.

python run.py set-origin OWNER/REPO      a repository on GitHub
python run.py set-origin --unset         none: badges and first cells go again
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from pathlib import Path

from tools.release.launch import HOST, ROOT, origin_of, texts

NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9]|-(?=[A-Za-z0-9])){0,38}/(?!\.{1,2}$)[A-Za-z0-9._-]{1,100}")
TABLE = re.compile(r'\n\[project\.urls\]\nRepository = ".*"\n')
BEFORE = "\n[project.scripts]\n"


def set_origin(name: str | None, root: Path = ROOT) -> list[Path]:
    """Write the setting and all that follows from it but the notebooks; returns the files that changed."""
    if name is not None and (not NAME.fullmatch(name) or name.endswith(".git")):
        raise SystemExit(
            f"the repository is {name!r}; expected: OWNER/REPO as in {HOST}OWNER/REPO, without .git"
        )
    project = root / "pyproject.toml"
    text = TABLE.sub("", project.read_text(encoding="utf-8"))
    if name is not None:
        text = text.replace(BEFORE, f'\n[project.urls]\nRepository = "{HOST}{name}"\n{BEFORE}', 1)
    changed = _write({project: text})
    return changed + _write(texts(root))  # they are made from what the project says now


def _write(made: dict[Path, str]) -> list[Path]:
    changed = [path for path, text in made.items() if path.read_text(encoding="utf-8") != text]
    for path in changed:
        partial = path.with_name(path.name + ".partial")
        partial.write_text(made[path], encoding="utf-8", newline="\n")
        os.replace(partial, path)
    return changed


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="run.py set-origin", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    given = parser.add_mutually_exclusive_group(required=True)
    given.add_argument("name", nargs="?", metavar="OWNER/REPO")
    given.add_argument("--unset", action="store_true")
    options = parser.parse_args()
    for path in set_origin(options.name):
        print(path.relative_to(ROOT))
    subprocess.run(
        [sys.executable, "-m", "tools.docs.notebooks"], cwd=ROOT, check=True, stdout=subprocess.DEVNULL
    )
    origin = origin_of()
    if origin:
        print(f"Everything leads to {origin.address} at tag {origin.tag}: commit, then push that tag.")
    else:
        print("No address: no badges, and no first cells for Colab.")


if __name__ == "__main__":
    main()
