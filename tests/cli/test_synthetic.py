"""Synthetic routing and public captures on the command line."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from moespac_nb.cli import main as cli
from moespac_nb.datasets import captures
from moespac_nb.datasets.traces import load_trace
from moespac_nb.trace.cache_bounds import belady_hits, one_hot
from moespac_nb.trace.locality import committed_experts
from tests.helpers.capture_server import CONTENT, serving

NAME = "synthetic:gpt-oss-20b,tokens=8,texts=2"


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main([str(argument) for argument in arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


def test_a_replay_says_that_routing_is_synthetic_and_counts_usage_in_its_other_half(capsys) -> None:
    code, words, _ = called(capsys, "replay", NAME, "--policy", "static-hot", "--budget", "25%")
    assert code == 0
    assert "gpt-oss-20b,tokens=8,texts=2 (synthetic, fitted), report half: 1 texts, 8 tokens" in words


def test_what_is_in_a_synthetic_trace_is_shown_without_a_file(capsys) -> None:
    code, words, _ = called(capsys, "trace", NAME)
    assert code == 0
    assert words.startswith(f"{NAME}: generated\n")
    assert "gpt-oss-20b (synthetic, fitted), routing alone: no draft" in words
    figures = json.loads(called(capsys, "trace", NAME, "--json")[1])
    assert figures["file_bytes"] is None
    assert (figures["steps"], figures["drafted_tokens"]) == (16, 0)


def test_hit_rates_are_those_of_caches_of_every_size(capsys) -> None:
    code, words, _ = called(capsys, "trace", NAME, "--hit-rates")
    assert code == 0
    curves = json.loads(called(capsys, "trace", NAME, "--hit-rates", "--json")[1])["hit_curves"]
    assert re.search(rf"\n +LRU .* {curves['lru'][8]:.0%} +{curves['lru'][16]:.0%}\n", words)  # of 32
    trace = load_trace(NAME)
    used = [one_hot(committed_experts(trace, text), 32) for text in range(2)]
    hits = sum(belady_hits(text, 8).sum() for text in used)
    assert curves["belady"][8] == pytest.approx(hits / sum(text.sum() for text in used))
    assert curves["lru"][0] == 0
    assert len(curves["lru"]) == 33


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("replay", "synthetic:gpt"), "model is 'gpt'; expected: gpt-oss-20b"),
        (("replay", NAME, "--dense"), "has no drafts"),
        (("trace", f"{NAME},more=1"), "'more=1'"),
        (("replay", NAME, "--gamma", "4"), "gamma"),
        (("fetch-trace", "olmoe-math-reasonin"), "did you mean 'olmoe-math-reasoning'"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, arguments, said) -> None:
    code, words, error = called(capsys, *arguments)
    assert (code, words, error.count("\n")) == (2, "", 1)
    assert said in error


def test_public_captures_are_listed_with_their_licences(capsys) -> None:
    code, words, _ = called(capsys, "fetch-trace")
    assert code == 0
    listed = json.loads(called(capsys, "fetch-trace", "--json")[1])["captures"]
    assert len(listed) == len(words.splitlines()) - 1
    assert all(capture["name"] in words and capture["licence"] in words for capture in listed)


def test_a_public_capture_is_downloaded_when_asked(capsys, tmp_path: Path, monkeypatch) -> None:
    with serving() as (server, registry):
        monkeypatch.setattr(captures, "list_captures", lambda: registry)
        code, words, _ = called(capsys, "fetch-trace", "made-up", "--to", tmp_path)
        assert code == 0
        assert f"written   {tmp_path / 'made-up.jsonl'}, 300,000 bytes, none" in words
        assert (tmp_path / "made-up.jsonl").read_bytes() == CONTENT
        document = json.loads(called(capsys, "fetch-trace", "made-up", "--to", tmp_path, "--json")[1])
        assert document["file"] == str(tmp_path / "made-up.jsonl")
        assert len(server.asked) == 1
        code, _, error = called(capsys, "fetch-trace", "gone", "--to", tmp_path)
        assert code == 2
        assert "cannot be downloaded" in error
