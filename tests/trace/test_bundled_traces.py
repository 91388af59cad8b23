"""Bundled traces: found by domain, mode, kind and half; what is not there is said, and how to record it."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from moespac_nb.cli import main as cli
from moespac_nb.datasets import files as resources
from moespac_nb.datasets import synthetic, traces
from moespac_nb.datasets.files import data_root, read_manifest
from moespac_nb.datasets.traces import Bundled, list_traces, load_trace
from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.traces.strategies import one_text

NUMBERS = (0, 3, 16, 17)  # of prompts: two of the tune half, two of the report half


def made_up(gamma_max: int | None) -> Trace:
    texts = []
    for number in NUMBERS:
        trace = one_text(number, gamma_max=gamma_max, steps=6)
        texts.append(replace(trace, texts=(replace(trace.texts[0], prompt_id=f"math/{number}"),)))
    return concatenate(texts)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """A folder of data with the bundled prompts and two traces of one domain."""
    folder = tmp_path / "data"
    (folder / "traces").mkdir(parents=True)
    (folder / "prompts").symlink_to(data_root() / "prompts")
    made_up(None).save(folder / "traces" / "math.greedy.plain.npz")
    made_up(3).save(folder / "traces" / "math.greedy.dense.npz")
    for module in (resources, synthetic, traces):
        monkeypatch.setattr(module, "data_root", lambda: folder)
    traces._load.cache_clear()
    yield folder
    traces._load.cache_clear()


def prompt_ids(trace: Trace) -> list[str | None]:
    return [text.prompt_id for text in trace.texts]


def test_a_half_holds_the_texts_of_its_prompts(data):
    whole = load_trace("math")
    tune, report = load_trace("math", half="tune"), load_trace("math", half="report")
    assert prompt_ids(tune) == ["math/0", "math/3"]
    assert prompt_ids(report) == ["math/16", "math/17"]
    assert concatenate([tune, report]) == whole == made_up(None)


def test_a_dense_trace_is_another_trace(data):
    dense = load_trace("math", dense=True, half="report")
    assert dense.texts[0].gamma_max == 3
    assert next(dense.rounds(2)).gamma == 2


def test_what_is_bundled_is_listed(data):
    expected = (Bundled("math", "greedy", False), Bundled("math", "greedy", True))
    assert list_traces() == list_traces("math") == expected
    assert list_traces("code") == ()


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("maths", {}, "'maths' is neither a file nor a domain; .*did you mean 'math'"),
        ("maths", {"mode": "greedy"}, "mode is 'greedy' and 'maths' is no domain; .*did you mean 'math'"),
        ("maths", {"dense": False}, "dense is False and 'maths' is no domain"),
        ("math", {"mode": "greed"}, "mode is 'greed'; expected: greedy, sample; did you mean 'greedy'"),
        ("math", {"half": "both"}, "half is 'both'; expected: 'tune', 'report'"),
        (
            "math",
            {"mode": "sample", "dense": True},
            "expected: math, greedy, plain, math, greedy, dense; .*--mode sample --dense 8 --out math.npz",
        ),
        (
            "code",
            {},
            "no trace of code, greedy, plain is bundled; expected: none of this domain; to record one",
        ),
    ],
)
def test_what_is_not_there_is_said(data, name, options, message):
    with pytest.raises(MoespacError, match=message):
        load_trace(name, **options)


def test_a_file_is_loaded_by_its_path_and_takes_no_option_of_a_domain(tmp_path):
    path = tmp_path / "mine.npz"
    made_up(None).save(path)
    assert load_trace(path) == load_trace(str(path)) == made_up(None)
    with pytest.raises(MoespacError, match=r"half is 'tune' and .*mine\.npz' is no domain"):
        load_trace(path, half="tune")


def test_a_damaged_trace_names_its_file(data):
    (data / "traces" / "math.greedy.dense.npz").write_bytes(b"PK")
    with pytest.raises(MoespacError, match=r"math\.greedy\.dense\.npz: not a whole trace file"):
        load_trace("math", dense=True)


def test_a_trace_without_the_half_that_is_asked_for_says_so(data):
    made_up(None)[:6].save(data / "traces" / "math.greedy.plain.npz")
    with pytest.raises(MoespacError, match="holds no text of the report half"):
        load_trace("math", half="report")


def test_a_domain_is_shown(data, capsys):
    assert cli.main(["trace", "math"]) == 0
    out = capsys.readouterr().out
    assert "math.greedy.plain.npz" in out
    assert "math.greedy.dense.npz" in out
    assert "and 3 more texts, of the prompts math/3, math/16, math/17" in out
    assert cli.main(["trace", "math", "--dense", "--half", "tune", "--json"]) == 0
    (figures,) = json.loads(capsys.readouterr().out)["traces"]
    assert [text["prompt_id"] for text in figures["texts"]] == ["math/0", "math/3"]
    assert figures["locality"]["overlap"] is not None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--mode", "greed"], "did you mean 'greedy'"),
        (["--dense", "--mode", "sample"], "no trace of math, sample, dense is bundled"),
        (["--half", "first"], "half is 'first'"),
        (["--mode", "sample"], "no trace of math, sample, plain is bundled"),
    ],
)
def test_a_domain_shown_wrongly_is_refused(data, capsys, options, message):
    assert cli.main(["trace", "math", *options]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "one", [one for one in list_traces() if isinstance(one, Bundled)], ids=lambda one: one.name
)
def test_what_is_really_bundled_is_of_the_bundled_pair_and_has_both_halves(one):
    trace = Trace.load(one.path)
    files = read_manifest(data_root())
    for text in trace.texts:
        assert (text.mode, text.gamma_max is not None) == (one.mode, one.dense)
        for name in ("target", "draft"):
            assert text.versions[f"{name} sha256"] == files[f"pair/{name}.safetensors"]["sha256"]
    halves = [
        len(load_trace(one.domain, one.mode, dense=one.dense, half=half).texts) for half in ("tune", "report")
    ]
    assert min(halves) > 0
    assert sum(halves) == len(trace.texts)
