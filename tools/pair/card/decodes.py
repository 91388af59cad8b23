"""The decodes that the card's figures come from: report prompts, greedy and sampled, at both draft lengths.

Each is kept in a file as soon as it is done, so that a stopped run goes on where it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from itertools import product
from pathlib import Path
from typing import Any

from tqdm import tqdm

from moespac_nb import Sampling, Trace, record
from moespac_nb.datasets.prompts import Prompt

GREEDY, SAMPLED = "greedy", "T = 0.8"
MODES = {GREEDY: Sampling(), SAMPLED: Sampling("sample", temperature=0.8)}
GAMMAS = (4, 8)
Decodes = dict[tuple[str, int], list[Trace]]  # by mode and γ: one text a prompt, in the prompts' order


def decodes(target: Any, draft: Any, asked: Sequence[Prompt], tokens: int, kept: Path) -> Decodes:
    """Record what is not in the folder `kept` yet, and read the rest."""
    kept.mkdir(parents=True, exist_ok=True)
    traces: Decodes = {}
    for (mode, gamma), (seed, prompt) in tqdm(
        list(product(product(MODES, GAMMAS), enumerate(asked))), desc="decodes", unit="text"
    ):
        path = kept / f"{prompt.id}.{list(MODES).index(mode)}.{gamma}.npz"
        if path.exists():
            trace = Trace.load(path)
        else:
            trace = record(
                target, prompt.prompt, draft=draft, gamma=gamma, sampling=MODES[mode], seed=seed,
                max_new_tokens=tokens, stop_ids=(), prompt_id=prompt.id,
            )  # fmt: skip
            trace.save(path)
        traces.setdefault((mode, gamma), []).append(trace)
    return traces


def fingerprint(files: Iterable[Path], *settings: object) -> str:
    """What the decodes depend on, in 16 characters: with other weights or code none is taken for done."""
    digest = hashlib.sha256(repr(settings).encode())
    for path in sorted(files):
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]
