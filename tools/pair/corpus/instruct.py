"""instruct: an instruction, sometimes an input, a response, in the manner of Alpaca."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.math import THINGS
from tools.pair.corpus.texts import FIRST_NAMES, PLACES, Texts, article, listing

Task = tuple[str, str, str]  # instruction, input, response


def _form(task: Task, source: str, templated: bool) -> Document:
    instruction, given, response = task
    middle = f"\n### Input:\n{given}" if given else ""
    return Document(
        f"### Instruction:\n{instruction}{middle}\n### Response:\n", response + "\n", source, templated
    )


def natural(texts: Texts) -> Iterator[Document]:
    """Passages of Python's documentation to go on with, the Jargon File's entries as explanations."""
    for name, paragraphs in texts.pages.items():
        topic = name.split("/")[-1]
        for start in range(0, len(paragraphs) - 1, 4):
            first, *rest = paragraphs[start : start + 4]
            words = first.split(" ")  # a long first paragraph goes on in the response
            given, over = " ".join(words[:40]), " ".join(words[40:])
            response = "\n".join(filter(None, [over, *rest]))
            if response:
                yield _form(
                    (f"Go on with this passage of Python's {topic} documentation.", given, response),
                    f"python docs {name}",
                    False,
                )
    for head, body in texts.jargon.items():
        yield _form((f"Explain the hacker's term {head}.", "", body), f"jargon {head}", False)


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        task = rng.choice(TASKS)(texts, rng)
        if task is not None:
            yield _form(task, "generator, WordNet", True)


def _rows(rng: random.Random) -> list[dict[str, str | int]]:
    people = rng.sample(FIRST_NAMES, rng.randint(2, 4))
    return [{"name": p, "age": rng.randint(18, 80), "city": rng.choice(PLACES)} for p in people]


def _to_json(texts: Texts, rng: random.Random) -> Task:
    rows = _rows(rng)
    given = "\n".join(f"{r['name']} is {r['age']} years old and lives in {r['city']}." for r in rows)
    return (
        "Turn the sentences into JSON.",
        given,
        "[\n" + ",\n".join("  " + json.dumps(r) for r in rows) + "\n]",
    )


def _to_table(texts: Texts, rng: random.Random) -> Task:
    rows = _rows(rng)
    given = "\n".join(f"{r['name']},{r['age']},{r['city']}" for r in rows)
    table = "| name | age | city |\n| --- | --- | --- |\n" + "\n".join(
        f"| {r['name']} | {r['age']} | {r['city']} |" for r in rows
    )
    return "Write the lines as a Markdown table.", given, table


def _to_sentences(texts: Texts, rng: random.Random) -> Task:
    rows = _rows(rng)
    given = "\n".join(json.dumps(r) for r in rows)
    return (
        "Write a sentence for each record.",
        given,
        "\n".join(f"{r['name']}, {r['age']}, comes from {r['city']}." for r in rows),
    )


def _to_sql(texts: Texts, rng: random.Random) -> Task:
    thing, place, price = rng.choice(THINGS), rng.choice(PLACES), rng.randint(2, 90)
    less = rng.random() < 0.5
    return (
        f"Write an SQL query: all {thing} from {place} that cost {'less' if less else 'more'} than {price}, cheapest first.",
        "",
        f"SELECT * FROM {thing}\nWHERE place = '{place}' AND price {'<' if less else '>'} {price}\nORDER BY price ASC;",
    )


def _sort(texts: Texts, rng: random.Random) -> Task:
    words = [texts.common(rng, "noun").word for _ in range(rng.randint(4, 7))]
    return "Sort the words by the alphabet.", ", ".join(words), ", ".join(sorted(words))


def _sort_numbers(texts: Texts, rng: random.Random) -> Task:
    numbers = rng.sample(range(1, 100), rng.randint(4, 8))
    return (
        "Sort the numbers from small to large.",
        " ".join(map(str, numbers)),
        " ".join(map(str, sorted(numbers))),
    )


def _upper(texts: Texts, rng: random.Random) -> Task | None:
    word = texts.common(rng)
    if not word.examples:
        return None
    sentence = word.examples[0]
    return "Write the sentence in capital letters.", sentence, sentence.upper()


def _define(texts: Texts, rng: random.Random) -> Task:
    word = texts.common(rng)
    extra = f' Example: "{word.examples[0]}".' if word.examples else ""
    return (
        f"Define the {word.part} {word.word} in one sentence.",
        "",
        f"{word.word.capitalize()}: {word.gloss}.{extra}",
    )


def _synonyms(texts: Texts, rng: random.Random) -> Task | None:
    word = texts.common(rng)
    if len(word.words) < 2:
        return None
    return (
        f"Give synonyms of {word.word} and say what they mean.",
        "",
        f"{listing(word.words[1:]).capitalize()}. All of them can mean {word.gloss}.",
    )


def _kinds(texts: Texts, rng: random.Random) -> Task:
    broad, below = rng.choice(texts.kinds)
    chosen = rng.sample(below, 3)
    return (
        f"List three kinds of {broad.word}, each with a short explanation.",
        "",
        "\n".join(f"{i}. {s.word.capitalize()}: {s.gloss}." for i, s in enumerate(chosen, 1)),
    )


def _letter(texts: Texts, rng: random.Random) -> Task:
    (a, b), place, thing, n = (
        rng.sample(FIRST_NAMES, 2),
        rng.choice(PLACES),
        rng.choice(THINGS),
        rng.randint(2, 90),
    )
    return (
        f"Write a short letter from {a} to {b} in {place} about an order of {n} {thing}.",
        "",
        f"Dear {b},\nThank you for your order of {n} {thing}. We will send the {thing} to {place} this week. "
        f"Please tell us if the {n} {thing} have arrived in good condition.\nKind regards,\n{a}",
    )


def _explain(texts: Texts, rng: random.Random) -> Task | None:
    word = texts.common(rng, "noun")
    broader = [texts.wordnet.by_key[k] for k in word.kinds_of if k in texts.wordnet.by_key]
    if not broader:
        return None
    return (
        f"Explain to a child what {article(word.word)} is.",
        "",
        f"{article(word.word).capitalize()} is a kind of {broader[0].word}. It is {word.gloss}. "
        f"{article(broader[0].word).capitalize()} is {broader[0].gloss}.",
    )


TASKS: tuple[Callable[[Texts, random.Random], Task | None], ...] = (
    _to_json, _to_table, _to_sentences, _to_sql, _sort, _sort_numbers, _upper, _define, _synonyms, _kinds, _letter, _explain,
)  # fmt: skip
