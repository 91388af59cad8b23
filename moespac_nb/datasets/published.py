"""Speeds that others have published, with their sources: shown beside modelled ones, never among them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from .files import data_root

__all__ = ["PublishedSpeed", "mean_by_system", "published_speeds"]


@dataclass(frozen=True)
class PublishedSpeed:
    """One published figure, which nobody has measured here.

    Parameters
    ----------
    system : str
        What decoded, by its own name.
    model : str
        A bundled model spec's name where there is one.
    benchmark : str or None
        The prompts; None where they are not told apart.
    tokens_per_s : float
        Tokens a second of one text at a time.
    budget : str
        The experts' share or size on the device.
    precision : str
        Of the weights.
    hardware : str
        As far as it is published.
    machine : str or None
        The bundled machine that is like it.
    source : str
        Where it was published.
    note : str
        What else belongs to it.
    """

    system: str
    model: str
    benchmark: str | None
    tokens_per_s: float
    budget: str
    precision: str
    hardware: str
    machine: str | None
    source: str
    note: str


def published_speeds(model: str | None = None, budget: str | None = None) -> tuple[PublishedSpeed, ...]:
    """Return published speeds.

    Parameters
    ----------
    model : str, optional
        Only those of this model, by the name of its spec.
    budget : str, optional
        Only those of this budget, as it is written there: "17%".

    Returns
    -------
    tuple of PublishedSpeed
        In the order of the sources; empty where nothing is published.

    Examples
    --------
    >>> speeds = published_speeds("qwen3-30b-a3b", "17%")
    >>> [(s.system, s.tokens_per_s) for s in speeds if s.benchmark == "MT-Bench"][-1]
    ('MoE-SpAc', 24.1)
    """
    return tuple(
        speed for speed in _read() if model in (None, speed.model) and budget in (None, speed.budget)
    )


def mean_by_system(speeds: Iterable[PublishedSpeed]) -> dict[str, float]:
    """Return the mean of each system's figures, over its benchmarks.

    Parameters
    ----------
    speeds : iterable of PublishedSpeed
        Those of one table, for a mean that means something.

    Returns
    -------
    dict of str to float
        Tokens a second.

    Examples
    --------
    >>> means = mean_by_system(published_speeds("qwen3-30b-a3b", "17%")[:70])
    >>> round(means["MoE-SpAc"] / means["llama.cpp + SD"] - 1, 2)
    0.42
    """
    speeds = list(speeds)
    names = dict.fromkeys(speed.system for speed in speeds)
    return {
        name: float(np.mean([speed.tokens_per_s for speed in speeds if speed.system == name]))
        for name in names
    }


@cache
def _read() -> tuple[PublishedSpeed, ...]:
    found = []
    for path in sorted((data_root() / "published").glob("*.toml"), reverse=True):
        document = tomllib.loads(path.read_text("utf-8"))
        for table in document["tables"]:
            for system, values in table["speeds"].items():
                for column, value in zip(table["benchmarks"], values, strict=True):
                    found.append(_speed(document, table, system, column, value))
    return tuple(found)


def _speed(
    document: dict[str, Any], table: dict[str, Any], system: str, column: str, value: float
) -> PublishedSpeed:
    by_budget = table.get("by_budget", False)
    return PublishedSpeed(
        system=system,
        model=table["model"],
        benchmark=None if by_budget else column,
        tokens_per_s=float(value),
        budget=column if by_budget else table["budget"],
        precision=table["precision"],
        hardware=document["hardware"],
        machine=document.get("machine"),
        source=f"{document['source']}, {table['title']}",
        note=table["note"],
    )
