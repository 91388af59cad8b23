"""`moespac import`, and `moespac trace` of what it wrote and of logs themselves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from moespac_nb import Trace, import_trace
from moespac_nb.cli.main import main
from tests.helpers.traces.logs import WRITERS, made_up

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "routes.jsonl"
    WRITERS["vllm"].write(path, made_up(positions=80, prompt=3))
    return path


def test_a_log_becomes_a_trace_file(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = log.with_name("my.npz")
    assert main(["import", str(log), "--out", str(out)]) == 0
    assert f"{out}: 1 texts, 78 steps" in capsys.readouterr().out
    assert Trace.load(out) == import_trace(log)


def test_several_logs_and_what_to_drop(log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other, out = tmp_path / "other.jsonl", tmp_path / "my.npz"
    WRITERS["vllm"].write(other, made_up(1, positions=5))
    files = [str(log), str(other)]
    command = ["import", *files, "--out", str(out), "--drop", "gaps", "--drop", "warm-up", "--json"]
    assert main([*command, "--format", "vllm-routes", "--experts", "16"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said == {
        "files": [str(out)],
        "geometry": {"layers": 3, "experts": 16, "top_k": 2},
        "texts": 2,
        "steps": 82,
        "notes": [],
    }


def test_bad_input_leaves_nothing_behind(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(log.parent.iterdir())
    out = log.with_name("my.npz")
    for command in (
        ["import", str(log), "--out", str(out), "--drop", "warmup"],
        ["import", str(log), "--out", str(out), "--format", "vllm"],
        ["import", str(log.with_name("none.jsonl")), "--out", str(out)],
        ["import", str(log), "--out", str(out / "deep.npz")],
        ["import", str(log), "--out", str(out), "--experts", "4"],
    ):
        assert main(command) == 2, command
        assert "expected" in (error := capsys.readouterr().err) or "no such file" in error
    assert sorted(log.parent.iterdir()) == before


def test_a_trace_of_a_log_is_described(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trace", str(log)]) == 0
    said = capsys.readouterr().out
    assert "made-up, imported from vllm-routes; 78 steps without a draft after 2 prompt positions" in said
    assert "lacking    token ids" in said
    assert main(["trace", str(log), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["token_ids"], figures["gate_weights"], figures["notes"]) == (False, True, [])
