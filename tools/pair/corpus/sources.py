"""Permitted text, taken from Debian packages: downloaded, checksummed and unpacked without root.

`fetch(directory)` needs `apt-get` and `dpkg-deb`; everything after it is plain Python. Each
source carries its licence, and `data/README.md` repeats the list with checksums.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import shutil
import subprocess
import warnings
import zlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    name: str
    package: str
    licence: str
    what: str


SOURCES = (
    Source("austen", "r-cran-janeaustenr", "public domain", "six novels of Jane Austen"),
    Source("kjv", "bible-kjv-text", "public domain", "King James Bible"),
    Source("kjv-reader", "bible-kjv", "public domain", "program that unpacks the King James Bible"),
    Source("python-docs", "python3.11-doc", "PSF-2.0", "documentation of Python 3.11"),
    Source("stdlib", "libpython3.11-stdlib", "PSF-2.0", "standard library of Python 3.11"),
    Source("stdlib-minimal", "libpython3.11-minimal", "PSF-2.0", "core of the standard library"),
    Source("jargon", "dict-jargon", "public domain", "The Jargon File"),
    Source("wordnet", "wordnet-base", "WordNet 3.0 (permissive)", "WordNet"),
)


def fetch(directory: Path) -> dict[str, dict[str, str]]:
    """Download and unpack every source below `directory`; returns version and sha256 by name."""
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        raise SystemExit("The texts come from Debian packages: run this where apt-get and dpkg-deb exist.")
    directory.mkdir(parents=True, exist_ok=True)
    found = {}
    for source in SOURCES:
        archives = sorted(directory.glob(f"{source.package}_*.deb"))
        if not archives:
            subprocess.run(["apt-get", "download", "-q", source.package], cwd=directory, check=True)
            archives = sorted(directory.glob(f"{source.package}_*.deb"))
        archive = archives[-1]
        target = directory / source.name
        if not target.exists():
            partial = directory / f".{source.name}.part"
            shutil.rmtree(partial, ignore_errors=True)
            subprocess.run(["dpkg-deb", "-x", archive, partial], check=True)
            partial.rename(target)
        found[source.name] = {
            "package": source.package,
            "version": archive.name.split("_")[1].replace("%3a", ":"),
            "licence": source.licence,
            "what": source.what,
            "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        }
    return found


def novels(directory: Path) -> dict[str, list[str]]:
    """Austen's novels as lists of paragraphs."""
    import rdata  # reads R's own file format; a dependency of the corpus tools alone

    base = directory / "austen/usr/lib/R/site-library/janeaustenr/data"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        index = rdata.conversion.convert(
            rdata.parser.parse_data(gzip.decompress((base / "Rdata.rdx").read_bytes()))
        )
        blob = (base / "Rdata.rdb").read_bytes()
        books = {}
        for name, (offset, length) in index["variables"].items():
            # Each entry: four bytes of unpacked length, then a zlib stream.
            entry = zlib.decompress(blob[int(offset) + 4 : int(offset) + int(length)])
            lines = rdata.conversion.convert(rdata.parser.parse_data(entry))
            paragraphs = re.split(r"\n\s*\n", "\n".join(str(line) for line in lines))
            books[str(name)] = [re.sub(r"\s+", " ", p).strip() for p in paragraphs if p.strip()]
    return books


def scripture(directory: Path) -> dict[str, list[str]]:
    """King James Bible as chapters ("Ge 1") of verses."""
    lines = subprocess.run(
        [directory / "kjv-reader/usr/bin/bible", "-f", "-p", directory / "kjv/usr/lib", "ge1:1-re22:21"],
        capture_output=True,
        text=True,
        check=True,
        errors="replace",
    ).stdout.splitlines()
    chapters: dict[str, list[str]] = {}
    for line in lines:
        match = re.match(r"(\d?\s*[A-Za-z]+)\s*(\d+):(\d+) (.*)", line)
        if match:
            chapters.setdefault(f"{match[1]} {match[2]}", []).append(match[4].strip())
    return chapters


def python_files(directory: Path) -> dict[str, str]:
    """Standard library modules by path, tests and generated tables left out."""
    files = {}
    for name in ("stdlib", "stdlib-minimal"):
        root = directory / name / "usr/lib/python3.11"
        for path in sorted(root.rglob("*.py")):
            relative = str(path.relative_to(root))
            if re.search(r"test|encodings/|pydoc_data|idlelib|lib2to3/|_sysconfigdata", relative):
                continue
            files[relative] = path.read_text(encoding="utf-8", errors="replace")
    return files


def documentation(directory: Path) -> dict[str, list[str]]:
    """Python's documentation: pages by name, each a list of plain paragraphs in reading order."""
    root = directory / "python-docs/usr/share/doc/python3.11/html/_sources"
    pages = {}
    for path in sorted(root.rglob("*.rst.txt")):
        name = str(path.relative_to(root)).removesuffix(".rst.txt")
        if not name.startswith(("c-api", "license", "copyright", "whatsnew/changelog")):
            pages[name] = _plain_paragraphs(path.read_text(encoding="utf-8"))
    return pages


def _plain_paragraphs(rst: str) -> list[str]:
    rst = re.sub(r":[\w:+-]+:`[~!]?([^`<]+?)(?:\s*<[^>]*>)?`", r"\1", rst)  # roles keep their text
    rst = re.sub(r"`([^`<]+?)\s*<[^>]*>`__?", r"\1", rst)
    rst = re.sub(r"(\*\*|``)(.+?)\1", r"\2", rst)
    rst = re.sub(r"(?m)^\.\. .*$|^\s+:\w+:.*$", "", rst)
    paragraphs = []
    for block in re.split(r"\n\s*\n", rst):
        flat = re.sub(r"\s+", " ", block).strip()
        if (
            len(flat) > 60
            and flat[0].isalpha()
            and flat.endswith((".", "?", "!"))
            and "::" not in flat
            and "|" not in flat
        ):
            paragraphs.append(flat)
    return paragraphs


def jargon(directory: Path) -> dict[str, str]:
    """The Jargon File: definition by headword."""
    root = directory / "jargon/usr/share/dictd"
    text = gzip.decompress((root / "jargon.dict.dz").read_bytes()).decode("utf-8", errors="replace")
    entries: dict[str, str] = {}
    for block in re.split(r"\n(?=\S)", text):
        head, _, body = block.partition("\n")
        body = re.sub(r"[{}]", "", re.sub(r"\s+", " ", body)).strip()
        body = re.sub(r"^(?:/[^/]*/,?\s*)?(?:(?:n|v|adj|adv|vt|vi|excl|interj)\.[ ,]*)*", "", body).strip()
        if len(body) > 60 and len(head) < 40:
            entries.setdefault(head.strip(), body[:900].rsplit(". ", 1)[0].rstrip(".") + ".")
    return entries
