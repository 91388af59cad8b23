"""`moespac decode`: streamed text, figures that add up, an honest check, clear words on bad input."""

from __future__ import annotations

import json

import pytest
import tiny

from moespac_nb import cli, cli_decode, models
from moespac_nb.models import load_pair
from moespac_nb.prompts import prompts


@pytest.fixture(scope="module")
def pair():
    return load_pair()


@pytest.fixture(autouse=True)
def _loaded_once(pair, monkeypatch):
    monkeypatch.setattr(models, "load_pair", lambda: pair)


def decoded(capsys, *arguments: str) -> tuple[int, dict]:
    code = cli.main(["decode", *arguments, "--json"])
    return code, json.loads(capsys.readouterr().out)


def test_json_holds_the_figures_and_they_add_up(capsys, pair):
    code, figures = decoded(capsys, "--domain", "math", "--gamma", "4", "--max-new-tokens", "24")
    assert code == 0
    assert figures["prompt"] == prompts("math")[0].prompt
    assert (figures["mode"], figures["gamma"], figures["draft"]) == ("greedy", 4, "model")
    assert figures["tokens_per_step"] == figures["new_tokens"] / figures["steps"]
    assert 0 <= figures["acceptance_rate"] <= 1
    assert figures["tokens_per_second_measured"] > 0
    assert figures["finish_reason"] in ("stop", "length")
    assert figures["lossless_checked"] is True
    ids = pair[0].tokenizer(figures["prompt"])["input_ids"]
    assert figures["text"] == pair[0].tokenizer.decode(
        tiny.generated(pair[0], ids, 24), skip_special_tokens=True
    )


def test_text_streams_whole_and_ends_with_a_line_of_figures(capsys):
    arguments = ("--prompt", "Once upon a time", "--max-new-tokens", "20", "--mode", "sample", "--seed", "3")
    assert cli.main(["decode", *arguments]) == 0
    shown = capsys.readouterr().out
    _, figures = decoded(capsys, *arguments)
    text, line = shown.rstrip("\n").rsplit("\n", 1)
    assert text == figures["text"]
    assert line.startswith(f"— {figures['new_tokens']} tokens in {figures['steps']} steps · γ = 8 · ")
    assert "tokens a second (measured)" in line
    assert "lossless not checked" in line


def test_letters_are_shown_only_when_all_their_bytes_are_there(capsys):
    class Growing:
        text, finish_reason = "", None

        def __iter__(self):
            for text, finish_reason in (("a", None), ("a\ufffd", None), ("aé", None), ("aé\ufffd", "length")):
                self.text, self.finish_reason = text, finish_reason
                yield None

    cli_decode._stream(Growing(), quiet=False)
    assert capsys.readouterr().out == "aé\ufffd\n"


@pytest.mark.parametrize("draft", ["ngram", "none"])
def test_every_draft_gives_the_same_greedy_text(capsys, draft):
    arguments = ("--domain", "qa", "--number", "1", "--max-new-tokens", "24")
    _, with_model = decoded(capsys, *arguments)
    code, figures = decoded(capsys, *arguments, "--draft", draft)
    assert code == 0
    assert figures["text"] == with_model["text"]
    assert figures["lossless_checked"] is True


def test_a_seed_makes_the_same_text_again(capsys):
    arguments = ("--domain", "chat", "--mode", "sample", "--max-new-tokens", "16")
    texts = [decoded(capsys, *arguments, "--seed", seed)[1]["text"] for seed in ("1", "1", "2")]
    assert texts[0] == texts[1] != texts[2]


def test_the_check_can_be_left_out_and_says_so(capsys):
    code, figures = decoded(capsys, "--domain", "news", "--max-new-tokens", "8", "--no-check-lossless")
    assert code == 0
    assert figures["lossless_checked"] is None


def test_a_text_that_is_not_the_targets_own_exits_with_1_and_says_where(capsys, monkeypatch):
    from moespac_nb import decoding

    right = decoding.accept_greedy
    monkeypatch.setattr(
        decoding,
        "accept_greedy",
        lambda drafted, own: (right(drafted, own)[0], (right(drafted, own)[1] + 1) % 4096),
    )
    code, figures = decoded(capsys, "--domain", "math", "--gamma", "0", "--max-new-tokens", "4")
    assert code == 1
    assert figures["lossless_checked"] is False
    assert figures["mismatch"]["position"] == 0
    assert figures["mismatch"]["emitted_id"] == (figures["mismatch"]["target_id"] + 1) % 4096
    assert figures["mismatch"]["top_two_logit_margin"] > 0
    assert cli.main(["decode", "--domain", "math", "--gamma", "0", "--max-new-tokens", "4"]) == 1
    assert "lossless BROKEN" in (shown := capsys.readouterr().out)
    assert "differs from the target's own at new token 0" in shown


def test_an_interrupt_reports_what_is_committed(capsys, monkeypatch):
    from moespac_nb.decoding import Decoding

    whole = Decoding.__next__

    def interrupted(self):
        if len(self.steps) == 2:
            raise KeyboardInterrupt
        return whole(self)

    monkeypatch.setattr(Decoding, "__next__", interrupted)
    code, figures = decoded(capsys, "--domain", "math")
    assert code == 130
    assert figures["steps"] == 2
    assert figures["new_tokens"] >= 2
    assert figures["lossless_checked"] is None


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--domain", "maths"), "'maths'; accepted: mcq, chat, math, code.*did you mean 'math'"),
        (("--domain", "math", "--number", "999"), "--number is 999; accepted for math: 0 to"),
        (("--prompt", ""), "prompt is empty"),
        (("--prompt", " \n"), "prompt is empty"),
        (("--prompt", "word " * 3000), "tokens; accepted: at most 1023.*shorten"),
        (("--prompt", "Hi", "--gamma", "-1"), "gamma is -1; accepted: a whole number from 0"),
        (("--prompt", "Hi", "--gamma", "two"), "--gamma: invalid int value: 'two'"),
        (("--prompt", "Hi", "--mode", "beam"), "mode is 'beam'; accepted: 'greedy' or 'sample'"),
        (("--prompt", "Hi", "--temperature", "0"), "temperature is 0.0; accepted: a number above 0"),
        (("--prompt", "Hi", "--top-p", "2"), "top_p is 2.0; accepted"),
        (("--prompt", "Hi", "--draft", "oracle"), "--draft is 'oracle'; accepted: model, ngram or none"),
        (("--prompt", "Hi", "--max-new-tokens", "0"), "max_new_tokens is 0; accepted"),
        (("--prompt", "Hi", "--seed", "-1"), "seed is -1; accepted"),
        (("--prompt", "Hi", "--mode", "sample", "--check-lossless"), "--check-lossless.*--mode sample"),
        ((), "one of the arguments --domain --prompt is required"),
        (("--prompt", "Hi", "--domain", "math"), "not allowed with"),
    ],
)
def test_bad_input_is_one_clear_line_and_exit_code_2(capsys, arguments, said):
    import re

    assert cli.main(["decode", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("moespac: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
