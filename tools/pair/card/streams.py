"""What the card's rows are: a stream is a domain's natural or templated text, named as in the corpus.

Templated text flatters, so no figure of a stream mixes the two, and every label of templated text is marked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain, zip_longest
from typing import TypeVar

from moespac_nb import DOMAINS, load_prompts
from moespac_nb.datasets.prompts import Half, Prompt

KINDS = ("natural", "templated")
ALL_TEMPLATED, PART_TEMPLATED = "†", "‡"
LEGEND = (
    f"{ALL_TEMPLATED} templated text, whose templates the training text shares: figures on it flatter. "
    f"{PART_TEMPLATED} part of it is templated."
)
T = TypeVar("T")


def stream_of(prompt: Prompt) -> str:
    return f"{prompt.domain}.{KINDS[prompt.templated]}"


def domain_of(stream: str) -> str:
    return stream.partition(".")[0]


def in_order(streams: Iterable[str]) -> list[str]:
    """Streams by domain, natural before templated."""
    return sorted(streams, key=lambda s: (DOMAINS.index(domain_of(s)), s))


def chosen(domain: str, half: Half, count: int) -> list[Prompt]:
    """The first prompts of a half, natural and templated in turn where the domain has both."""
    of_half = load_prompts(domain, half=half)
    by_kind = [[p for p in of_half if p.templated == templated] for templated in (False, True)]
    in_turn = chain.from_iterable(zip_longest(*by_kind))
    return [p for p in in_turn if p is not None][:count]


def grouped(items: Iterable[T], stream: Callable[[T], str]) -> dict[str, list[T]]:
    """Items by their stream, streams in order."""
    by_stream: dict[str, list[T]] = {}
    for item in items:
        by_stream.setdefault(stream(item), []).append(item)
    return {name: by_stream[name] for name in in_order(by_stream)}


def label(stream: str) -> str:
    domain, _, kind = stream.partition(".")
    return f"{domain}, {kind}" + (f" {ALL_TEMPLATED}" if kind == "templated" else "")


def domain_label(domain: str) -> str:
    """A domain with its mark: all of its prompts may be templated, or a part."""
    kinds = {p.templated for p in load_prompts(domain)}
    mark = {frozenset({True}): f" {ALL_TEMPLATED}", frozenset({False}): ""}
    return domain + mark.get(frozenset(kinds), f" {PART_TEMPLATED}")


def with_means(values: Mapping[str, Sequence[float]]) -> list[tuple[str, list[float]]]:
    """Labelled rows of numbers, then the mean of the natural streams and that of the templated ones."""
    rows = [(label(stream), list(values[stream])) for stream in in_order(values)]
    for kind, mark in zip(KINDS, ("", f" {ALL_TEMPLATED}"), strict=True):
        of_kind = [values[stream] for stream in values if stream.endswith(kind)]
        if of_kind:
            means = [sum(column) / len(of_kind) for column in zip(*of_kind, strict=True)]
            rows.append((f"mean of {kind}{mark}", means))
    return rows
