"""Make a folder from which a class installs and works without a network: python run.py class-kit DIR

It holds wheels of the project and of all that the notebooks need, for this machine's system and Python, the
notebooks, `check.py` and a README. A kit that was there before is replaced once the new one is whole.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import platform
import shutil
import sys
from pathlib import Path

import run

ROOT = Path(__file__).resolve().parents[2]

CARD = "kit.json"  # a folder without it is no kit
NEEDED_BYTES = 2 * 10**9
ACCEPTED = "expected: a new folder, an empty one, or a kit, which is replaced."


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="run.py class-kit", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR", help=ACCEPTED)
    folder = parser.parse_args(argv).folder.resolve()
    try:
        make(folder)
    except OSError as problem:
        sys.exit(f"The kit could not be made: {problem}. {run.explain(str(problem))}")
    print(
        f"{folder}: {bytes_in(folder) / 1e6:.0f} MB. Copy the whole folder; README.txt in it says the rest."
    )


def make(folder: Path) -> None:
    """It is built beside its place, and put there when it is whole."""
    if folder.is_file():
        sys.exit(f"{folder} is a file; {ACCEPTED}")
    if folder.exists() and any(folder.iterdir()) and not (folder / CARD).is_file():
        sys.exit(f"{folder} is not empty, and no kit; {ACCEPTED}")
    partial, old = (folder.with_name(folder.name + ending) for ending in (".partial", ".old"))
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    partial.mkdir(parents=True)
    free = shutil.disk_usage(partial).free
    if free < NEEDED_BYTES:
        partial.rmdir()
        sys.exit(f"{free / 1e9:.1f} GB free at {folder.parent}; a kit needs {NEEDED_BYTES / 1e9:.0f} GB.")
    fetch(partial / "wheels")
    (partial / "notebooks").mkdir()
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy(path, partial / "notebooks")
    for path in (ROOT / "tools/release/kit/check.py", ROOT / "LICENSE"):
        shutil.copy(path, partial)
    describe(partial)
    if folder.exists():
        folder.rename(old)
    partial.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def fetch(wheels: Path) -> None:
    """The project's wheel, torch for the CPU as run.py chooses it, and what else the lab mode needs."""
    run.say("building the project's wheel")
    pip("wheel", "--no-deps", "--wheel-dir", str(wheels), str(ROOT))
    (own,) = wheels.glob("moespac_nb-*.whl")
    pin, linux = run.pinned("torch"), sys.platform == "linux"
    run.say(f"fetching {pin} for the CPU, then the other packages")
    into = ["--dest", str(wheels), "--only-binary=:all:"]
    *tried, last = run.torch_choices(pin, False, linux, linux and run.answers(run.CPU_INDEX + "/torch/"))
    if not any(pip("download", *into, *choice, may_fail=True) for choice in tried):
        pip("download", *into, *last)
    pip("download", *into, "--find-links", str(wheels), "--constraint", "constraints.txt", f"{own}[lab]")


def pip(command: str, *arguments: str, may_fail: bool = False) -> bool:
    """Whether it succeeded; where it had to, a failure ends all, with what a person can do."""
    code, output = run.pip(*arguments, command=command, python=sys.executable)
    if code and not may_fail:
        sys.exit(run.explain(output))
    return code == 0


def describe(partial: Path) -> None:
    """README.txt, and the card: for which machine, and the wheels' checksums."""
    wheels = sorted((partial / "wheels").iterdir())
    card = {
        "version": next(path.name.split("-")[1] for path in wheels if path.name.startswith("moespac_nb-")),
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "machine": f"{platform.system()} {platform.machine()}",
        "wheels": {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels},
    }
    said = (ROOT / "tools/release/kit/README.txt").read_text(encoding="utf-8")
    said = said.format(gigabytes=f"{bytes_in(partial) / 1e9:.1f}", **card)
    (partial / "README.txt").write_text(said, encoding="utf-8")
    (partial / CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("\nInterrupted: there is no kit, or the one that was there before.")
