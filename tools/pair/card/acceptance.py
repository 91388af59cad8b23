"""How many of the drafted tokens are accepted, and how much of that is the luck of a few prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moespac_nb import DOMAINS
from moespac_nb.datasets.prompts import Prompt
from tools.pair.card.decodes import GAMMAS, MODES, Decodes
from tools.pair.card.markdown import prose, section, table
from tools.pair.card.streams import domain_label, domain_of, grouped, in_order, label, stream_of

RESAMPLES, INTERVAL = 1000, (5, 95)  # of the bootstrap, and its percentiles


def measure(traces: Decodes, asked: Sequence[Prompt]) -> dict[str, Any]:
    """By mode, γ and name: the rate over all drafted tokens, its interval, and each prompt's own rate.

    A name is a stream, or a domain with what it has of both kinds.
    """
    by_mode: dict[str, Any] = {}
    for (mode, gamma), of_prompts in traces.items():
        drafted = np.array([(int(t.accepted.sum()), int(t.gamma.sum())) for t in of_prompts])
        counts = list(zip(asked, drafted, strict=True))
        named = grouped(counts, lambda pair: pair[0].domain) | grouped(
            counts, lambda pair: stream_of(pair[0])
        )
        by_mode.setdefault(mode, {})[str(gamma)] = {
            name: _spread(np.array([numbers for _, numbers in items])) for name, items in named.items()
        }
    return by_mode


def _spread(numbers: np.ndarray) -> dict[str, Any]:
    """numbers: (prompts, 2), accepted and drafted. Prompts are drawn anew with a fixed seed."""
    drawn = np.random.default_rng(0).integers(len(numbers), size=(RESAMPLES, len(numbers)))
    accepted, drafted = numbers[drawn].sum(axis=1).T
    low, high = np.percentile(accepted / drafted, INTERVAL)
    return {
        "rate": numbers[:, 0].sum() / numbers[:, 1].sum(),
        "low": low,
        "high": high,
        "prompts": list(numbers[:, 0] / numbers[:, 1]),
    }


def show(acceptance: Mapping[str, Any]) -> str:
    columns = [(mode, str(gamma)) for mode in MODES for gamma in GAMMAS]
    measured = acceptance[columns[0][0]][columns[0][1]]
    rows = []
    for domain in DOMAINS:
        streams = in_order(name for name in measured if "." in name and domain_of(name) == domain)
        for name in [domain, *(streams if len(streams) > 1 else [])]:
            shown = domain_label(domain) if name == domain else f"– {label(name)}"
            cells = [acceptance[mode][gamma][name] for mode, gamma in columns]
            rows.append([shown, *(f"{c['rate']:.2f} ({c['low']:.2f}–{c['high']:.2f})" for c in cells)])
    return section(
        "Acceptance",
        prose(f"""
            Accepted of all drafted tokens; in brackets the middle nine tenths of {RESAMPLES} bootstraps
            over prompts. With so few prompts that is a hint, not a promise.
        """),
        table(["acceptance", *(f"{mode}, γ = {gamma}" for mode, gamma in columns)], rows),
    )
