"""Logs of made-up routing, as the programs that they are imported from write them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

__all__ = ["WRITERS", "Routing", "Text", "Writer", "made_up"]

Cell = tuple[list[int], list[float]] | None  # experts and gate weights of a position in a layer; None: no row


@dataclass(frozen=True)
class Text:
    """cells: [position][layer]; tokens: ids; prompt: how many positions are prompt."""

    cells: list[list[Cell]]
    tokens: list[int]
    prompt: int = 0


@dataclass(frozen=True)
class Routing:
    """What a log holds: some texts of one model."""

    texts: list[Text]
    experts: int = 16
    model: str = "made-up"
    layers: int = field(default=3)

    def rows(self) -> Iterator[tuple[int, int, int, Cell, int, bool]]:
        """Text, position, layer, cell, token and whether it is prompt, of all cells that are there."""
        for number, text in enumerate(self.texts):
            for position, layers in enumerate(text.cells):
                for layer, cell in enumerate(layers):
                    if cell is not None:
                        token = text.tokens[position]
                        yield number, position, layer, cell, token, position < text.prompt

    @property
    def top_k(self) -> int:
        return len(next(cell for *_, cell, _, _ in self.rows() if cell)[0])

    def with_cell(self, text: int, position: int, layer: int, cell: Cell) -> Routing:
        """The same with one other cell."""
        cells = [list(layers) for layers in self.texts[text].cells]
        cells[position][layer] = cell
        texts = list(self.texts)
        texts[text] = replace(texts[text], cells=cells)
        return replace(self, texts=texts)


@dataclass(frozen=True)
class Writer:
    """How a format is written.

    experts: what it calls them. lacks: what it cannot hold, of "texts" (several), "weights", "tokens",
    "prompt", and "gaps" (layers that are missing, a k that changes). declares: what its header says.
    """

    format: str
    name: str
    write: Callable[[Path, Routing], None]
    experts: str
    lacks: str = ""
    declares: str = ""

    def has(self, what: str) -> bool:
        return what not in self.lacks.split()

    @property
    def is_text(self) -> bool:
        return Path(self.name).suffix in (".jsonl", ".json", ".csv")


def made_up(
    seed: int = 0, texts: int = 1, positions: int = 6, layers: int = 3, experts: int = 16, top_k: int = 2,
    prompt: int = 2,
) -> Routing:  # fmt: skip
    """Random routing; the largest id is there, so that the number of experts can be told."""
    rng = np.random.default_rng(seed)
    made = []
    for _ in range(texts):
        cells: list[list[Cell]] = []
        for _position in range(positions):
            chosen = [rng.permutation(experts)[:top_k].tolist() for _ in range(layers)]
            weights = rng.random((layers, top_k)).astype(np.float16).astype(float).tolist()
            cells.append(list(zip(chosen, weights, strict=True)))
        made.append(Text(cells, rng.integers(0, 50, positions).tolist(), prompt))
    made[0].cells[0][0] = ([experts - 1, *range(top_k - 1)], [0.5] * top_k)
    return Routing(made, experts, layers=layers)


def _lines(path: Path, records: Iterator[Any] | list[Any]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")


def _moevm(path: Path, routing: Routing) -> None:
    _lines(path, [
        {"token": position, "layer": layer, "experts": experts, "scores": weights, "token_id": token,
         "phase": "prefill" if prompt else "decode"}
        for _, position, layer, (experts, weights), token, prompt in routing.rows()
    ])  # fmt: skip


def _warp(path: Path, routing: Routing) -> None:
    _lines(path, [
        {"tok": position, "layers": [cell[0] for cell in layers if cell is not None]}
        for position, layers in enumerate(routing.texts[0].cells)
    ])  # fmt: skip


def _router_data(path: Path, routing: Routing) -> None:
    text = routing.texts[0]
    entries = [
        {f"token_{position}": {
            f"layer_{layer}": {"selected_experts": cell[0], "selected_probs": cell[1]}
            for layer, cell in enumerate(layers) if cell is not None
        }}
        for position, layers in enumerate(text.cells)
    ]  # fmt: skip
    strings = [f" {token}" for token in text.tokens]
    path.write_text(json.dumps({"generated_only": strings, "full_text": strings, "router_data": entries}))


def _route_csv(path: Path, routing: Routing) -> None:
    lines = [
        f"# model=/models/{routing.model}.gguf arch=x n_layer={routing.layers} n_expert={routing.experts}",
        "turn,phase,step,layer,slot,expert,weight,residency,expert_bytes",
    ]
    for text, position, layer, (experts, weights), _token, prompt in routing.rows():
        lines += [
            f"{text},{0 if prompt else 1},{position},{layer},{slot},{expert},{weight},0,1"
            for slot, (expert, weight) in enumerate(zip(experts, weights, strict=True))
        ]
    path.write_text("\n".join(lines) + "\n")


def _vllm_routes(path: Path, routing: Routing) -> None:
    meta = {"type": "meta", "model_id": routing.model, "top_k": routing.top_k, "num_experts": routing.experts}
    routes = [
        # A prompt is one pass, and each further position is one: token_idx begins at 0 in each.
        {"type": "route", "req_id": f"r{text}", "token_idx": position if prompt else 0, "layer": layer,
         "topk_ids": experts, "topk_weights": weights}
        for text, position, layer, (experts, weights), _token, prompt in sorted(
            routing.rows(), key=lambda row: (row[0], row[1] * (not row[5]), row[2], row[1])
        )
    ]  # fmt: skip
    _lines(path, [meta, *routes])


def _arrays(text: Text) -> tuple[np.ndarray, np.ndarray]:
    experts = np.array([[cell[0] for cell in layers if cell] for layers in text.cells])
    return experts, np.array([[cell[1] for cell in layers if cell] for layers in text.cells], np.float16)


def _routed_experts(path: Path, routing: Routing) -> None:
    text = routing.texts[0]
    experts, tokens = _arrays(text)[0].astype(np.int16), np.array(text.tokens)
    with path.open("wb") as file:
        np.savez_compressed(
            file,
            prompt_routed_experts=experts[: text.prompt],
            prompt_token_ids=tokens[: text.prompt],
            routed_experts=experts[text.prompt :],
            token_ids=tokens[text.prompt :],
        )


def _decodes(path: Path, routing: Routing) -> None:
    arrays = [_arrays(text) for text in routing.texts]
    start = np.cumsum([0, *(len(experts) for experts, _ in arrays)])
    experts, weights = (np.concatenate([pair[i] for pair in arrays]) for i in (0, 1))
    with path.open("wb") as file:
        np.savez(file, experts=experts.astype(np.uint8), weights=weights, start=start)


def _policylang_jsonl(path: Path, routing: Routing) -> None:
    header = {"model_name": routing.model, "num_layers": routing.layers, "num_experts": routing.experts,
              "top_k": routing.top_k, "num_entries": len(list(routing.rows()))}  # fmt: skip
    rows = [
        {"p": text, "t": position, "l": layer, "e": experts, "s": weights, "ti": token,
         "ph": "prefill" if prompt else "decode"}
        for text, position, layer, (experts, weights), token, prompt in routing.rows()
    ]  # fmt: skip
    _lines(path, [header, *rows])


def _table(path: Path, columns: dict[str, Any]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(columns), path)


def _policylang_parquet(path: Path, routing: Routing) -> None:
    text, position, layer, cells, token, prompt = map(list, zip(*routing.rows(), strict=True))
    _table(path, {
        "prompt_id": text, "token_idx": position, "layer_idx": layer,
        "selected_experts": [cell[0] for cell in cells], "router_scores": [cell[1] for cell in cells],
        "token_id": token, "phase": ["prefill" if is_prompt else "decode" for is_prompt in prompt],
    })  # fmt: skip


def _atlas(path: Path, routing: Routing) -> None:
    records = []
    for number, text in enumerate(routing.texts):
        activations = [
            {"layer": layer, "token_idx": position, "expert_idx": expert, "gate_weight": weight}
            for at, position, layer, (experts, weights), _, _ in routing.rows() if at == number
            for expert, weight in zip(experts, weights, strict=True)
        ]  # fmt: skip
        records.append({
            "model_id": routing.model, "num_layers": routing.layers, "num_experts": routing.experts,
            "top_k": routing.top_k, "token_ids": text.tokens, "token_strs": [f" {t}" for t in text.tokens],
            "activations": activations,
        })  # fmt: skip
    _lines(path, records)


def _actives(path: Path, routing: Routing) -> None:
    for number, text in enumerate(routing.texts):
        _table(path / "samples" / f"{number}.parquet", {"token_id": text.tokens})
        for layer in range(routing.layers):
            cells = [layers[layer] for layers in text.cells if layers[layer] is not None]
            _table(path / "actives" / str(number) / f"layer_{layer:02}.parquet", {
                "indices": [cell[0] for cell in cells if cell], "scores": [cell[1] for cell in cells if cell],
            })  # fmt: skip


WRITERS = {
    writer.name.split(".")[0]: writer
    for writer in (
        Writer("moevm-rows", "moevm.jsonl", _moevm, "experts", "texts"),
        Writer("warp-tokens", "warp.jsonl", _warp, "layers", "texts weights tokens prompt"),
        Writer("router-data", "router_data.json", _router_data, "selected_experts", "texts tokens prompt"),
        Writer("route-csv", "route.csv", _route_csv, "expert", "tokens", "experts model"),
        Writer("vllm-routes", "vllm.jsonl", _vllm_routes, "topk_ids", "tokens", "experts model"),
        Writer("routed-experts", "vllm_arrays.npz", _routed_experts, "routed_experts", "texts weights gaps"),
        Writer("routed-experts", "decodes.npz", _decodes, "experts", "tokens prompt gaps"),
        Writer("policylang", "policylang.jsonl", _policylang_jsonl, "e", "", "experts model"),
        Writer("policylang", "policylang_table.parquet", _policylang_parquet, "selected_experts"),
        Writer("atlas", "atlas.jsonl", _atlas, "expert_idx", "prompt", "experts model"),
        Writer("actives", "actives", _actives, "indices", "prompt"),
    )
}
