"""WordNet's synsets as plain records: words, gloss, examples and links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

PARTS = {"n": "noun", "v": "verb", "a": "adjective", "s": "adjective", "r": "adverb"}


@dataclass(frozen=True)
class Synset:
    key: str
    part: str
    words: tuple[str, ...]
    gloss: str
    examples: tuple[str, ...]
    kinds_of: tuple[str, ...]  # keys of hypernyms
    parts_of: tuple[str, ...]  # keys of what it is part of
    opposites: tuple[str, ...]

    @property
    def word(self) -> str:
        return self.words[0]


class WordNet:
    """Synsets with plain lower-case words and a gloss of readable length, commonest first."""

    def __init__(self, directory: Path):
        root = directory / "wordnet/usr/share/wordnet"
        uses: dict[str, int] = {}
        for line in (root / "cntlist.rev").read_text().splitlines():
            sense, _, count = line.split()
            uses[sense.split("%")[0]] = uses.get(sense.split("%")[0], 0) + int(count)
        found = []
        for part in ("noun", "verb", "adj", "adv"):
            for line in (root / f"data.{part}").read_text().splitlines():
                if not line.startswith("  ") and (synset := _parse(line)) is not None:
                    found.append(synset)
        found.sort(key=lambda s: (-uses.get(s.word.replace(" ", "_"), 0), s.key))
        self.synsets: tuple[Synset, ...] = tuple(found)
        self.by_key = {s.key: s for s in found}

    @cached_property
    def nouns(self) -> tuple[Synset, ...]:
        return tuple(s for s in self.synsets if s.part == "noun")

    @cached_property
    def kinds(self) -> dict[str, tuple[Synset, ...]]:
        """Narrower nouns by the key of the broader one, where there are at least three."""
        below: dict[str, list[Synset]] = {}
        for synset in self.nouns:
            for key in synset.kinds_of:
                below.setdefault(key, []).append(synset)
        return {k: tuple(v) for k, v in below.items() if len(v) >= 3 and k in self.by_key}


def _parse(line: str) -> Synset | None:
    fields, _, gloss = line.partition(" | ")
    columns = fields.split()
    count = int(columns[3], 16)
    words = tuple(re.sub(r"\(\w+\)", "", columns[4 + 2 * i]).replace("_", " ") for i in range(count))
    links = columns[5 + 2 * count :]
    links = [(links[i], links[i + 2] + links[i + 1]) for i in range(0, 4 * int(columns[4 + 2 * count]), 4)]
    definition, *examples = re.split(r';\s*"', gloss.strip())
    definition = re.sub(r"\s+", " ", definition).strip().rstrip(";")
    plain = all(re.fullmatch(r"[a-z][a-z -]{2,19}", w) for w in words[:1])
    if not plain or not 15 <= len(definition) <= 140 or '"' in definition or "(" in definition:
        return None
    part = columns[2]

    def linked(symbol: str) -> tuple[str, ...]:
        return tuple(key for kind, key in links if kind == symbol)

    return Synset(
        key=("a" if part == "s" else part) + columns[0],
        part=PARTS[part],
        words=tuple(w for w in words if re.fullmatch(r"[a-z][a-z -]+", w)),
        gloss=definition,
        examples=tuple(e.strip().strip('"').rstrip('"; ') for e in examples),
        kinds_of=linked("@"),
        parts_of=linked("#p"),
        opposites=linked("!"),
    )
