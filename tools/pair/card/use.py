"""Which experts serve which text: dead ones, imbalance, and how far apart the routing of two texts lies.

Distances are set against split-half noise: the same text's distance from itself, taken over halves as large.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from moespac_nb import DOMAINS
from tools.pair.card.markdown import paragraphs, prose, section, table
from tools.pair.card.streams import domain_label, domain_of, in_order, with_means

SPLITS = 20  # random halvings that a distance is the mean of
Counts = Mapping[str, Sequence[np.ndarray]]  # by stream: of each text, (layers, experts)


def measure(counts: Counts) -> dict[str, Any]:
    """Of texts of every stream; a stream with a single text has no halves, so there are no distances then."""
    total = {stream: np.sum(texts, axis=0) for stream, texts in counts.items()}
    domains = [d for d in DOMAINS if any(domain_of(s) == d for s in counts)]
    return {
        "counts": {stream: array.tolist() for stream, array in total.items()},
        "by_layer": balance(counts),
        "experts_for_half": {stream: _experts_for_half(array) for stream, array in total.items()},
        "distance_bits": {
            "domains": distances(
                counts, [[s for s in counts if domain_of(s) == d] for d in domains], domains
            ),
            "streams": distances(counts, [[s] for s in in_order(counts)], in_order(counts)),
        },
    }


def balance(counts: Counts) -> dict[str, list[float]]:
    """By layer, domains in equal shares: experts never used, and the busiest and the idlest over the mean."""
    by_domain: dict[str, Any] = {}
    for stream, texts in counts.items():
        by_domain[domain_of(stream)] = by_domain.get(domain_of(stream), 0) + np.sum(texts, axis=0)
    share = np.mean([_shares(array) for array in by_domain.values()], axis=0)
    return {
        "dead": (share == 0).sum(axis=1).tolist(),
        "busiest_over_mean": (share.max(axis=1) * share.shape[1]).tolist(),
        "idlest_over_mean": (share.min(axis=1) * share.shape[1]).tolist(),
    }


def distances(counts: Counts, groups: Sequence[Sequence[str]], names: Sequence[str]) -> dict[str, Any] | None:
    """Jensen-Shannon distance in bits between groups of streams, half of one against half of another.

    matrix: means over layers; its diagonal, one half of a group against its other half, is the noise.
    between_by_layer, noise_by_layer: means over pairs of groups, and over groups.
    """
    if any(len(texts) < 2 for texts in counts.values()):
        return None
    rng = np.random.default_rng(0)
    sums: Any = 0
    for _ in range(SPLITS):
        halves = {stream: _halves(texts, rng) for stream, texts in counts.items()}
        first, second = (
            np.array([_shares(np.sum([halves[s][side] for s in group], axis=0)) for group in groups])
            for side in (0, 1)
        )
        bits = _jensen_shannon(first[:, None], second[None])  # (groups, groups, layers)
        sums = sums + (bits + bits.swapaxes(0, 1)) / 2
    mean = sums / SPLITS
    apart = ~np.eye(len(groups), dtype=bool)
    return {
        "names": list(names),
        "matrix": mean.mean(axis=2).tolist(),
        "between_by_layer": mean[apart].mean(axis=0).tolist(),
        "noise_by_layer": mean[~apart].mean(axis=0).tolist(),
    }


def apart_and_noise(found: Mapping[str, Any], only: str = "") -> tuple[np.ndarray, np.ndarray]:
    """Distances of all pairs, and the noise of each, in bits; `only` names whose label ends so."""
    chosen = [i for i, name in enumerate(found["names"]) if name.endswith(only)]
    matrix = np.array(found["matrix"])[np.ix_(chosen, chosen)]
    return matrix[np.triu_indices(len(chosen), 1)], np.diagonal(matrix)


def _halves(texts: Sequence[np.ndarray], rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    order = rng.permutation(len(texts))
    middle = len(texts) // 2
    sides = order[:middle], order[middle:]
    return tuple(np.sum([texts[i] for i in side], axis=0) for side in sides)  # type: ignore[return-value]


def _shares(counts: np.ndarray) -> np.ndarray:
    return counts / counts.sum(axis=-1, keepdims=True)


def _jensen_shannon(p: np.ndarray, q: np.ndarray) -> np.ndarray:
    """In bits, over the last axis."""

    def entropy(x: np.ndarray) -> np.ndarray:
        return -(x * np.log2(np.where(x > 0, x, 1))).sum(axis=-1)

    return entropy((p + q) / 2) - (entropy(p) + entropy(q)) / 2


def _experts_for_half(counts: np.ndarray) -> float:
    """How many of a layer's experts, the busiest first, serve half of what is asked; mean over layers."""
    share = np.cumsum(-np.sort(-_shares(counts), axis=1), axis=1)
    return float((share < 0.5).sum(axis=1).mean() + 1)


def show(use: Mapping[str, Any]) -> str:
    layers, found = use["by_layer"], use["distance_bits"]["domains"]
    rows = {
        "experts never used": [str(n) for n in layers["dead"]],
        "busiest over mean": [f"{x:.1f}" for x in layers["busiest_over_mean"]],
        "idlest over mean": [f"{x:.2f}" for x in layers["idlest_over_mean"]],
    }
    if found:
        rows["bits between two domains"] = [f"{x:.3f}" for x in found["between_by_layer"]]
        rows["bits of noise"] = [f"{x:.3f}" for x in found["noise_by_layer"]]
    experts = np.shape(next(iter(use["counts"].values())))[1]
    half = with_means({stream: [n] for stream, n in use["experts_for_half"].items()})
    return section(
        "Use of experts",
        prose("""
            On held-out text that the target only reads, domains in equal shares ‡. Counts by stream,
            layer and expert are in `card.json`.
        """),
        table(["layer", *map(str, range(len(layers["dead"])))], [[name, *row] for name, row in rows.items()]),
        f"How many of a layer's {experts} experts serve half of what a text asks for, mean over layers:",
        table(["held-out text", "experts for half"], [[name, f"{n:.1f}"] for name, (n,) in half]),
        _show_distances(use["distance_bits"]) if found else "",
    )


def _show_distances(bits: Mapping[str, Any]) -> str:
    domains = bits["domains"]
    labels = [domain_label(d) for d in domains["names"]]
    rows = [
        [name, *(f"*{x:.3f}*" if i == j else f"{x:.3f}" for j, x in enumerate(row))]
        for i, (name, row) in enumerate(zip(labels, domains["matrix"], strict=True))
    ]
    apart, noise = apart_and_noise(bits["streams"], "natural")
    return paragraphs(
        prose(f"""
            How far apart the routing of two domains lies, in Jensen-Shannon bits (mean over layers): half
            of one domain's texts against half of the other's, mean of {SPLITS} halvings. On the diagonal
            one half of a domain against its other half: the noise that a distance must exceed to mean
            anything.
        """),
        table(["bits", *labels], rows),
        prose(f"""
            Between natural streams alone: {apart.min():.3f} to {apart.max():.3f}, mean
            {apart.mean():.3f}; their noise: mean {noise.mean():.3f}.
        """)
        if len(apart)
        else "",
    )
