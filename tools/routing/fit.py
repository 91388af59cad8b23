"""Fit the generator of routing to captures of real models, and report how well it fits those held out.

    python -m tools.routing.fit [MODEL …] [--captures FOLDER] [--rounds N]

Reads the captures beside the checkout, writes `data/synthetic/MODEL.json`, then the report.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path

import numpy as np

from moespac_nb.datasets.routing_model import RoutedText, RoutingModel, gate_weights
from moespac_nb.utils.files import atomic_write

from . import report
from .captures import FOLDER, read_captures, read_usage
from .least_squares import START, fit_layers, layer_parameters
from .models import MODELS, PUBLISHED, split
from .statistics import overlap_of_same_tokens, used_experts
from .targets import Target

__all__ = ["DATA", "fit"]

DATA = Path(__file__).resolve().parents[2] / "data" / "synthetic"
SEED = 1  # texts of a fit are others than those of a report, or of a trace


def fit(model: str, folder: Path, rounds: int) -> tuple[RoutingModel, dict[str, list[int]]]:
    """Fit a model, and return it with the lengths of the texts that it was and was not fitted to."""
    kind, (fitting, held_out) = MODELS[model], split(model, read_captures(model, folder))
    target = Target.of_captures(
        kind.geometry,
        [capture.experts for capture in fitting],
        same_tokens=_same_tokens(model, folder),
        usage=read_usage(folder) if model == "qwen3-30b-a3b" else None,
        replicates=kind.replicates,
        published=_published_lru(model),
    )

    def routing_of(point: np.ndarray) -> RoutingModel:
        return RoutingModel(kind.geometry, layer_parameters(point), **kind.common)

    def fitted(start: np.ndarray) -> np.ndarray:
        return fit_layers(
            lambda point: target.residuals(_texts(routing_of(point), target)), start, rounds, log
        )

    def log(line: str) -> None:
        print(f"{model}: {line}", flush=True)

    point = fitted(np.tile(START, (kind.geometry.layers, 1)))
    if target.published:
        target = target.with_published(_texts(routing_of(point), target))
        point = fitted(point)
    routing = routing_of(point)
    scale = _gate_scale(
        routing, _texts(routing, target), [c.weights for c in fitting if c.weights is not None]
    )
    lengths = {"fitted": list(target.tokens), "held_out": [len(capture.experts) for capture in held_out]}
    return replace(routing, layers=replace(routing.layers, gate_scale=scale)), lengths


def _texts(routing: RoutingModel, target: Target) -> list[RoutedText]:
    lengths = list(target.tokens) * target.replicates
    return [routing.generate(tokens, (SEED, number)) for number, tokens in enumerate(lengths)]


def _published_lru(model: str) -> dict[int, float]:
    rates = PUBLISHED.get(model, {}).items()
    return {int(name.split()[2]): rate / 100 for name, rate in rates if name.startswith("LRU hits")}


def _same_tokens(model: str, folder: Path) -> np.ndarray:
    """Overlap of equal tokens by layer, smoothed: few pairs were seen. Qwen3's captures have no token ids; it
    gets that of gpt-oss-20b, by depth."""
    source = "gpt-oss-20b" if model == "qwen3-30b-a3b" else model
    captures = [c for c in split(source, read_captures(source, folder))[0] if c.token_ids is not None]
    used = used_experts([capture.experts for capture in captures], MODELS[source].geometry.experts)
    overlap = overlap_of_same_tokens(used, [c.token_ids for c in captures if c.token_ids is not None])
    curve = np.polynomial.Polynomial.fit(np.linspace(0, 1, len(overlap)), overlap, deg=2)
    return np.asarray(curve(np.linspace(0, 1, MODELS[model].geometry.layers)))


def _gate_scale(routing: RoutingModel, texts: list[RoutedText], weights: list[np.ndarray]) -> np.ndarray:
    """The scale of each layer's logits with which the largest weight has the mean that was recorded."""
    recorded = np.concatenate(weights)
    wanted = recorded.max(axis=2).mean(axis=0)
    scores = np.concatenate([text.scores for text in texts[: 1 + 4000 // len(texts[0].token_ids)]])
    top = RoutedText(np.zeros(len(scores)), scores).experts(recorded.shape[2])
    low, high = np.zeros((2, len(wanted)))
    high += 50
    for _ in range(30):
        scale = (low + high) / 2
        largest = gate_weights(scores, top, scale, routing.gates_of_chosen)[..., 0].mean(axis=0)
        low, high = np.where(largest < wanted, scale, low), np.where(largest < wanted, high, scale)
    return (low + high) / 2


def write(model: str, routing: RoutingModel, tokens: dict[str, list[int]], folder: Path) -> None:
    """Write fitted parameters as JSON, a line an entry."""
    layers = {
        name: [float(f"{value:.4g}") for value in values] for name, values in vars(routing.layers).items()
    }
    common = {name: value for name, value in vars(routing).items() if name not in ("geometry", "layers")}
    content = {
        "model": model, "what": "synthetic routing, fitted", "sources": MODELS[model].sources,
        "geometry": vars(routing.geometry), "common": common, "tokens": tokens, "layers": layers,
    }  # fmt: skip
    lines = [f"  {json.dumps(key)}: {json.dumps(value)}" for key, value in content.items() if key != "layers"]
    rows = ",\n".join(f"    {json.dumps(key)}: {json.dumps(value)}" for key, value in layers.items())
    text = "{\n" + ",\n".join(lines) + ',\n  "layers": {\n' + rows + "\n  }\n}\n"
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_write(folder / f"{model}.json", "the fitted parameters") as file:
        file.write(text.encode())


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("models", metavar="MODEL", nargs="*", help=f"default: {', '.join(MODELS)}")
    parser.add_argument(
        "--captures", type=Path, default=FOLDER, help="their folder (default: beside the checkout)"
    )
    parser.add_argument("--rounds", type=int, default=8, help="of the fit (default 8)")
    options = parser.parse_args()
    if not options.captures.is_dir():
        parser.error(
            f"{options.captures} is no folder; expected: the captures that docs/figures/routing.md names"
        )
    for model in options.models or MODELS:
        write(model, *fit(model, options.captures, options.rounds), DATA)
    report.write(options.captures)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
