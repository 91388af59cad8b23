"""What is odd about a log: found, named, and dropped on request."""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb.importing.findings import DROPS, WARM_UP
from moespac_nb.importing.reading import import_trace
from moespac_nb.utils.exceptions import TraceFormatError
from tests.helpers.traces.logs import WRITERS, made_up

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")

EXPERTS, LAYERS, TOP_K = 16, 3, 2


def route(index: int, layer: int, experts: list[int], **more: Any) -> dict[str, Any]:
    return {"type": "route", "token_idx": index, "layer": layer, "topk_ids": experts, **more}


def forward_pass(rng: np.random.Generator, width: int, layers: int = LAYERS) -> list[dict[str, Any]]:
    """A pass over so many positions as vLLM's loggers write it: layer after layer, from index 0."""
    return [
        route(index, layer, rng.permutation(EXPERTS)[:TOP_K].tolist())
        for layer in range(layers)
        for index in range(width)
    ]


def warm_up(width: int, layers: int = LAYERS) -> list[dict[str, Any]]:
    return [route(index, layer, [0, 1]) for layer in range(layers) for index in range(width)]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def log(tmp_path: Path) -> Any:
    def write(*records: Iterable[dict[str, Any]]) -> Path:
        meta = {"type": "meta", "num_experts": EXPERTS, "top_k": TOP_K}
        path = tmp_path / "moe_routes.jsonl"
        path.write_text("".join(json.dumps(record) + "\n" for record in [meta, *chain(*records)]))
        return path

    return write


def notes_of(trace: Any, name: str) -> list[str]:
    return [note for note in trace.notes if note.startswith(f"{name}:")]


def test_warm_up_rows_are_named_and_dropped_on_request(log: Any, rng: np.random.Generator) -> None:
    text = [forward_pass(rng, 5), *(forward_pass(rng, 1) for _ in range(4))]
    path = log(warm_up(3000), *text)
    kept, dropped, alone = import_trace(path), import_trace(path, drop="warm-up"), import_trace(log(*text))
    assert len(kept) + len(kept.prompt_ids) == 3009
    assert notes_of(kept, "warm-up") == [
        "warm-up: 3,000 positions in stretches with identical sets of experts, the first at 0 of text 0: "
        "kept; drop='warm-up' leaves them out"
    ]
    assert dropped.texts == alone.texts
    assert np.array_equal(dropped.experts, alone.experts)
    assert np.array_equal(dropped.prompt_experts, alone.prompt_experts)
    assert dropped.prompt_experts.shape == (4, LAYERS, TOP_K)  # the prompt's last position is the first step
    assert notes_of(dropped, "warm-up")[0].endswith("left out")


def test_a_warning_names_what_is_odd(log: Any, rng: np.random.Generator) -> None:
    path = log(warm_up(WARM_UP), forward_pass(rng, 1))
    with pytest.warns(UserWarning, match=r"moe_routes\.jsonl: warm-up: 64 positions"):
        import_trace(path)


def test_text_that_repeats_a_little_is_no_warm_up(log: Any, rng: np.random.Generator) -> None:
    trace = import_trace(log(warm_up(WARM_UP - 1), forward_pass(rng, 1)))
    assert not notes_of(trace, "warm-up")


def test_the_order_of_a_set_does_not_matter(tmp_path: Path) -> None:
    rows = [{"tok": i, "layers": [[i % 2, 1 - i % 2], [3, 2]]} for i in range(WARM_UP)]
    path = tmp_path / "ids.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert notes_of(import_trace(path), "warm-up")


def test_duplicate_rows_are_refused_and_the_first_is_kept_on_request(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    WRITERS["moevm"].write(path, made_up(positions=4))
    whole, lines = import_trace(path), path.read_text().splitlines()
    other = json.dumps({**json.loads(lines[4]), "experts": [9, 10]})
    path.write_text("\n".join([*lines, other, lines[7]]))
    with pytest.raises(
        TraceFormatError, match=r"rows\.jsonl: line 13: token 1: layer 1 is there a second time"
    ):
        import_trace(path)
    trace = import_trace(path, drop=["duplicates"])
    assert np.array_equal(trace.experts, whole.experts)
    assert np.array_equal(trace.prompt_experts, whole.prompt_experts)
    assert notes_of(trace, "duplicates") == [
        "duplicates: 2 rows that were there before: the first one of each is kept"
    ]


def test_prompts_and_decoded_tokens_are_told_apart_by_passes(log: Any, rng: np.random.Generator) -> None:
    path = log(
        forward_pass(rng, 6), forward_pass(rng, 1), forward_pass(rng, 1),  # a prompt of 6 and two tokens
        forward_pass(rng, 3), forward_pass(rng, 1),
    )  # fmt: skip
    trace = import_trace(path)
    assert trace.text_prompt.tolist() == [5, 2]
    assert trace.text_steps.tolist() == [3, 2]
    assert not notes_of(trace, "batched")


def test_a_batched_log_is_named_and_dropped_on_request(log: Any, rng: np.random.Generator) -> None:
    path = log(
        forward_pass(rng, 6), forward_pass(rng, 1), forward_pass(rng, 1),
        *(forward_pass(rng, 4) for _ in range(5)),
    )  # fmt: skip
    kept = import_trace(path)
    assert len(kept) + len(kept.prompt_ids) == 28
    assert "20 positions in passes over several sequences" in notes_of(kept, "batched")[0]
    dropped = import_trace(path, drop="batched")
    assert len(dropped) + len(dropped.prompt_ids) == 8


def test_a_long_prompt_in_chunks_is_no_batch(log: Any, rng: np.random.Generator) -> None:
    chunks = [forward_pass(rng, 512, layers=1) for _ in range(5)]
    trace = import_trace(log(*chunks, forward_pass(rng, 1, layers=1)))
    assert not notes_of(trace, "batched")
    assert trace.text_prompt.tolist() == [5 * 512 - 1]


def test_interleaved_sequences_with_ids_are_taken_apart(log: Any, rng: np.random.Generator) -> None:
    rows = [
        route(index, layer, rng.permutation(EXPERTS)[:TOP_K].tolist(), req_id=f"r{request}")
        for index in range(5)
        for layer in range(LAYERS)
        for request in range(3)
    ]
    trace = import_trace(log(rows))
    assert trace.text_steps.tolist() == [5, 5, 5]
    of_second = [row["topk_ids"] for row in rows if row["req_id"] == "r1"]
    assert trace[5:10].experts.reshape(-1, TOP_K).tolist() == of_second


def test_a_gap_between_tokens_makes_another_text(tmp_path: Path) -> None:
    path = tmp_path / "ids.jsonl"
    rng = np.random.default_rng(0)
    rows = [
        {"tok": i, "layers": [rng.permutation(EXPERTS)[:2].tolist() for _ in range(2)]}
        for i in (4, 5, 6, 9, 10, 20)
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    trace = import_trace(path)
    assert trace.text_steps.tolist() == [3, 2, 1]
    assert trace.step_position.tolist() == [0, 1, 2, 0, 1, 0]
    assert "2 gaps between positions, the first before 9 of text 0" in notes_of(trace, "gaps")[0]


def test_a_gap_between_layers_is_refused_or_left_out(log: Any, rng: np.random.Generator) -> None:
    rows = [row for row in forward_pass(rng, 4, layers=5) if row["layer"] != 3]
    with pytest.raises(TraceFormatError, match="layer 3 is nowhere"):
        import_trace(log(rows))
    trace = import_trace(log(rows), drop="gaps")
    assert trace.geometry.layers == 4
    assert "layers 3 are nowhere" in notes_of(trace, "gaps")[0]


@pytest.mark.parametrize("layers", [(1, 2, 3), (1, 3, 5)])
def test_dense_layers_before_or_between_are_no_gap(
    log: Any, rng: np.random.Generator, layers: tuple[int, ...]
) -> None:
    rows = [route(0, layer, rng.permutation(EXPERTS)[:2].tolist()) for layer in layers]
    trace = import_trace(log(rows))
    assert trace.geometry.layers == 3
    assert not notes_of(trace, "gaps")


def test_one_layer_only_is_named(log: Any, rng: np.random.Generator) -> None:
    path = log(*(forward_pass(rng, 1, layers=1) for _ in range(5)))
    assert "layer 0 only" in notes_of(import_trace(path), "one-layer")[0]
    with pytest.raises(TraceFormatError, match="one layer only"):
        import_trace(path, drop="one-layer")


def csv_of(path: Path, cells: Iterable[tuple[int, int, int]]) -> Path:
    """Phase, step and layer of each row; the experts are made up."""
    rng = np.random.default_rng(1)
    lines = ["# n_layer=3 n_expert=16", "turn,phase,step,layer,slot,expert"]
    for phase, step, layer in cells:
        lines += [f"0,{phase},{step},{layer},{k},{e}" for k, e in enumerate(rng.permutation(16)[:2])]
    path.write_text("\n".join(lines))
    return path


def test_prompt_positions_without_the_last_layer_are_left_out(tmp_path: Path) -> None:
    prompt = [(0, step, layer) for step in range(4) for layer in range(3) if layer < 2 or step == 3]
    path = csv_of(
        tmp_path / "route.csv", prompt + [(1, step, layer) for step in (4, 5) for layer in range(3)]
    )
    trace = import_trace(path)
    assert (len(trace), trace.geometry.layers) == (3, 3)
    assert notes_of(trace, "last-layer") == [
        "last-layer: layer 2, the last, lacks 3 positions of prompts: left out"
    ]


def test_a_last_layer_of_one_position_is_dropped_on_request(tmp_path: Path) -> None:
    cells = [(1, step, layer) for step in range(6) for layer in range(3) if layer < 2 or step == 5]
    path = csv_of(tmp_path / "route.csv", cells)
    with pytest.raises(TraceFormatError, match=r"step 0: layer 2 is missing.*drop='last-layer'"):
        import_trace(path)
    trace = import_trace(path, drop="last-layer")
    assert (len(trace), trace.geometry.layers) == (6, 2)
    assert notes_of(trace, "last-layer") == [
        "last-layer: layer 2, the last, holds 1 of 6 positions: the layer is left out"
    ]


def test_a_last_layer_that_most_have_costs_the_positions_that_lack_it(tmp_path: Path) -> None:
    cells = [(1, step, layer) for step in range(6) for layer in range(3) if layer < 2 or step]
    trace = import_trace(csv_of(tmp_path / "route.csv", cells), drop="last-layer")
    assert (len(trace), trace.geometry.layers) == (5, 3)


def test_all_of_them_can_be_dropped_at_once(log: Any, rng: np.random.Generator) -> None:
    path = log(warm_up(100), *(forward_pass(rng, 1) for _ in range(3)))
    assert len(import_trace(path, drop="all")) == 3
    assert len(import_trace(path, drop=list(DROPS))) == 3


def test_nothing_left_is_an_error(log: Any) -> None:
    with pytest.raises(TraceFormatError, match="nothing is left of 100 positions"):
        import_trace(log(warm_up(100)), drop="warm-up")
