"""news: an article and its highlights, in the manner of CNN/DailyMail; real prose told on beside generated reports."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import FIRST_NAMES, PLACES, SURNAMES, Texts

MONTHS = "January February March April May June July August September October November December".split()
Report = tuple[list[str], list[str]]  # sentences, highlights


def natural(texts: Texts) -> Iterator[Document]:
    """Narrative prose: the novels (their speech is chat's), scripture, what is new in Python."""
    for name, paragraphs in texts.novels.items():
        told = [p for p in paragraphs if not p.startswith('"')]
        yield from _passages(told, f"austen {name}")
    for name, verses in texts.chapters.items():
        yield from _passages(verses, f"kjv {name}")
    for name, paragraphs in texts.pages.items():
        if name.startswith("whatsnew"):
            yield from _passages(paragraphs, f"python docs {name}")


def _passages(paragraphs: list[str], source: str) -> Iterator[Document]:
    """Passages of about 1,500 characters; the first third is the prompt."""
    passage: list[str] = []
    for paragraph in [*paragraphs, None]:
        if paragraph is not None:
            passage.append(paragraph)
        if passage and (paragraph is None or sum(map(len, passage)) > 1500):
            text = "\n".join(passage)
            cut = text.find(" ", len(text) // 3)
            if cut > 60:
                yield Document("Article:\n" + text[:cut], text[cut:] + "\n", source, templated=False)
            passage = []


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        sentences, highlights = rng.choice(REPORTS)(texts, rng)
        place, day = rng.choice(PLACES), f"{rng.randint(1, 28)} {rng.choice(MONTHS)}"
        article = f"Article:\n{place.upper()}, {day}. " + " ".join(sentences) + "\n"
        points = "Highlights:\n" + "".join(f"- {h}\n" for h in highlights)
        # Half of them are written from their highlights, so that there is something long to decode.
        given, asked = (article, points) if rng.random() < 0.5 else (points, article)
        cut = asked.index("\n") + 1
        yield Document(given + asked[:cut], asked[cut:], "generator, WordNet", templated=True)


def _person(rng: random.Random) -> tuple[str, str]:
    surname = rng.choice(SURNAMES)
    return f"{rng.choice(FIRST_NAMES)} {surname}", surname


def _council(texts: Texts, rng: random.Random) -> Report:
    (who, short), what = (
        _person(rng),
        rng.choice(("library", "bridge", "school", "market hall", "swimming pool", "tram line")),
    )
    cost, yes, no, year = rng.randint(2, 60), rng.randint(11, 30), rng.randint(1, 10), rng.randint(2027, 2035)
    return (
        [
            f"The town council has decided to build a new {what} at a cost of {cost} million.",
            f"{yes} members voted for the plan and {no} against it after a debate of {rng.randint(2, 7)} hours.",
            f'"The {what} is what people here have asked for," said {who}, who leads the council.',
            f"Work is to begin in spring, and {short} expects the {what} to open in {year}.",
        ],
        [
            f"Council votes {yes} to {no} for a new {what}.",
            f"The {what} costs {cost} million and is to open in {year}.",
        ],
    )


def _weather(texts: Texts, rng: random.Random) -> Report:
    (who, short), what = _person(rng), rng.choice(("storm", "heavy rain", "snow", "strong wind", "a flood"))
    homes, wind, days = rng.randint(2, 90) * 100, rng.randint(8, 16) * 10, rng.randint(2, 6)
    return (
        [
            f"After {what} in the night {homes} homes were without power on {rng.choice(('Monday', 'Tuesday', 'Friday'))}.",
            f"The wind reached {wind} km an hour, and {rng.randint(2, 9)} roads were closed.",
            f'"We have not seen this in years," said {who} of the weather service.',
            f"{short} expects that the weather will calm down in {days} days.",
        ],
        [
            f"{homes} homes without power after {what}.",
            f"Wind of {wind} km an hour; calmer weather in {days} days.",
        ],
    )


def _sport(texts: Texts, rng: random.Random) -> Report:
    (who, short), (a, b) = _person(rng), rng.sample(PLACES, 2)
    x, y, people = rng.randint(2, 5), rng.randint(0, 1), rng.randint(3, 60) * 1000
    return (
        [
            f"{a} beat {b} {x} to {y} in front of {people} people.",
            f"{who} scored the first goal in minute {rng.randint(3, 40)} and the last in minute {rng.randint(60, 89)}.",
            f'"We were the better team today," said {short}.',
            f"{a} is now in place {rng.randint(1, 5)}, while {b} has lost {rng.randint(2, 5)} games in a row.",
        ],
        [f"{a} wins {x} to {y} against {b}.", f"{who} scores twice in front of {people} people."],
    )


def _business(texts: Texts, rng: random.Random) -> Report:
    (who, short), firm = _person(rng), f"{rng.choice(SURNAMES)} and {rng.choice(SURNAMES)}"
    product, jobs, percent = texts.common(rng, "noun"), rng.randint(2, 40) * 10, rng.randint(2, 30)
    return (
        [
            f"The company {firm}, known for its {product.word}, will create {jobs} jobs.",
            f"Sales rose by {percent} percent in the last year, the company said.",
            f'"There is more demand for {product.word} than we can meet," said {who}, the head of the company.',
            f"{short} spoke of a new plant that could open within {rng.randint(2, 5)} years.",
        ],
        [f"{firm} creates {jobs} jobs.", f"Sales of the company rose by {percent} percent."],
    )


def _science(texts: Texts, rng: random.Random) -> Report:
    (who, short), word = _person(rng), texts.common(rng, "noun")
    years, cases = rng.randint(2, 12), rng.randint(2, 90) * 10
    return (
        [
            f"Researchers have published a study of {word.word}, which is described as {word.gloss}.",
            f"For {years} years a team led by {who} looked at {cases} cases.",
            f'"What we know about {word.word} will have to be written anew," said {short}.',
            f"The next study is to last {rng.randint(2, 6)} years.",
        ],
        [f"A study of {word.word} looked at {cases} cases in {years} years.", f"The team was led by {who}."],
    )


REPORTS: tuple[Callable[[Texts, random.Random], Report], ...] = (
    _council,
    _weather,
    _sport,
    _business,
    _science,
)
