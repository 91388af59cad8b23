"""Try both ends of pyproject.toml's version ranges: the fast tests on the lowest and on the newest versions.

    python -m tools.quality.version_ends                        # both ends, each in an environment of its own
    python -m tools.quality.version_ends --keep torch           # torch as it is here: it is large
    python -m tools.quality.version_ends --ends lowest --keep torch tests/decoder/test_speculative.py

Prints a table and exits with 1 where a test failed or an end could not be installed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
ENDS = ("lowest", "newest")
RUNNER = ("pytest>=8", "pytest-timeout>=2.3", "scipy>=1.11")
# What the ranges are about: models, solvers, what is stored, what is shown. None of them opens a browser.
TESTS = tuple(
    f"tests/{name}.py"
    for name in (
        "balancer/test_formulations", "models/test_compat", "decoder/test_speculative", "decoder/test_drafts",
        "models/test_families", "models/test_loading", "offloading/test_session", "decoder/test_recording",
        "models/test_routing", "decoder/test_sampling", "trace/test_npz", "jupyter/widgets/test_figures",
        "jupyter/widgets/test_live_view",
    )
)  # fmt: skip


def requirements() -> list[Requirement]:
    """What the package and its exercises need."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)["project"]
    lines = [*project["dependencies"], *project["optional-dependencies"]["exercises"]]
    return [Requirement(line) for line in lines]


def lowest(requirement: Requirement) -> str:
    """The requirement, pinned to the first version that it allows."""
    bounds = [bound.version for bound in requirement.specifier if bound.operator == ">="]
    if len(bounds) != 1:
        raise SystemExit(f"pyproject.toml needs {requirement}; expected: a range with one lower bound (>=)")
    return f"{requirement.name}=={bounds[0]}"


def pins(end: str, keep: list[str]) -> list[str]:
    """What an end is installed with; the newest needs nothing but what is kept."""
    kept = {name: f"{name}=={metadata.version(name)}" for name in keep}
    lows = {need.name: lowest(need) for need in requirements()} if end == "lowest" else {}
    return list((lows | kept).values())


def installed(python: Path, end: str, keep: list[str]) -> dict[str, str]:
    """Installs the checkout at that end; the versions that came of it, by name."""
    install = [python, "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
    # First the newest, then back: what pip finds in place it keeps, and so has little to search through.
    subprocess.run([*install, *pins("newest", keep), "-e", f"{ROOT}[exercises]", *RUNNER], check=True)
    if end == "lowest":
        subprocess.run([*install, *pins(end, keep), "-e", f"{ROOT}[exercises]", *RUNNER], check=True)
    names = [need.name for need in requirements()]
    code = f"from importlib.metadata import version; print(*map(version, {names}))"
    found = subprocess.run([python, "-c", code], check=True, capture_output=True, text=True)
    return dict(zip(names, found.stdout.split(), strict=True))


def tested(python: Path, tests: list[str]) -> tuple[str, bool]:
    """Runs the tests; pytest's closing line, and whether all is well."""
    options = ["-q", "-p", "no:cacheprovider", "-m", "not browser and not wheel and not slow"]
    run = subprocess.run(
        [python, "-m", "pytest", *options, *tests], cwd=ROOT, capture_output=True, text=True, check=False
    )
    lines = run.stdout.strip().splitlines() or [run.stderr.strip()]
    for line in lines:
        if re.match(r"(FAILED|ERROR) ", line):
            print(line, flush=True)
    return lines[-1].strip("= "), run.returncode == 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("tests", nargs="*", default=list(TESTS), help="test files (default: the fast ones)")
    parser.add_argument("--ends", nargs="+", choices=ENDS, default=list(ENDS))
    parser.add_argument("--keep", action="append", default=[], metavar="NAME", help="as installed here")
    options = parser.parse_args()
    versions: dict[str, dict[str, str]] = {}
    results: dict[str, tuple[str, bool]] = {}
    with tempfile.TemporaryDirectory() as made:
        for end in options.ends:
            home = Path(made) / end
            venv.create(home, with_pip=True)
            python = home / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
            try:
                versions[end] = installed(python, end, options.keep)
                results[end] = tested(python, options.tests)
            except subprocess.CalledProcessError as error:
                results[end] = f"not installed: exit {error.returncode}", False
    print(f"\n{'package':14}" + "".join(f"{end:>16}" for end in options.ends) + "  range")
    for need in requirements():
        found = "".join(f"{versions.get(end, {}).get(need.name, '–'):>16}" for end in options.ends)
        note = " (kept as it is here)" if need.name in options.keep else ""
        print(f"{need.name:14}{found}  {need.specifier}{note}")
    for end, (line, _) in results.items():
        print(f"{end}: {line}")
    return 0 if all(well for _, well in results.values()) else 1


if __name__ == "__main__":
    raise SystemExit(main())
