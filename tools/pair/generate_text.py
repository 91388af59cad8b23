"""Text of the target's own: what a draft is to predict is what the target says, not what people wrote.

    python -m tools.pair.generate_text [--rounds 40]      # needs the corpus and the target's checkpoint

Begins at random places of the training text, half greedily and half at temperature 0.8, and writes
build/corpus/<domain>.own.npy: windows (n, LENGTH + 1) of begun and continued text. A second run adds to them.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from tqdm import tqdm
from transformers import DynamicCache

from moespac_nb.models.compat import cache_argument
from moespac_nb.utils.files import atomic_write
from tools.pair.train import BUILD, CORPUS, NATURAL_SHARE, Streams, load_checkpoint, new_model

LENGTH, BEGUN, TOGETHER = 256, 64, 64  # tokens a window, of them given; windows at once


@torch.inference_mode()
def go_on(model: torch.nn.Module, ids: torch.Tensor, temperature: torch.Tensor) -> torch.Tensor:
    """ids (windows, BEGUN), temperature (windows, 1), 0 for greedy -> (windows, LENGTH + 1)."""
    cache, given = DynamicCache(config=model.config), ids
    while ids.shape[1] <= LENGTH:
        held = {cache_argument(model): cache, "use_cache": True}
        logits = model(input_ids=given, logits_to_keep=1, **held).logits[:, -1].float()
        gumbel = -torch.log(-torch.log(torch.rand_like(logits).clamp(1e-9, 1 - 1e-9)))
        given = (logits + temperature * gumbel).argmax(-1, keepdim=True)
        ids = torch.cat([ids, given], dim=1)
    return ids


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=40, help=f"of {TOGETHER} windows, domains in turn")
    args = parser.parse_args()
    torch.set_num_threads(1)
    model, streams = new_model("target").eval(), Streams("train")
    steps, _ = load_checkpoint(BUILD / "target.safetensors", model)
    if not steps:
        raise SystemExit("There is no target yet: train it first.")
    temperature = torch.tensor([0.0, 0.8]).repeat(TOGETHER // 2)[:, None]
    domains = list(NATURAL_SHARE)
    for number in tqdm(range(args.rounds), desc="own text"):
        domain = domains[number % len(domains)]
        path = CORPUS / f"{domain}.own.npy"
        before = np.load(path) if path.exists() else np.empty((0, LENGTH + 1), np.uint16)
        seed = (steps, len(before), domains.index(domain))
        torch.manual_seed(hash(seed) % 2**31)
        rng = np.random.default_rng(seed)
        begun = np.stack([streams.window(rng, domain, BEGUN - 1) for _ in range(TOGETHER)])
        windows = go_on(model, torch.from_numpy(begun), temperature).numpy().astype(np.uint16)
        with atomic_write(path, "own text") as file:
            np.save(file, np.concatenate([before, windows]))


if __name__ == "__main__":
    main()
