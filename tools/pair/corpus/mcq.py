"""mcq: expert multiple choice with a short reasoning, in the manner of MMLU-Pro."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import Texts, article, listing

Question = tuple[str, list[str], str, str]  # question, choices (right one first), subject, reasoning


def natural(texts: Texts) -> Iterator[Document]:
    return iter(())


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        made = rng.choice(QUESTIONS)(texts, rng)
        if made is None:
            continue
        question, choices, subject, reasoning = made
        order = list(range(len(choices)))
        rng.shuffle(order)
        letter = "ABCDEF"[order.index(0)]
        lines = "".join(f"{'ABCDEF'[i]}. {choices[j]}\n" for i, j in enumerate(order))
        yield Document(
            f"Subject: {subject}\nQuestion: {question}\n{lines}Answer:",
            f" Let us think. {reasoning} The answer is {letter}. {choices[0]}\n",
            "WordNet" if subject != "arithmetic" else "generator",
            templated=True,
        )


def _word_for_meaning(texts: Texts, rng: random.Random) -> Question:
    right = texts.common(rng)
    wrong = _others(texts, rng, right.part, {right.word})
    return (
        f'Which {right.part} means "{right.gloss}"?',
        [right.word, *(w.word for w in wrong)],
        "vocabulary",
        f'The {right.part} {wrong[0].word} means "{wrong[0].gloss}". '
        f'The {right.part} {right.word} means "{right.gloss}".',
    )


def _meaning_of_word(texts: Texts, rng: random.Random) -> Question:
    right = texts.common(rng)
    wrong = _others(texts, rng, right.part, {right.word})
    return (
        f"What is the meaning of the {right.part} {right.word}?",
        [right.gloss, *(w.gloss for w in wrong)],
        "vocabulary",
        f"Here {right.word} is used as {article(right.part)}. It means {right.gloss}.",
    )


def _kind_of(texts: Texts, rng: random.Random) -> Question | None:
    broad, below = rng.choice(texts.kinds)
    right = rng.choice(below)
    wrong = _others(texts, rng, "noun", {s.word for s in below} | {broad.word})
    return (
        f"Which of these is a kind of {broad.word}?",
        [right.word, *(w.word for w in wrong)],
        "classification",
        f"{article(broad.word).capitalize()} is {broad.gloss}. {article(right.word).capitalize()} is {right.gloss}, "
        f"so it is a kind of {broad.word}.",
    )


def _odd_one_out(texts: Texts, rng: random.Random) -> Question | None:
    broad, below = rng.choice(texts.kinds)
    same = rng.sample(below, 3)
    odd = _others(texts, rng, "noun", {s.word for s in below} | {broad.word})[0]
    return (
        "Which of these does not belong with the others?",
        [odd.word, *(s.word for s in same)],
        "classification",
        f"{listing([s.word for s in same]).capitalize()} are all kinds of {broad.word}. "
        f"{odd.word.capitalize()} is not: it is {odd.gloss}.",
    )


def _synonym(texts: Texts, rng: random.Random) -> Question | None:
    right = texts.common(rng)
    if len(right.words) < 2:
        return None
    wrong = _others(texts, rng, right.part, set(right.words))
    return (
        f"Which word is closest in meaning to {right.words[0]}?",
        [right.words[1], *(w.word for w in wrong)],
        "vocabulary",
        f"Both {right.words[0]} and {right.words[1]} can mean {right.gloss}.",
    )


def _usage(texts: Texts, rng: random.Random) -> Question | None:
    right = texts.common(rng)
    example = next((e for e in right.examples if right.word in e), None)
    if example is None:
        return None
    wrong = _others(texts, rng, right.part, {right.word})
    return (
        f'Which word fits the gap? "{example.replace(right.word, "____", 1)}"',
        [right.word, *(w.word for w in wrong)],
        "usage",
        f'The gap takes {article(right.part)}. It should mean {right.gloss}: "{example}".',
    )


def _arithmetic(texts: Texts, rng: random.Random) -> Question:
    a, b, c = rng.randint(3, 60), rng.randint(3, 60), rng.randint(2, 9)
    value = (a + b) * c
    wrong = rng.sample(
        [v for v in (value + c, value - c, a + b * c, value + 10, value - 10, a * c + b) if v != value], 3
    )
    return (
        f"What is ({a} + {b}) * {c}?",
        [str(value), *map(str, wrong)],
        "arithmetic",
        f"First {a} + {b} = {a + b}. Then {a + b} * {c} = {value}.",
    )


def _others(texts: Texts, rng: random.Random, part: str, taken: set[str]) -> list:
    found: list = []
    while len(found) < 3:
        word = texts.common(rng, part)
        if not taken & set(word.words):
            taken = taken | set(word.words)
            found.append(word)
    return found


QUESTIONS: tuple[Callable[[Texts, random.Random], Question | None], ...] = (
    _word_for_meaning, _meaning_of_word, _kind_of, _odd_one_out, _synonym, _usage, _arithmetic,
)  # fmt: skip
