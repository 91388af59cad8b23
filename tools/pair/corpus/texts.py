"""Everything the generators draw on, read once, with the held-out part of each source kept apart."""

from __future__ import annotations

import random
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from tools.pair.corpus import sources
from tools.pair.corpus.document import held_out
from tools.pair.corpus.wordnet import Synset, WordNet

FIRST_NAMES = (
    "Ada Ben Chloe Daniel Elena Farid Grace Hugo Iris Jonas Kemal Lena Mateo Nora Omar Priya Quinn Rosa Samir "
    "Tara Uma Victor Wendy Xavier Yusuf Zoe Amara Bruno Carmen Diego Emil Fatima Goran Hana Ivan Julia Karim "
    "Leo Mina Niels Olga Pablo Ravi Sofia Tomas Ursula Vera Willem Yara Anton"
).split()
SURNAMES = (
    "Abbott Berger Costa Dimitrov Evans Fischer Garcia Haddad Ito Jensen Kaur Lopez Meyer Novak Okafor Park "
    "Quist Rossi Silva Tanaka Urban Varga Weber Young Zhang Andersen Brandt Castro Dubois Eriksen Ferrari Grant "
    "Horvat Ivanova Keller Lindgren Moreau Nakamura Olsen Petrov"
).split()
PLACES = (
    "Ashford Bellmere Corton Dunhaven Eastport Farley Glenbrook Harwick Inverlea Jasper Kingsford Larkhill "
    "Millbrook Northgate Oakridge Pinewood Queensbury Riverton Silverdale Thornbury Upton Valemont Westbrook "
    "Yarrow Aldersea Brackwater Cliffside Drummond Elmstead Foxglen"
).split()


@dataclass(frozen=True)
class Texts:
    """The sources under `directory`, split into `train` and `held-out`."""

    directory: Path
    split: str

    def mine(self, key: str) -> bool:
        return held_out(key) == (self.split == "held-out")

    @cached_property
    def novels(self) -> dict[str, list[str]]:
        """Runs of 24 paragraphs by name; whole runs are held out."""
        runs = {}
        for book, paragraphs in sources.novels(self.directory).items():
            for start in range(0, len(paragraphs), 24):
                runs[f"{book} {start}"] = paragraphs[start : start + 24]
        return {k: v for k, v in runs.items() if self.mine(k)}

    @cached_property
    def chapters(self) -> dict[str, list[str]]:
        return {k: v for k, v in sources.scripture(self.directory).items() if self.mine(k)}

    @cached_property
    def code(self) -> dict[str, str]:
        return {k: v for k, v in sources.python_files(self.directory).items() if self.mine(k)}

    @cached_property
    def pages(self) -> dict[str, list[str]]:
        return {k: v for k, v in sources.documentation(self.directory).items() if self.mine(k)}

    @cached_property
    def jargon(self) -> dict[str, str]:
        return {k: v for k, v in sources.jargon(self.directory).items() if self.mine(k)}

    @cached_property
    def wordnet(self) -> WordNet:
        return WordNet(self.directory)

    @cached_property
    def words(self) -> tuple[Synset, ...]:
        """Synsets of this split, commonest first."""
        return tuple(s for s in self.wordnet.synsets if self.mine(s.word))

    @cached_property
    def kinds(self) -> tuple[tuple[Synset, tuple[Synset, ...]], ...]:
        """(broader noun, its kinds) of this split."""
        return tuple(
            (self.wordnet.by_key[key], below) for key, below in self.wordnet.kinds.items()
            if self.mine(self.wordnet.by_key[key].word)
        )  # fmt: skip

    def common(self, rng: random.Random, part: str | None = None) -> Synset:
        """A word of this split, common ones much likelier."""
        while True:
            word = self.words[int(len(self.words) * rng.random() ** 3)]
            if part is None or word.part == part:
                return word


def article(word: str) -> str:
    """The word with "a" or "an" before it."""
    return ("an " if word[0] in "aeiou" else "a ") + word


def listing(items: list[str] | tuple[str, ...]) -> str:
    """ "a, b and c"."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
