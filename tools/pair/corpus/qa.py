"""qa: a question with a passage to read it from, or without one; documentation and glosses beside generated facts."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import FIRST_NAMES, PLACES, SURNAMES, Texts, article

JOBS = "engineer painter doctor teacher baker carpenter pilot lawyer nurse gardener writer tailor chemist sailor".split()
Facts = tuple[str, list[tuple[str, str]]]  # passage, (question, answer) pairs


def natural(texts: Texts) -> Iterator[Document]:
    """Python's documentation read by question, and its list of frequent questions as it stands."""
    for name, paragraphs in texts.pages.items():
        topic = name.split("/")[-1]
        for start in range(0, len(paragraphs) - 2, 3):
            passage = paragraphs[start : start + 3]
            first = passage[0].split(". ")[0].rstrip(".") + "."
            yield Document(
                f"Passage: {passage[0]}\nQuestion: What else does the documentation say about {topic}?\nAnswer:",
                " " + " ".join(passage[1:]) + f" In short: {first}\n",
                f"python docs {name}",
                templated=False,
            )


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        passage, pairs = rng.choice(FACTS)(texts, rng)
        rng.shuffle(pairs)
        first, rest = pairs[0], pairs[1:]
        yield Document(
            f"{passage}Question: {first[0]}\nAnswer:",
            f" {first[1]}\n" + "".join(f"Question: {q}\nAnswer: {a}\n" for q, a in rest),
            "generator, WordNet",
            templated=True,
        )


def _life(texts: Texts, rng: random.Random) -> Facts:
    name, job, (born, lived) = rng.choice(FIRST_NAMES), rng.choice(JOBS), rng.sample(PLACES, 2)
    surname, year, age = rng.choice(SURNAMES), rng.randint(1800, 1960), rng.randint(19, 35)
    who = f"{name} {surname}"
    return (
        f"Passage: {who} was born in {born} in {year}. At the age of {age} {name} moved to {lived} and worked there as "
        f"{article(job)}. {who} died in {year + rng.randint(50, 90)}.\n",
        [
            (f"Where was {who} born?", f"{who} was born in {born}."),
            (f"When was {who} born?", f"{who} was born in {year}."),
            (f"What was the work of {who}?", f"{who} worked as {article(job)} in {lived}."),
            (
                f"In which year did {name} move to {lived}?",
                f"{name} was {age} then, so it was in {year} + {age} = {year + age}.",
            ),
        ],
    )


def _town(texts: Texts, rng: random.Random) -> Facts:
    (town, other), people, river = rng.sample(PLACES, 2), rng.randint(2, 400) * 1000, rng.choice(SURNAMES)
    km, year = rng.randint(5, 90), rng.randint(1100, 1900)
    return (
        f"Passage: {town} is a town of {people} people on the river {river}. It was founded in {year} and lies {km} km "
        f"from {other}. The people of {town} live mostly from {rng.choice(('fishing', 'farming', 'glass', 'paper', 'trade'))}.\n",
        [
            (f"How many people live in {town}?", f"About {people} people live in {town}."),
            (f"On which river is {town}?", f"{town} is on the river {river}."),
            (f"How far is it from {town} to {other}?", f"It is {km} km from {town} to {other}."),
            (f"When was {town} founded?", f"{town} was founded in {year}."),
        ],
    )


def _order(texts: Texts, rng: random.Random) -> Facts:
    first, second, third = rng.sample(FIRST_NAMES, 3)
    what = rng.choice(("older", "taller", "faster", "richer"))
    most, least = {"older": ("oldest", "youngest"), "taller": ("tallest", "shortest"), "faster": ("fastest", "slowest"),
                   "richer": ("richest", "poorest")}[what]  # fmt: skip
    return (
        f"Passage: {first} is {what} than {second}. {second} is {what} than {third}.\n",
        [
            (
                f"Who is the {most}?",
                f"{first} is {what} than {second}, and {second} than {third}, so the {most} is {first}.",
            ),
            (f"Who is the {least}?", f"{third} comes after {second} and {first}, so the {least} is {third}."),
        ],
    )


def _meaning(texts: Texts, rng: random.Random) -> Facts:
    word = texts.common(rng)
    pairs = [(f"What is meant by {word.word}?", f"The {word.part} {word.word} means {word.gloss}.")]
    if len(word.words) > 1:
        pairs.append((f"What is another word for {word.word}?", f"Another word for it is {word.words[1]}."))
    return "", pairs


def _what_is(texts: Texts, rng: random.Random) -> Facts:
    broad, below = rng.choice(texts.kinds)
    word = rng.choice(below)
    return (
        "",
        [
            (f"What is {article(word.word)}?", f"{article(word.word).capitalize()} is {word.gloss}."),
            (
                f"Which broader thing is {article(word.word)}?",
                f"{article(word.word).capitalize()} is a kind of {broad.word}.",
            ),
        ],
    )


FACTS: tuple[Callable[[Texts, random.Random], Facts], ...] = (_life, _town, _order, _meaning, _what_is)
