"""chat: conversations of two to five turns; spoken exchanges of the novels beside generated ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import FIRST_NAMES, PLACES, Texts, article, listing

DISHES = {
    "pancakes": ("flour", "milk", "eggs", "butter"), "tomato soup": ("tomatoes", "onions", "stock", "cream"),
    "fried rice": ("rice", "eggs", "peas", "soy sauce"), "apple pie": ("apples", "flour", "sugar", "butter"),
    "lentil stew": ("lentils", "carrots", "onions", "stock"), "potato salad": ("potatoes", "mayonnaise", "pickles", "dill"),
    "omelette": ("eggs", "cheese", "butter", "chives"), "bread": ("flour", "water", "yeast", "salt"),
    "pasta with pesto": ("pasta", "basil", "pine nuts", "cheese"), "vegetable curry": ("rice", "chickpeas", "spinach", "coconut milk"),
}  # fmt: skip
HOBBIES = "chess running painting swimming gardening photography hiking cycling reading knitting singing cooking".split()
SIGHTS = (
    "the old harbour", "the castle", "the market hall", "the botanical garden", "the city museum", "the river walk",
    "the cathedral", "the lighthouse", "the science centre", "the flea market",
)  # fmt: skip
DAYS = "Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split()
Turns = list[tuple[str, str]]  # (what the user says, what the assistant answers)


def natural(texts: Texts) -> Iterator[Document]:
    """Runs of paragraphs of the novels that are speech, told as an exchange."""
    for name, paragraphs in texts.novels.items():
        run: list[str] = []
        for paragraph in [*paragraphs, ""]:
            if paragraph.startswith('"') and len(paragraph) < 700:
                run.append(paragraph)
                continue
            if len(run) >= 2:
                yield Document(
                    f"Scene: two people talk.\n{run[0]}\n",
                    "\n".join(run[1:]) + "\n",
                    f"austen {name}",
                    templated=False,
                )
            run = []


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        turns: Turns = []
        for topic in rng.sample(TOPICS, rng.randint(1, 2)):
            turns += topic(texts, rng)
        turns += [rng.choice(GOODBYES)] if rng.random() < 0.5 else []
        cut = rng.randrange(min(2, len(turns)))
        said = [f"User: {user}\nAssistant: {answer}\n" for user, answer in turns]
        user, answer = turns[cut]
        yield Document(
            "".join(said[:cut]) + f"User: {user}\nAssistant:",
            f" {answer}\n" + "".join(said[cut + 1 :]),
            "generator, WordNet",
            templated=True,
        )


GOODBYES = (
    ("Thank you, that helps.", "You are welcome. Come back whenever you have another question."),
    ("Great, thanks a lot!", "Gladly. Have a good day."),
    ("Thanks. That is all for now.", "You are welcome. Good luck, and take care."),
)


def _trip(texts: Texts, rng: random.Random) -> Turns:
    place, days, sights = rng.choice(PLACES), rng.randint(2, 3), rng.sample(SIGHTS, 4)
    weather = rng.choice(("sunny", "rainy", "windy", "cold", "mild"))
    return [
        (
            f"I am going to {place} for {days} days. What should I see?",
            f"For {days} days in {place} I would start with {sights[0]} on the first day and visit {sights[1]} on the second. "
            f"If there is time left, {sights[2]} is worth a stop.",
        ),
        (
            f"It will be {weather}. Does that change the plan?",
            {
                "rainy": f"Take an umbrella and do what is indoors first. {sights[3].capitalize()} can wait for a dry hour.",
                "cold": f"Dress warmly and keep the walks short. {sights[1].capitalize()} is pleasant even in the cold.",
            }.get(
                weather,
                f"Not much. When it is {weather}, {sights[0]} is best in the morning, and {sights[3]} in the evening.",
            ),
        ),
    ]


def _cooking(texts: Texts, rng: random.Random) -> Turns:
    dish, needed = rng.choice(list(DISHES.items()))
    people, missing = rng.randint(2, 8), rng.choice(needed)
    return [
        (
            f"How do I make {dish} for {people} people?",
            f"For {people} people you need {listing(needed)}. Prepare the {needed[0]} first, then add the {needed[1]}. "
            f"Stir in the {needed[2]} and finish with the {needed[3]}. Let it rest for {rng.randint(2, 9)} minutes before you serve it.",
        ),
        (
            f"I have no {missing}. Can I still make it?",
            f"Yes. Without {missing} the {dish} will taste a little different, but it works. Use a bit more {needed[0]} instead.",
        ),
    ]


def _word(texts: Texts, rng: random.Random) -> Turns:
    word = texts.common(rng)
    turns = [
        (
            f"What does the word {word.word} mean?",
            f"As {article(word.part)}, {word.word} means: {word.gloss}.",
        )
    ]
    if word.examples:
        turns.append(("Can you give me an example?", f'Of course. For example: "{word.examples[0]}".'))
    if len(word.words) > 1:
        turns.append(("Is there another word for it?", f"Yes, you can also say {listing(word.words[1:])}."))
    return turns


def _meeting(texts: Texts, rng: random.Random) -> Turns:
    (a, b), day, hour = rng.sample(FIRST_NAMES, 2), rng.choice(DAYS), rng.randint(8, 16)
    return [
        (
            f"Please plan a meeting with {a} and {b} on {day} at {hour}.",
            f"I have noted a meeting with {a} and {b} on {day} at {hour}:00. It is planned for one hour, until {hour + 1}:00.",
        ),
        (
            f"{b} is late. Make it one hour later.",
            f"Done. The meeting with {a} and {b} on {day} now starts at {hour + 1}:00 and ends at {hour + 2}:00.",
        ),
    ]


def _hobby(texts: Texts, rng: random.Random) -> Turns:
    name, (like, other) = rng.choice(FIRST_NAMES), rng.sample(HOBBIES, 2)
    return [
        (
            f"Hi, I am {name}. I like {like}, but I have little time.",
            f"Hello {name}! Even {rng.choice((10, 15, 20, 30))} minutes of {like} a day make a difference. "
            "Choose a fixed hour and keep it for two weeks.",
        ),
        (
            f"And what about {other}?",
            f"You can do {other} at the weekend, {name}. Then {like} and {other} do not get in each other's way.",
        ),
    ]


def _kinds(texts: Texts, rng: random.Random) -> Turns:
    broad, below = rng.choice(texts.kinds)
    chosen = rng.sample(below, 3)
    return [
        (
            f"Can you name three kinds of {broad.word}?",
            f"Sure: {listing([s.word for s in chosen])}. {article(chosen[0].word).capitalize()} is {chosen[0].gloss}.",
        ),
        (
            f"And what is {article(chosen[1].word)}?",
            f"{article(chosen[1].word).capitalize()} is {chosen[1].gloss}.",
        ),
    ]


TOPICS: tuple[Callable[[Texts, random.Random], Turns], ...] = (
    _trip,
    _cooking,
    _word,
    _meeting,
    _hobby,
    _kinds,
)
