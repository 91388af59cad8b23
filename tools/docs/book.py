"""The book: notebooks as they were run, docs and the API's reference as one static site.

    python -m tools.docs.book                  # into build/book, whose index.html needs no server
    python -m tools.docs.book --not-run        # without running the notebooks: a minute less, no outputs
    python -m tools.docs.book --solutions      # with the exercises solved: for who teaches

Every warning of Sphinx is an error, every link within the site must lead somewhere, and codespell reads what
people wrote. Notebooks are run with their widgets written as pages of their own, which need no kernel.
"""

from __future__ import annotations

import argparse
import pkgutil
import shutil
import subprocess
import sys
from collections.abc import Iterator
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from urllib.parse import unquote, urlsplit

from tqdm import tqdm

import moespac_nb
import moespac_widgets
from tools.docs.executed import execute, write_plotly

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build/book"
SPELLED = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "docs", "notebooks", "data/README.md", "widgets")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=BUILD)
    parser.add_argument("--not-run", action="store_true")
    parser.add_argument("--solutions", action="store_true")
    args = parser.parse_args()
    spell()
    source = args.out.with_name(args.out.name + ".source")
    compose(source, run=not args.not_run, solutions=args.solutions)
    build(source, args.out)
    problems = sorted(dead_links(args.out))
    if problems:
        sys.exit("Links that lead nowhere:\n" + "\n".join(problems))
    print(args.out / "index.html")


def spell() -> None:
    """codespell's list of common misspellings, over what people wrote."""
    words = ROOT / "docs/spelling.txt"
    options = ["--ignore-words", words, "--skip", "*.ipynb,*.png,*.html"]
    command = [sys.executable, "-m", "codespell_lib", *options, *SPELLED]
    if subprocess.run(command, cwd=ROOT).returncode:
        sys.exit(f"Mend what codespell found; a word that is right goes into {words.relative_to(ROOT)}.")


def compose(source: Path, *, run: bool, solutions: bool) -> None:
    """The book's sources: docs, and beside them the notebooks with their outputs."""
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(ROOT / "docs", source, ignore=shutil.ignore_patterns("__pycache__"))
    (source / "extra/notebooks").mkdir(parents=True)
    write_plotly(source / "extra")
    reference(source)
    made = source / "notebooks"
    made.mkdir()
    if solutions:
        tool = [sys.executable, "-m", "tools.docs.notebooks", "--solutions", made]
        subprocess.run(tool, check=True, stdout=subprocess.DEVNULL)
    else:
        for path in (ROOT / "notebooks").glob("*.ipynb"):
            shutil.copy(path, made)
    if run:
        for path in tqdm(sorted(made.glob("*.ipynb")), desc="notebooks"):
            execute(path, source / "extra/notebooks" / f"{path.stem}-widgets")


def reference(source: Path) -> None:
    """A page for each module, and a list of them; commands tell their own."""
    (source / "api").mkdir()
    lines = ["# API reference", "", "From the docstrings, module by module.", ""]
    names = []
    for package in (moespac_nb, moespac_widgets):
        lines += [f"## {package.__name__}", "", (package.__doc__ or "").strip(), ""]
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = import_module(found.name)
            if ".cli" in found.name:
                continue
            members = "\n   :no-members:" if found.ispkg else ""  # its modules have pages of their own
            rule = f"```{{eval-rst}}\n.. automodule:: {found.name}{members}\n```"
            page = f"# {found.name}\n\n{rule}\n"
            (source / "api" / f"{found.name}.md").write_text(page, encoding="utf-8")
            lines.append(f"- [{found.name}](api/{found.name}.md): {(module.__doc__ or '').splitlines()[0]}")
            names.append(f"api/{found.name}")
        lines.append("")
    lines += ["```{toctree}", ":hidden:", "", *names, "```"]
    (source / "api.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def build(source: Path, out: Path) -> None:
    """Sphinx, into a folder beside `out` first: a failed build leaves the last one."""
    partial = out.with_name(out.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    settings = ["-D", "html_extra_path=extra", "-q", "-W", "--keep-going"]
    command = [sys.executable, "-m", "sphinx", "-b", "html", *settings, source, partial]
    if subprocess.run(command).returncode:
        sys.exit("Sphinx's warnings are above; the book was not changed.")
    shutil.rmtree(partial / ".doctrees", ignore_errors=True)
    shutil.rmtree(out, ignore_errors=True)
    partial.rename(out)


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.names: set[str] = set()

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given[key] or "" for key in ("href", "src") if key in given]
        self.names |= {given[key] or "" for key in ("id", "name") if key in given}


def dead_links(site: Path) -> Iterator[str]:
    """Of every page the links to files that are not there, or to no place in them."""
    site, pages = site.resolve(), {}
    for path in site.rglob("*.html"):
        pages[path] = _Links()
        pages[path].feed(path.read_text(encoding="utf-8"))
    for path, page in pages.items():
        for link in page.links:
            to = urlsplit(link)
            if to.scheme:
                continue
            target = (path.parent / unquote(to.path)).resolve() if to.path else path
            named = pages[target].names if target in pages and to.fragment else {unquote(to.fragment)}
            if not target.is_file() or unquote(to.fragment) not in named:
                yield f"{path.relative_to(site)}: {link}"


if __name__ == "__main__":
    main()
