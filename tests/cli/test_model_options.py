"""The command line on a model of one's own, on any stream, with files named before the work."""

from __future__ import annotations

import io
import json
import re
import shutil
import sys
from pathlib import Path

import pytest
import torch

from moespac_nb.cli import main as cli
from moespac_nb.models import loading as models
from moespac_nb.models.loading import load_model, load_pair
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.trace import Trace
from tools.support import tiny_models as tiny
from tools.support.synthetic_trace import made_up

PROMPT = "Problem: Add 12, 30, 7.\nSolution:"
SHORT = ("--prompt", PROMPT, "--max-new-tokens", "12", "--gamma", "3")


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> Path:
    """A target and a draft of a user's own, in folders, in bfloat16."""
    folder = tmp_path_factory.mktemp("models")
    tokenizer = load_pair(verify=False)[0].tokenizer
    target = tiny.moe(vocabulary=len(tokenizer)).bfloat16()
    for name, model in (("target", target), ("draft", tiny.noised(target).bfloat16())):
        model.save_pretrained(folder / name)
        tokenizer.save_pretrained(folder / name)
    return folder


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main([*map(str, arguments)])
    return code, *capsys.readouterr()


def figures(capsys, *arguments: object) -> dict:
    code, out, err = called(capsys, *arguments, "--json")
    assert (code, err) == (0, ""), out
    return json.loads(out)


@pytest.mark.parametrize("draft", [None, "none", "ngram", "folder"])
def test_decode_takes_a_folder_and_its_own_dtype(capsys, own, draft):
    drafting = {None: (), "folder": ("--draft", own / "draft")}.get(draft, ("--draft", draft))
    said = figures(capsys, "decode", *SHORT, "--model-path", own / "target", *drafting)
    assert said["model"] == str(own / "target")
    assert said["draft"] == (draft if draft in ("none", "ngram") else str(own / "draft") if draft else "none")
    assert said["lossless"]["dtype"] == "bfloat16"
    assert said["lossless_checked"] is True
    assert said["new_tokens"] == 12
    if draft == "folder":
        assert said["drafted_tokens"] > 0


def test_decode_in_another_dtype_is_the_models_own_text_in_that(capsys, own):
    asked = ("decode", *SHORT, "--model-path", own / "target", "--draft", own / "draft", "--dtype", "float32")
    model = load_model(own / "target", dtype="float32")
    capsys.readouterr()
    said = figures(capsys, *asked)
    ids = model.tokenizer(PROMPT)["input_ids"]
    assert said["text"] == model.tokenizer.decode(tiny.generated(model, ids, 12), skip_special_tokens=True)
    assert (said["lossless"]["dtype"], said["lossless"]["decided"]) == ("float32", None)
    assert figures(capsys, *asked, "--budget", "50%", "--policy", "on-demand")["text"] == said["text"]


def test_record_and_trace_take_it(capsys, own, tmp_path):
    out = tmp_path / "own.npz"
    asked = (
        "--model-path",
        own / "target",
        "--draft",
        own / "draft",
        "--dense",
        2,
        "--mode",
        "sample",
        "--min-p",
        0.1,
    )
    figures(capsys, "record", *SHORT, *asked, "--stop", "no such thing", "--out", out)
    text = Trace.load(out).texts[0]
    assert (text.target, text.draft, text.gamma_max, text.min_p) == ("target", "draft", 2, 0.1)
    assert text.stop_strings == ("no such thing",)
    assert "sampled at T = 0.8, min_p = 0.1, a dense trace" in called(capsys, "trace", out)[1]


def test_a_policy_learns_from_other_texts_of_ones_own_model(capsys, own, tmp_path):
    figures(capsys, "record", *SHORT, "--model-path", own / "target", "--out", tmp_path / "other.npz")
    asked = ("decode", *SHORT, "--model-path", own / "target", "--budget", "50%", "--policy", "static-hot")
    assert "needs to know how often other texts use each expert" in called(capsys, *asked)[2]
    assert figures(capsys, *asked, "--expert-usage", tmp_path / "other.npz")["offload"]["slots"] > 0
    made_up(MoEShape(3, 5, 2), gamma=2, steps=3).save(tmp_path / "wrong.npz")
    assert (
        "expert_usage has shape (3, 5)" in called(capsys, *asked, "--expert-usage", tmp_path / "wrong.npz")[2]
    )


def test_what_its_generation_config_asks_for_is_obeyed_checked_and_recorded(capsys, own, tmp_path):
    shutil.copytree(own / "target", tmp_path / "model")
    (tmp_path / "model/generation_config.json").write_text(
        json.dumps({"repetition_penalty": 0.3, "eos_token_id": 0})
    )
    plain = figures(capsys, "decode", *SHORT, "--model-path", own / "target", "--dtype", "float32")
    asked = (*SHORT, "--model-path", tmp_path / "model", "--draft", own / "draft", "--dtype", "float32")
    said = figures(capsys, "decode", *asked)
    assert said["text"] != plain["text"]
    assert (said["lossless_checked"], said["lossless"]["decided"]) == (True, None)
    stop = said["text"][5:8]
    stopped = figures(capsys, "decode", *asked, "--stop", stop, "--budget", "50%", "--policy", "on-demand")
    assert (stopped["finish_reason"], stopped["lossless_checked"]) == ("stop", True)
    assert said["text"].startswith(stopped["text"])
    assert stop in stopped["text"]
    called(capsys, "record", *asked, "--out", tmp_path / "own.npz")
    assert (
        "logits through RepetitionPenaltyLogitsProcessor" in called(capsys, "trace", tmp_path / "own.npz")[1]
    )


def test_fit_reads_its_config_alone(capsys, own, monkeypatch):
    monkeypatch.setattr(models, "load_model", lambda *_, **__: pytest.fail("weights were read"))
    said = figures(capsys, "fit", "--machine", "rtx4090", "--model-path", own / "target", "--context", 64)
    assert said["all_experts"] == 64
    assert said["expert_bytes"] == 2 * 3 * 64 * 32
    assert said["draft"] is None


def test_dashboard_decodes_a_prompt(capsys, own, tmp_path):
    pytest.importorskip("moespac_widgets")
    page = tmp_path / "page.html"
    asked = ("--model-path", own / "target", "--draft", "ngram", "--policy", "recency", "--html", page)
    said = figures(capsys, "dashboard", *SHORT, *asked)
    assert said["bytes"] == page.stat().st_size
    for arguments in (("math", *SHORT), ("--model-path", own / "target"), ()):
        code, out, err = called(capsys, "dashboard", *arguments, "--html", tmp_path / "no.html")
        assert (code, out) == (2, "")
        assert "expected: a DOMAIN or FILE to show, or a prompt to decode" in err
    assert not (tmp_path / "no.html").exists()


@pytest.mark.parametrize("command", ["decode", "record", "dashboard"])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--model-path", "{own}/absent"),
            "model is '.*absent'; expected: a folder with a config.json, or a hub",
        ),
        (("--model-path", "nobody/nothing"), "'nobody/nothing' cannot be loaded: .*give --download$"),
        (("--model-path", "{own}/target", "--dtype", "int4"), "dtype is 'int4'; expected: auto, float32"),
        (("--model-path", "{own}/target", "--draft", "model"), "--draft is 'model', the bundled draft"),
        (("--model-path", "{own}/target", "--draft", "nothing"), "model is 'nothing'; expected: a folder"),
        (("--dtype", "auto"), "dtype is 'auto'; expected: float32, bfloat16, float16"),
        (
            ("--draft", "{own}/draft"),
            "--draft is '.*draft'; expected: model, ngram or none; with --model-path",
        ),
    ],
)
def test_models_that_cannot_be_had_are_one_line(capsys, own, tmp_path, command, arguments, said):
    to = {"record": ("--out", tmp_path / "x.npz"), "dashboard": ("--html", tmp_path / "x.html")}.get(
        command, ()
    )
    filled = [each.format(own=own) for each in arguments]
    code, out, err = called(capsys, command, "--prompt", "Hi", *to, *filled)
    assert (code, out) == (2, "")
    assert err.count("\n") == 1
    assert re.search(said, err.strip()), err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--model", "olmoe-1b-7b", "--model-path", "{own}/target"), "both given; expected: one of them"),
        (
            ("--model-path", "nobody/nothing"),
            "the config of 'nobody/nothing' cannot be read: .*give --download$",
        ),
        (("--model-path", "{own}"), "has no config.json"),
    ],
)
def test_fit_on_what_is_no_model_is_one_line(capsys, own, arguments, said):
    code, out, err = called(
        capsys, "fit", "--machine", "rtx4090", "--context", 64, *[a.format(own=own) for a in arguments]
    )
    assert (code, out) == (2, "")
    assert re.search(said, err.strip()), err


@pytest.mark.parametrize("out", [".", "", "{folder}", "{folder}/absent/x.npz", "{folder}/locked/x.npz"])
@pytest.mark.parametrize("command", ["record", "replay"])
def test_where_a_file_cannot_go_is_said_before_the_work(capsys, monkeypatch, tmp_path, command, out):
    from moespac_nb.decoder import recording
    from moespac_nb.utils import files as whole_file

    (tmp_path / "locked").mkdir()
    touch = Path.touch

    def guarded(
        path: Path, **options
    ) -> None:  # also where the tests run as root, for whom nothing is locked
        if path.parent.name == "locked":
            raise PermissionError(13, "Permission denied")
        touch(path, **options)

    monkeypatch.setattr(whole_file.Path, "touch", guarded)
    monkeypatch.setattr(models, "load_pair", lambda *_: pytest.fail("worked first"))
    monkeypatch.setattr(recording, "record", lambda *_: pytest.fail("worked first"))
    path = out.format(folder=tmp_path)
    asked = ("record", "--prompt", "Hi", "--out") if command == "record" else ("replay", "math", "--timeline")
    code, shown, err = called(capsys, *asked, path)
    assert (code, shown) == (2, "")
    option = asked[-1]
    assert f"{option} is " in err or f"{option} cannot be written: " in err
    assert sorted(each.name for each in tmp_path.rglob("*")) == ["locked"]


@pytest.mark.parametrize(
    "command", [("decode", *SHORT), ("replay", "math", "--policy", "recency", "--plain")]
)
def test_a_budget_of_digits_is_bytes(capsys, command):
    bytes_ = 20_000_000 if command[0] == "decode" else 2_000_000_000
    written, united = (figures(capsys, *command, "--budget", each) for each in (str(bytes_), f"{bytes_} B"))
    if command[0] == "decode":
        written, united = written["offload"], united["offload"]
    assert written["slots"] == united["slots"] > 0


class Stream(io.TextIOWrapper):
    """Standard output of another encoding."""


@pytest.mark.parametrize(
    ("encoding", "plain"), [("cp1252", True), ("ascii", True), ("utf-8", False), ("utf8", False)]
)
def test_json_loses_no_letter_on_any_stream(monkeypatch, encoding, plain):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Stream(raw, encoding=encoding))
    asked = ["decode", "--prompt", "日本語 Straße ☃", "--max-new-tokens", "2", "--draft", "none", "--json"]
    assert cli.main(asked) == 0
    assert json.loads(raw.getvalue().decode(encoding))["prompt"] == "日本語 Straße ☃"
    assert ("日本語".encode() in raw.getvalue()) is not plain


def test_errors_in_json_lose_none_either(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", Stream(raw, encoding="cp1252"))
    assert cli.main(["decode", "--prompt", "Hi", "--draft", "日本", "--json"]) == 2
    sys.stdout.flush()
    assert "日本" in json.loads(raw.getvalue().decode("cp1252"))["error"]


def test_no_command_prints_json_past_the_one_place(root):
    sources = {path.name: path.read_text("utf-8") for path in (root / "moespac_nb/cli").glob("*.py")}
    assert [name for name, source in sources.items() if "dumps(" in source] == ["output.py"]


def test_torch_is_not_told_how_many_threads_a_model_of_ones_own_may_have(capsys, own, monkeypatch):
    monkeypatch.setattr(torch, "set_num_threads", lambda _: pytest.fail("set"))
    figures(capsys, "decode", *SHORT, "--model-path", own / "target", "--no-check-lossless")
