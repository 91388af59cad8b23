"""How much of the card is luck: small targets from several seeds, and the spread of their figures.

    python -m tools.pair.train_seeds --steps 200 --seeds 1 2 3    # some 1.5 s a step on a core; resumes

Trains with `train_pair.py`'s own loop, so all but the seed and the number of steps is the bundled target's.
Writes build/seeds/report.json; `evaluate_pair.py` takes it into the card. Needs the corpus.
"""

from __future__ import annotations

import argparse
import json
import os
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from moespac_nb.estimator.evaluation import recall_by_predictor
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.routing import observe
from moespac_nb.trace.step import MoEShape, Prefill, expert_counts
from moespac_nb.utils.files import atomic_write
from tools.pair import train as train_pair
from tools.pair.card import recall, reuse, use
from tools.pair.card.readings import windows
from tools.pair.card.seeds import spread
from tools.pair.card.streams import domain_of

SEEDS = train_pair.ROOT / "build/seeds"
REPORT = SEEDS / "report.json"
TEXTS, TEXT_TOKENS = 16, 256  # read of each held-out stream: the even ones to tune on, the odd to report on
WINDOW_POSITIONS = 5  # as γ = 4 verifies
LOSS_WINDOWS = 16


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    runs = [figures_of(trained(args.steps, seed)) for seed in dict.fromkeys(args.seeds)]
    report = {
        "steps": args.steps,
        "seeds": list(dict.fromkeys(args.seeds)),
        "window_positions": WINDOW_POSITIONS,
        "spread": spread(runs),
    }
    with atomic_write(REPORT, "the report") as file:
        file.write(json.dumps(report, indent=1).encode())
    print(REPORT)


def trained(steps: int, seed: int) -> Any:
    """The target of a seed, trained on from its checkpoint if it is not through."""
    folder = SEEDS / f"{steps}-steps-seed-{seed}"
    model = train_pair.new_model("target")
    checkpoint = folder / "target.safetensors"
    if train_pair.load_checkpoint(checkpoint, model)[0] < steps:
        train_pair.train("target", steps, seed, folder)
        train_pair.load_checkpoint(checkpoint, model)
    return model.eval()


def figures_of(model: Any) -> dict[str, Any]:
    """Every figure whose spread is reported, of one trained target."""
    shape = inspect_model(model).shape
    texts = {
        stream: [observe(model, ids)[0] for ids in _cut(tokens)]
        for stream, tokens in tqdm(train_pair.Streams("held-out").tokens.items(), desc="held-out text")
    }
    with torch.no_grad():
        losses = train_pair.held_out_loss(model, windows=LOSS_WINDOWS)
    return {
        "held_out_loss_nats": losses,
        "routing": _routing(texts, shape),
        "predicting_recall": _recall(texts, shape),
    }


def _cut(tokens: np.ndarray) -> list[list[int]]:
    """Texts of equal length from all over a stream."""
    starts = np.linspace(0, len(tokens) - TEXT_TOKENS, TEXTS).astype(int)
    return [tokens[start : start + TEXT_TOKENS].tolist() for start in starts]


def _routing(texts: dict[str, list[np.ndarray]], shape: MoEShape) -> dict[str, float]:
    """Means over streams or domains, and layers."""
    counts = _counts(texts, shape)
    shared = reuse.overlaps(texts, shape).values()
    groups = {stream: domain_of(stream) for stream in texts}
    domains = sorted(set(groups.values()))
    apart, noise = use.apart_and_noise(
        use.distances(counts, [[s for s in texts if groups[s] == d] for d in domains], domains)
    )
    balance = use.balance(counts)
    overlap, shuffled = (
        float(np.mean([s[side] for s in shared])) for side in ("in_order_by_layer", "shuffled_by_layer")
    )
    return {
        "overlap": overlap,
        "overlap, shuffled": shuffled,
        "overlap over shuffled": overlap / shuffled,
        "bits between domains": float(apart.mean()),
        "bits of noise": float(noise.mean()),
        "busiest over mean, worst layer": max(balance["busiest_over_mean"]),
        "experts never used, all layers": sum(balance["dead"]),
    }


def _recall(texts: dict[str, list[np.ndarray]], shape: MoEShape) -> dict[str, float]:
    """By predictor, mean over texts: windows of given text, as a draft that is always right fills them."""
    shares = recall.popularity(_counts({stream: of[::2] for stream, of in texts.items()}, shape))
    nothing_read = Prefill(
        np.zeros(0, np.int64),
        np.zeros((0, shape.layers, shape.top_k), np.int16),
        np.zeros((0, shape.layers, shape.top_k), np.float32),
        0.0,
    )
    found = []
    for stream, of_stream in texts.items():
        fixed = recall.known(domain_of(stream), shares)
        for experts in of_stream[1::2]:
            cut = windows(experts, shape.experts, WINDOW_POSITIONS)
            found.append(recall_by_predictor(nothing_read, cut, recall.named(shape), fixed))
    return recall.mean_of(found)


def _counts(texts: dict[str, list[np.ndarray]], shape: MoEShape) -> use.Counts:
    return {
        stream: [expert_counts(e, shape.experts) for e in of_stream] for stream, of_stream in texts.items()
    }


if __name__ == "__main__":
    main()
