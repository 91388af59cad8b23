"""How well what is known after a window predicts the experts of the next, see `estimator.evaluation`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moespac_nb.estimator.evaluation import recall_by_predictor
from moespac_nb.trace.step import MoEShape
from tools.pair.card.decodes import GAMMAS, MODES, Decodes
from tools.pair.card.markdown import prose, section, table
from tools.pair.card.streams import domain_of, grouped, with_means
from tools.pair.card.use import Counts

NAMED_SHARE = 0.25  # of a layer's experts that each predictor may name
OVERALL, OF_DOMAIN = "overall popularity", "this domain's popularity"


def named(geometry: MoEShape) -> int:
    return round(NAMED_SHARE * geometry.experts)


def popularity(counts: Counts) -> dict[str, np.ndarray]:
    """How often each expert serves a domain, (layers, experts), each layer's sum 1."""
    totals: dict[str, Any] = {}
    for stream, texts in counts.items():
        totals[domain_of(stream)] = totals.get(domain_of(stream), 0) + np.sum(texts, axis=0)
    return {domain: total / total.sum(axis=1, keepdims=True) for domain, total in totals.items()}


def known(domain: str, shares: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The two predictors that never change."""
    return {OVERALL: np.mean(list(shares.values()), axis=0), OF_DOMAIN: shares[domain]}


def measure(
    traces: Decodes, streams: Sequence[str], shares: Mapping[str, np.ndarray], geometry: MoEShape
) -> dict[str, Any]:
    """By mode, stream and predictor, of the decodes at the first γ. streams: of each prompt."""
    by_mode: dict[str, Any] = {}
    for mode in MODES:
        pairs = grouped(zip(streams, traces[mode, GAMMAS[0]], strict=True), lambda pair: pair[0])
        for stream, of_stream in pairs.items():
            fixed = known(domain_of(stream), shares)
            found = [recall_by_predictor(t.prefill(), list(t), named(geometry), fixed) for _, t in of_stream]
            by_mode.setdefault(mode, {})[stream] = mean_of(found)
    return by_mode


def mean_of(found: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([each[name] for each in found])) for name in found[0]}


def show(recall: Mapping[str, Any]) -> str:
    parts = []
    for mode, by_stream in recall.items():
        names = list(next(iter(by_stream.values())))
        rows = with_means({stream: list(v.values()) for stream, v in by_stream.items()})
        parts.append(table([f"recall, {mode}", *names], [[n, *(f"{x:.2f}" for x in v)] for n, v in rows]))
    return section(
        "Predicting the next window",
        prose(f"""
            Share of the next window's experts among those that each predictor names beforehand, all
            {NAMED_SHARE:.0%} of a layer's experts, at γ = {GAMMAS[0]}. Last window's counts are the
            paper's sensor; popularity is that of the prompts' tune half.
        """),
        *parts,
    )
