"""Real captures, where they are: beside the checkout in `shared/routing`, or where MOESPAC_ROUTING says.

They are public, and never part of this project; `SOURCES.md` beside them names their sources.
"""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import numpy as np
import pytest

from moespac_nb import MoEShape, import_trace, load_trace
from moespac_nb.trace.locality import overlap, overlap_by_layer

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture(scope="module")
def captures(root: Path) -> Path:
    folder = Path(os.environ.get("MOESPAC_ROUTING", root.parent / "shared" / "routing"))
    if not folder.is_dir():
        pytest.skip(f"no captures: {folder} is not there; MOESPAC_ROUTING names another folder")
    return folder


def test_a_decode_of_gpt_oss(captures: Path) -> None:
    path = captures / "gpt-oss-20b" / "raw-example-1.json"
    trace, document = load_trace(path), json.loads(path.read_text("utf-8"))
    assert trace.geometry == MoEShape(24, 32, 4)
    assert len(trace) == len(document["router_data"]) == 49
    token, layers = next(iter(document["router_data"][7].items()))
    assert trace.experts[7].tolist() == [layers[f"layer_{i}"]["selected_experts"] for i in range(24)]
    assert np.allclose(trace.gate_weights[7], [layers[f"layer_{i}"]["selected_probs"] for i in range(24)])
    read = trace.token_strings[int(trace.window[7])]
    assert read == document["full_text"][int(token.removeprefix("token_"))]


def test_many_decodes_of_gpt_oss(captures: Path) -> None:
    trace = load_trace(captures / "gpt-oss-20b" / "decodes.npz")
    with np.load(captures / "gpt-oss-20b" / "decodes.npz") as arrays:
        assert np.array_equal(trace.experts, arrays["experts"])
        assert np.array_equal(trace.gate_weights, arrays["weights"].astype(np.float32))
        assert trace.text_steps.tolist() == np.diff(arrays["start"]).tolist()
    assert overlap(trace)[0] == pytest.approx(0.43, abs=0.02)  # SOURCES.md: .430 of 60 of them


@pytest.mark.parametrize(
    "name", ["domain_switch", "math_reasoning", "python_code", "systems_en", "systems_it"]
)
def test_captures_of_olmoe_with_their_prompts(captures: Path, name: str) -> None:
    path = captures / "olmoe-1b-7b" / f"seed-17-{name}.trace.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    trace = load_trace(path)
    assert trace.geometry == MoEShape(16, 64, 8)
    prompt = sum(row["phase"] == "prefill" and row["layer"] == 0 for row in rows)
    assert trace.text_prompt.tolist() == [prompt - 1]
    tokens = [row["token_id"] for row in rows if row["layer"] == 0]
    assert [*trace.prompt_ids.tolist(), *trace.window.tolist()] == tokens


def test_ids_of_olmoe_without_weights_or_tokens(captures: Path) -> None:
    trace = load_trace(captures / "olmoe-1b-7b" / "ids-only-299.jsonl")
    assert (trace.geometry, len(trace)) == (MoEShape(16, 64, 8), 299)
    assert trace.gate_weights is None
    assert not trace.has_tokens
    assert overlap(trace)[0] == pytest.approx(0.435, abs=0.001)  # SOURCES.md


def test_a_route_log_of_qwen(captures: Path) -> None:
    path = captures / "qwen3-30b-a3b" / "route.csv"
    trace = load_trace(path)
    assert trace.geometry == MoEShape(48, 128, 6)
    assert trace.texts[0].target == "Qwen3-30B-A3B-Q4_K_M.gguf"
    assert len(trace) == 129  # the prompt's last position, and 128 decoded ones
    assert [note.split(":")[0] for note in trace.notes] == ["last-layer"]
    with path.open() as file:
        rows = [row for row in csv.reader(file) if row[0] == "0"]
    of_step = [(int(row[3]), int(row[5])) for row in rows if row[2] == "100"]
    expected = [[expert for at, expert in of_step if at == layer] for layer in range(48)]
    assert trace.experts[100 - 27].tolist() == expected
    assert overlap(trace)[0] == pytest.approx(0.38, abs=0.005)  # SOURCES.md


def test_captures_of_one_model_make_one_trace(captures: Path) -> None:
    paths = sorted((captures / "olmoe-1b-7b").glob("*.trace.jsonl"))
    trace = import_trace(paths)
    assert len(trace.texts) == len(paths) == 5
    steps = [trace.experts[slice(*trace.starts["steps"][text : text + 2])] for text in range(5)]
    whole = [np.concatenate([trace.prefill(text).experts, steps[text]]) for text in range(5)]
    by_layer = overlap_by_layer(whole, 64)
    assert by_layer is not None
    assert by_layer[0].mean() == pytest.approx(0.439, abs=0.005)  # SOURCES.md


@pytest.mark.parametrize(
    "name", ["qwen3-30b-a3b/qwen.metrics", "qwen3-30b-a3b/expert-usage.json", "SOURCES.md"]
)
def test_what_is_no_routing_is_refused(captures: Path, name: str) -> None:
    from moespac_nb import MoespacError

    with pytest.raises(MoespacError, match="no known format"):
        import_trace(captures / name)
