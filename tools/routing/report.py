"""Report how the routing of synthetic texts compares with that of captures, and of published tables.

    python -m tools.routing.report [--captures FOLDER]

writes `docs/figures/routing.md`, as `python -m tools.routing.fit` does at its end.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from moespac_nb.datasets.routing_model import RoutingModel, gate_weights
from moespac_nb.datasets.synthetic import Synthetic, load_routing_model
from moespac_nb.utils.files import atomic_write

from .captures import FOLDER, read_captures, read_usage
from .models import MODELS, PUBLISHED, split
from .statistics import (
    cache_hit_rates,
    distinct_experts,
    lag_overlaps,
    layer_correlation,
    popularity_curve,
    used_experts,
    window_recalls,
)
from .targets import CACHE_SHARES, WINDOW, cache_slots

__all__ = ["Figures", "figures", "lengths_of", "published_figures", "synthetic_figures", "write"]

PAGE = Path(__file__).resolve().parents[2] / "docs" / "figures" / "routing.md"
SEED = 2  # texts of a report are others than those of the fit
REPLICATES = {"gpt-oss-20b": 1, "olmoe-1b-7b": 12, "qwen3-30b-a3b": 12}
LENGTHS = 1, 2, 5, 9
POPULAR = 0.05, 0.1, 0.25, 0.5
MANY_TEXTS = [f"uses of the top {100 * share:.3g} %, many texts" for share in POPULAR]
RULES, DECAY = ("last counts", "EMA", "frequency"), 0.3
SHARED = "experts shared with the next token"
PROMPTS, PROMPT_TOKENS = 25, 129  # of the published table: 3,225 decoded tokens
AIM = 2.0  # percentage points


Figures = dict[str, np.ndarray]  # per cents by name, each (layers,)


def figures(texts: Sequence[np.ndarray], experts_per_layer: int) -> Figures:
    """Figures of texts, (tokens, layers, k) each."""
    used = used_experts(texts, experts_per_layer)
    slots = cache_slots(experts_per_layer)
    lru, belady = cache_hit_rates(used, slots)
    uses = np.asarray(sum(text.sum(axis=0) for text in used))
    distinct = distinct_experts(used, LENGTHS)
    columns = {SHARED: lag_overlaps(used, [1])}
    for names, table in (
        ([f"distinct experts of {n}, of all" for n in LENGTHS], distinct / experts_per_layer),
        ([f"LRU hits, {_percent(s)} ({n} slots)" for s, n in zip(CACHE_SHARES, slots, strict=True)], lru),
        ([f"Belady hits, {_percent(s)}" for s in CACHE_SHARES], belady),
        ([f"uses of the top {_percent(s)}" for s in POPULAR], popularity_curve(uses, POPULAR)),
        ([f"recall, {rule}" for rule in RULES], window_recalls(used, WINDOW, DECAY)),
    ):  # fmt: skip
        columns |= {name: table[:, i : i + 1] for i, name in enumerate(names)}
    return {name: 100 * values[:, 0] for name, values in columns.items()}


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def synthetic_figures(
    routing: RoutingModel, tokens: Sequence[int], recorded: int, replicates: int
) -> tuple[Figures, dict[str, float]]:
    """Figures of synthetic texts of these lengths, and how the means over layers vary between replicates."""
    runs = []
    for replicate in range(replicates):
        runs.append(figures(_experts(routing, tokens, recorded, replicate), routing.geometry.experts))
    mean = {name: np.mean([run[name] for run in runs], axis=0) for name in runs[0]}
    return mean, {name: float(np.std([run[name].mean() for run in runs])) for name in mean}


def _experts(routing: RoutingModel, tokens: Sequence[int], recorded: int, replicate: int) -> list[np.ndarray]:
    texts = (routing.generate(n, (SEED, replicate, number)) for number, n in enumerate(tokens))
    return [text.experts(routing.geometry.top_k)[..., :recorded] for text in texts]


def published_figures(routing: RoutingModel) -> dict[str, float]:
    """The figures of `PUBLISHED` and of usage counts for synthetic texts."""
    top_k, experts = routing.geometry.top_k, routing.geometry.experts
    texts = [routing.generate(PROMPT_TOKENS, (SEED, 0, number)).experts(top_k) for number in range(PROMPTS)]
    used = used_experts(texts, experts)
    slots = 8, 16, 32, 64
    lru, belady = (100 * rates.mean(axis=0) for rates in cache_hit_rates(used, slots))
    shared = 100 * lag_overlaps(used, [1])[:, 0]
    many = used_experts(
        [routing.generate(40, (SEED, 1, number)).experts(top_k) for number in range(100)], experts
    )
    popular = popularity_curve(np.asarray(sum(text.sum(axis=0) for text in many)), POPULAR).mean(axis=0)
    return {
        "experts shared with the next token": shared.mean(),
        "the same, in the layer that shares least": shared.min(),
        "the same, in the layer that shares most": shared.max(),
        **{f"LRU hits, {n} slots": rate for n, rate in zip(slots, lru, strict=True)},
        **{f"Belady hits, {n} slots": rate for n, rate in zip(slots, belady, strict=True)},
        **{name: 100 * share for name, share in zip(MANY_TEXTS, popular, strict=True)},
    }


def lengths_of(model: str) -> dict[str, list[int]]:
    """Numbers of tokens of the texts that a model was fitted to, and of those held out."""
    lengths: dict[str, list[int]] = json.loads(Synthetic(model).path.read_text())["tokens"]
    return lengths


class _Comparison(NamedTuple):
    """Captures beside synthetic texts of their lengths."""

    side: str
    captures: list[np.ndarray]
    made: list[np.ndarray]  # one replicate
    figures: Figures
    made_figures: Figures
    spread: dict[str, float]


def _comparisons(model: str, folder: Path) -> Iterator[_Comparison]:
    routing, lengths = load_routing_model(model), lengths_of(model)
    for side, captures in zip(lengths, split(model, read_captures(model, folder)), strict=True):
        if captures:
            texts = [capture.experts for capture in captures]
            recorded = texts[0].shape[2]
            made_figures, spread = synthetic_figures(routing, lengths[side], recorded, REPLICATES[model])
            made = _experts(routing, lengths[side], recorded, replicate=0)
            real_figures = figures(texts, routing.geometry.experts)
            yield _Comparison(side, texts, made, real_figures, made_figures, spread)


def _difference(made: float, real: float) -> str:
    mark = "**" if abs(made - real) > AIM else ""
    return f"{real:.1f} | {made:.1f} | {mark}{made - real:+.1f}{mark}"


def _section(model: str, folder: Path) -> Iterator[str]:
    routing = load_routing_model(model)
    shape, sides = routing.geometry, list(_comparisons(model, folder))
    last = sides[-1]
    yield f"## {model}: {shape.layers} × {shape.experts}, top {shape.top_k}\n"
    for side in sides:
        recorded = side.captures[0].shape[2]
        best = f", the best {recorded} of {shape.top_k} experts" if recorded < shape.top_k else ""
        tokens = sum(map(len, side.captures))
        yield f"{_words(side.side).capitalize()}: {len(side.captures)} texts, {tokens:,} tokens{best}.  "
    heads = " | ".join(f"{_words(side.side)}: capture | synthetic | difference" for side in sides)
    yield f"\n| per cent | {heads} | layer by layer | chance |"
    yield "| --- |" + " ---: |" * (3 * len(sides) + 2)
    for name in last.figures:
        cells = [_difference(side.made_figures[name].mean(), side.figures[name].mean()) for side in sides]
        by_layer = np.abs(last.made_figures[name] - last.figures[name]).mean()
        chance = f"{last.spread[name]:.1f}" if REPLICATES[model] > 1 else "–"
        yield f"| {name} | {' | '.join(cells)} | {by_layer:.1f} | {chance} |"
    yield ""
    for label, values in (("capture", last.figures), ("synthetic", last.made_figures)):
        by_layer = " ".join(f"{value:.0f}" for value in values[SHARED])
        yield f"{SHARED.capitalize()} by layer, {label}: {by_layer}.  "
    correlations = [layer_correlation(used_experts(t, shape.experts)) for t in (last.captures, last.made)]
    yield (
        "Correlation of two layers in what a token shares with the one before it, "
        f"capture: {correlations[0]:.2f}, synthetic: {correlations[1]:.2f}.\n"
    )
    if model in PUBLISHED:
        usage = popularity_curve(read_usage(folder), POPULAR).mean(axis=0)
        counted = {name: 100 * share for name, share in zip(MANY_TEXTS, usage, strict=True)}
        yield from _beside_published(routing, PUBLISHED[model] | counted)
    yield f"{MODELS[model].remarks}\n"
    captures = read_captures(model, folder)
    yield from _gates(routing, [capture.weights for capture in captures if capture.weights is not None])
    yield "Sources: " + "; ".join(MODELS[model].sources) + ".\n"


def _words(side: str) -> str:
    return side.replace("_", " ")


def _beside_published(routing: RoutingModel, published: dict[str, float]) -> Iterator[str]:
    yield (
        "Beside the published table, of 25 prompts and 3,225 decoded tokens, and beside the usage counts "
        "(the third and second of the sources):\n"
    )
    yield "| per cent | published | synthetic | difference | fitted |\n| --- | ---: | ---: | ---: | --- |"
    made = published_figures(routing)
    for name, value in published.items():
        # With the slots of one token, LRU's hits are the experts shared.
        fitted = "yes" if name.startswith("LRU") or name in (SHARED, *MANY_TEXTS) else "no"
        yield f"| {name} | {_difference(made[name], value)} | {fitted} |"
    yield ""


def _gates(routing: RoutingModel, weights: list[np.ndarray]) -> Iterator[str]:
    """The mean gate weight by rank."""
    recorded = -np.sort(-np.concatenate(weights), axis=2)
    text = routing.generate(2000, (SEED, 0, 0))
    chosen = text.experts(recorded.shape[2])
    made = gate_weights(text.scores, chosen, routing.layers.gate_scale, routing.gates_of_chosen)
    for label, values in (("recorded", recorded), ("synthetic", made)):
        ranks = " ".join(f"{value:.3f}" for value in values.mean(axis=(0, 1)))
        yield f"Gate weights by rank, {label}: {ranks}.  "
    yield ""


HEAD = f"""# Figures: synthetic routing beside real routing

`load_trace("synthetic:gpt-oss-20b")` and its kind generate routing of the size of a real model. A few
numbers a layer were fitted to public captures (`python -m tools.routing.fit`, minutes on one core). This
page compares what they generate with the captures; the same code reads both. The captures are not in the
repository.

Rates are means over layers, in per cent. Caches are cold at the start of each text; a layer has its own,
and it is trimmed after each token. Windows of recall have {WINDOW} tokens; each rule names as many
experts as the last window used. A difference in bold is more than the {AIM:.0f} percentage points that
were aimed at. "Layer by layer" is the mean absolute difference of layers. "Chance" is the standard
deviation of the mean over layers between synthetic captures of the same lengths: a difference of twice
as much says nothing.
"""


def write(folder: Path) -> None:
    """Write the page."""
    lines = [HEAD]
    for model in MODELS:
        lines += _section(model, folder)
    text = "\n".join(lines).rstrip() + "\n"
    with atomic_write(PAGE, "the report") as file:
        file.write(text.encode())
    print(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--captures", type=Path, default=FOLDER, help="folder (default: beside the checkout)")
    write(parser.parse_args().captures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
