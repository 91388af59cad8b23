"""math: word problems solved step by step, in the manner of GSM8K."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

from tools.pair.corpus.document import Document
from tools.pair.corpus.texts import FIRST_NAMES, PLACES, Texts

THINGS = (
    "apples books marbles stamps pencils shells coins cards stickers buttons candles flowers eggs lemons muffins "
    "oranges pears tickets toys bottles bricks cups ribbons stones plates kites lamps melons nuts peaches"
).split()
Problem = tuple[str, list[str], int, str]  # question, steps, answer, unit


def natural(texts: Texts) -> Iterator[Document]:
    return iter(())


def templated(texts: Texts, rng: random.Random) -> Iterator[Document]:
    while True:
        question, steps, answer, unit = rng.choice(PROBLEMS)(rng)
        yield Document(
            f"Problem: {question}\nSolution:",
            " " + " ".join(steps) + f"\nAnswer: {answer}{' ' + unit if unit else ''}\n",
            "generator",
            templated=True,
        )


def _who(rng: random.Random) -> tuple[str, str]:
    first, second = rng.sample(FIRST_NAMES, 2)
    return first, second


def _shopping(rng: random.Random) -> Problem:
    (a, _), (x, y) = _who(rng), rng.sample(THINGS, 2)
    n, m, p, q = rng.randint(2, 12), rng.randint(2, 12), rng.randint(2, 15), rng.randint(2, 15)
    paid = rng.choice([v for v in (50, 100, 200, 500) if v > n * p + m * q])
    return (
        f"{a} buys {n} {x} at {p} dollars each and {m} {y} at {q} dollars each. {a} pays with {paid} dollars. "
        "How much change is there?",
        [
            f"The {x} cost {n} * {p} = {n * p} dollars.",
            f"The {y} cost {m} * {q} = {m * q} dollars.",
            f"Together they cost {n * p} + {m * q} = {n * p + m * q} dollars.",
            f"The change is {paid} - {n * p + m * q} = {paid - n * p - m * q} dollars.",
        ],
        paid - n * p - m * q,
        "dollars",
    )


def _give_and_take(rng: random.Random) -> Problem:
    (a, b), x = _who(rng), rng.choice(THINGS)
    n, gave, factor = rng.randint(20, 90), rng.randint(3, 18), rng.randint(2, 5)
    left = n - gave
    return (
        f"{a} has {n} {x}. {a} gives {gave} of them to {b}. Then {a} finds {factor} times as many {x} as are left. "
        f"How many {x} does {a} have now?",
        [
            f"After giving {gave} {x} away, {a} has {n} - {gave} = {left} {x}.",
            f"{a} finds {factor} * {left} = {factor * left} {x}.",
            f"Now {a} has {left} + {factor * left} = {left + factor * left} {x}.",
        ],
        left + factor * left,
        x,
    )


def _journey(rng: random.Random) -> Problem:
    a, (p, q) = rng.choice(FIRST_NAMES), rng.sample(PLACES, 2)
    v, w, t, u = rng.randint(3, 12) * 5, rng.randint(3, 12) * 5, rng.randint(2, 6), rng.randint(2, 6)
    return (
        f"{a} drives from {p} to {q}. For {t} hours the speed is {v} km an hour, then for {u} hours it is {w} km an hour. "
        f"How far is it from {p} to {q}?",
        [
            f"In the first part {a} drives {t} * {v} = {t * v} km.",
            f"In the second part {a} drives {u} * {w} = {u * w} km.",
            f"Together this is {t * v} + {u * w} = {t * v + u * w} km.",
        ],
        t * v + u * w,
        "km",
    )


def _share(rng: random.Random) -> Problem:
    (a, _), x = _who(rng), rng.choice(THINGS)
    friends, each, rest = rng.randint(3, 9), rng.randint(4, 15), rng.randint(1, 2)
    n = friends * each + rest
    return (
        f"{a} shares {n} {x} equally among {friends} friends and keeps what is left over. "
        f"How many {x} does each friend get, and how many does {a} keep? Add the two numbers.",
        [
            f"Each friend gets {each} {x}, because {friends} * {each} = {friends * each}.",
            f"{a} keeps {n} - {friends * each} = {rest} {x}.",
            f"The sum is {each} + {rest} = {each + rest}.",
        ],
        each + rest,
        "",
    )


def _wages(rng: random.Random) -> Problem:
    a = rng.choice(FIRST_NAMES)
    h, d, w, extra = rng.randint(4, 9), rng.randint(3, 6), rng.randint(9, 30), rng.randint(20, 90)
    return (
        f"{a} works {h} hours a day for {d} days and earns {w} dollars an hour, plus a bonus of {extra} dollars. "
        f"How much does {a} earn?",
        [
            f"{a} works {h} * {d} = {h * d} hours.",
            f"For this {a} earns {h * d} * {w} = {h * d * w} dollars.",
            f"With the bonus it is {h * d * w} + {extra} = {h * d * w + extra} dollars.",
        ],
        h * d * w + extra,
        "dollars",
    )


def _percent(rng: random.Random) -> Problem:
    (a, _), x = _who(rng), rng.choice(THINGS)
    price, off, n = rng.randint(2, 20) * 20, rng.choice((5, 10, 15, 20, 25, 30, 40, 50)), rng.randint(2, 6)
    saved = price * off // 100
    return (
        f"A box of {x} costs {price} dollars. In the sale it is {off} percent cheaper. {a} buys {n} boxes in the sale. "
        f"How much does {a} pay?",
        [
            f"The discount is {price} * {off} / 100 = {saved} dollars.",
            f"One box costs {price} - {saved} = {price - saved} dollars.",
            f"{n} boxes cost {n} * {price - saved} = {n * (price - saved)} dollars.",
        ],
        n * (price - saved),
        "dollars",
    )


def _ages(rng: random.Random) -> Problem:
    a, b = _who(rng)
    young, times, years = rng.randint(4, 15), rng.randint(2, 4), rng.randint(2, 20)
    return (
        f"{a} is {young} years old. {b} is {times} times as old. How old will {a} and {b} be together in {years} years?",
        [
            f"Now {b} is {times} * {young} = {times * young} years old.",
            f"In {years} years {a} will be {young} + {years} = {young + years} years old.",
            f"In {years} years {b} will be {times * young} + {years} = {times * young + years} years old.",
            f"Together they will be {young + years} + {times * young + years} = {young + times * young + 2 * years}.",
        ],
        young + times * young + 2 * years,
        "years",
    )


def _garden(rng: random.Random) -> Problem:
    a, length, width, price = (
        rng.choice(FIRST_NAMES),
        rng.randint(5, 30),
        rng.randint(3, 20),
        rng.randint(2, 12),
    )
    around = 2 * (length + width)
    return (
        f"The garden of {a} is {length} m long and {width} m wide. A fence costs {price} dollars a metre. "
        "How much does a fence around the garden cost?",
        [
            f"Length and width together are {length} + {width} = {length + width} m.",
            f"Around the garden it is 2 * {length + width} = {around} m.",
            f"The fence costs {around} * {price} = {around * price} dollars.",
        ],
        around * price,
        "dollars",
    )


def _growth(rng: random.Random) -> Problem:
    (a, _), x = _who(rng), rng.choice(THINGS)
    start, add, weeks, gone = rng.randint(10, 60), rng.randint(3, 15), rng.randint(3, 9), rng.randint(2, 20)
    total = start + add * weeks
    return (
        f"{a} starts with {start} {x} and gets {add} more every week. After {weeks} weeks {gone} {x} are lost. "
        f"How many {x} are there then?",
        [
            f"In {weeks} weeks {a} gets {weeks} * {add} = {weeks * add} {x}.",
            f"That makes {start} + {weeks * add} = {total} {x}.",
            f"After the loss there are {total} - {gone} = {total - gone} {x}.",
        ],
        total - gone,
        x,
    )


def _long_sum(rng: random.Random) -> Problem:
    numbers = [rng.randint(11, 99) for _ in range(rng.randint(3, 5))]
    steps, total = [], numbers[0]
    for n in numbers[1:]:
        steps.append(f"{total} + {n} = {total + n}.")
        total += n
    return f"Add {', '.join(map(str, numbers))}.", steps, total, ""


def _sequence(rng: random.Random) -> Problem:
    start, step, n = rng.randint(1, 40), rng.randint(2, 12), rng.randint(6, 10)
    shown = [start + i * step for i in range(4)]
    last = start + (n - 1) * step
    return (
        f"A sequence starts {', '.join(map(str, shown))}. Each number is the one before plus the same step. "
        f"What is number {n}?",
        [
            f"The step is {shown[1]} - {shown[0]} = {step}.",
            f"Number {n} is {n - 1} steps after number 1, and {n - 1} * {step} = {(n - 1) * step}.",
            f"So it is {start} + {(n - 1) * step} = {last}.",
        ],
        last,
        "",
    )


PROBLEMS: tuple[Callable[[random.Random], Problem], ...] = (
    _shopping, _give_and_take, _journey, _share, _wages, _percent, _ages, _garden, _growth, _long_sum, _sequence,
)  # fmt: skip
