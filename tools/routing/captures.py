"""Reads captures of real routing, which are no part of the checkout.

They lie beside it, in `shared/routing`, or where MOESPAC_ROUTING says.
"""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

__all__ = ["FOLDER", "Capture", "read_captures", "read_usage"]

_BESIDE = Path(__file__).resolve().parents[3] / "shared" / "routing"
FOLDER = Path(os.environ.get("MOESPAC_ROUTING", _BESIDE))


@dataclass(frozen=True, eq=False)
class Capture:
    """Routing of one text: experts (tokens, layers, k); gate weights and token ids where there are any."""

    name: str
    experts: np.ndarray
    weights: np.ndarray | None = None
    token_ids: np.ndarray | None = None


def read_captures(model: str, folder: Path = FOLDER) -> list[Capture]:
    """All captures of a model, in a fixed order."""
    return list(_READERS[model](folder / model))


def read_usage(folder: Path = FOLDER) -> np.ndarray:
    """How many decoded tokens used each expert of Qwen3-30B-A3B, (layers, experts)."""
    return np.array(json.loads((folder / "qwen3-30b-a3b" / "expert-usage.json").read_text())["counts"])


def _gpt_oss(folder: Path) -> Iterator[Capture]:
    token_ids = {}  # of the decodes whose tokens were published: entry t is the pass that reads token t
    for path in folder.glob("raw-example-*.json"):
        raw = json.loads(path.read_text())
        ids = np.unique(raw["generated_only"], return_inverse=True)[1][: len(raw["router_data"])]
        token_ids[f"data/{raw['dataset']}/{raw['category']}/True_False_examples.json"] = ids
    about = json.loads((folder / "decodes.json").read_text())
    with np.load(folder / "decodes.npz") as arrays:
        experts, weights, start = arrays["experts"], arrays["weights"], arrays["start"]
    for text, first, last in zip(about, start, start[1:], strict=False):
        name, rows = text["path"], slice(first, last)
        yield Capture(name, experts[rows].astype(np.int64), weights[rows].astype(float), token_ids.get(name))


def _olmoe(folder: Path) -> Iterator[Capture]:
    for path in sorted(folder.glob("seed-17-*.jsonl")):
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        shape = rows[-1]["token"] + 1, rows[-1]["layer"] + 1
        experts = np.array([row["experts"] for row in rows]).reshape(*shape, -1)
        weights = np.array([row["scores"] for row in rows]).reshape(*shape, -1)
        token_ids = np.array([row["token_id"] for row in rows]).reshape(shape)[:, 0]
        yield Capture(path.name.split(".")[0], experts, weights, token_ids)
    lines = (folder / "ids-only-299.jsonl").read_text().splitlines()
    yield Capture("ids-only-299", np.array([json.loads(line)["layers"] for line in lines]))


def _qwen3(folder: Path) -> Iterator[Capture]:
    """The decoded steps: of the prefill, the last layer was recorded for its last position alone."""
    with (folder / "route.csv").open(newline="") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    decoded = [row for row in rows if row["phase"] == "1"]
    layers = 1 + max(int(row["layer"]) for row in decoded)
    slots = 1 + max(int(row["slot"]) for row in decoded)
    experts = np.array([int(row["expert"]) for row in decoded]).reshape(-1, layers, slots)
    weights = np.array([float(row["weight"]) for row in decoded]).reshape(-1, layers, slots)
    yield Capture("route", experts, weights)


_READERS = {"gpt-oss-20b": _gpt_oss, "olmoe-1b-7b": _olmoe, "qwen3-30b-a3b": _qwen3}
