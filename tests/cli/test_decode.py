"""`moespac decode`: streamed text, figures that add up, an honest check, clear words on bad input."""

from __future__ import annotations

import json

import pytest

from moespac_nb.cli import decode as cli_decode
from moespac_nb.cli import main as cli
from moespac_nb.datasets.prompts import load_prompts
from moespac_nb.models import loading as models
from moespac_nb.models.loading import load_pair
from tools.support import tiny_models as tiny


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
    assert figures["prompt"] == load_prompts("math")[0].prompt
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
    arguments = ("--domain", "qa", "--prompt-index", "1", "--max-new-tokens", "24")
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
    from moespac_nb.decoder import decoding

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
    from moespac_nb.decoder.decoding import Decoding

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
        (("--domain", "maths"), "'maths'; expected: mcq, chat, math, code.*did you mean 'math'"),
        (("--domain", "math", "--prompt-index", "999"), "--prompt-index is 999; expected for math: 0 to"),
        (("--prompt", ""), "prompt is empty"),
        (("--prompt", " \n"), "prompt is empty"),
        (("--prompt", "word " * 3000), "tokens; expected: at most 1023.*shorten"),
        (("--prompt", "Hi", "--gamma", "-1"), "gamma is -1; expected: a whole number from 0"),
        (("--prompt", "Hi", "--gamma", "two"), "--gamma is 'two'; expected: a whole number"),
        (("--prompt", "Hi", "--mode", "beam"), "mode is 'beam'; expected: 'greedy' or 'sample'"),
        (("--prompt", "Hi", "--temperature", "0"), "temperature is 0.0; expected: a number above 0"),
        (("--prompt", "Hi", "--top-p", "2"), "top_p is 2.0; expected"),
        (("--prompt", "Hi", "--draft", "oracle"), "--draft is 'oracle'; expected: model, ngram or none"),
        (("--prompt", "Hi", "--draft", ""), "--draft is ''; expected: model, ngram or none"),
        (("--prompt", "Hi", "--min-p", "2"), "min_p is 2.0; expected"),
        (("--prompt", "Hi", "--stop", ""), r"stop_strings is \[''\]; expected"),
        (("--prompt", "Hi", "--max-new-tokens", "0"), "max_new_tokens is 0; expected"),
        (("--prompt", "Hi", "--seed", "-1"), "seed is -1; expected"),
        (("--prompt", "Hi", "--mode", "sample", "--check-lossless"), "--check-lossless.*--mode sample"),
        ((), "--domain and --prompt are missing; expected: --prompt with a text of your own"),
        (("--prompt", "Hi", "--domain", "math"), "--domain and --prompt are both given; expected"),
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


SHORT = ("--domain", "math", "--gamma", "4", "--max-new-tokens", "16")


@pytest.mark.parametrize(
    "asked",
    [
        ("--budget", "25%", "--policy", "recency"),
        ("--budget", "1", "--device", "host", "--policy", "on-demand"),
        ("--budget", "300kB", "--machine", "laptop4060", "--mode", "sample", "--seed", "2"),
        ("--budget", "17%", "--model", "qwen3-30b-a3b", "--accounting", "device-equal"),
    ],
)
def test_a_budget_changes_no_letter(capsys, pair, asked):
    slot = 4 * 3 * pair[0].config.hidden_size * pair[0].config.moe_intermediate_size
    asked = tuple(f"{slot} B" if word == "1" else word for word in asked)
    sampled = ("--mode", "sample", "--seed", "2") if "sample" in asked else ()
    _, free = decoded(capsys, *SHORT, *sampled)
    code, figures = decoded(capsys, *SHORT, *asked)
    assert code == 0
    assert figures["text"] == free["text"]
    assert figures["lossless_checked"] is (None if sampled else True)
    assert free["offload"] is None
    assert figures["offload"]["tokens"] == figures["new_tokens"]
    assert 0 < figures["offload"]["slots"] < 512
    assert tiny.generated(pair[0], [1, 2, 3], 2)  # the model is itself again


def test_figures_of_a_budget_say_whether_they_are_modelled_or_measured(capsys):
    asked = ("--budget", "25%", "--policy", "recency", "--machine", "laptop4060")
    modelled, measured = (
        decoded(capsys, *SHORT, *asked, "--device", device)[1]["offload"] for device in ("virtual", "host")
    )
    assert (modelled["label"], measured["label"]) == ("modelled", "measured")
    assert modelled["tokens_per_second_modelled"] > 0
    assert measured["tokens_per_second_measured"] > 0
    assert "tokens_per_second_measured" not in modelled
    again = decoded(capsys, *SHORT, *asked)[1]["offload"]
    assert again == modelled
    assert (again["machine"], again["budget"], again["accounting"]) == ("laptop4060", "25%", "slots-equal")


def test_the_budget_has_a_line_of_its_own_below_the_figures(capsys):
    asked = ("--budget", "25%", "--policy", "recency", "--model", "olmoe-1b-7b")
    assert cli.main(["decode", *SHORT, *asked]) == 0
    _, *lines = capsys.readouterr().out.rpartition("— budget")[1:]
    line, *scaled = lines[0].splitlines()
    assert line.startswith(" 25%, slots-equal: 128 slots, recency · ")
    assert "tokens a second (modelled: rtx4090, as if olmoe-1b-7b)" in line
    assert scaled[0] == "  scaled: layers with experts: this one has 8, olmoe-1b-7b 16"


def test_the_drafts_bytes_come_off_a_budget_that_is_the_devices(capsys):
    asked = (*SHORT, "--budget", "25%", "--policy", "recency", "--model", "qwen3-30b-a3b")
    slots, device, without = (
        decoded(capsys, *asked, "--accounting", *how)[1]["offload"]["slots"]
        for how in (("slots-equal",), ("device-equal",), ("device-equal", "--draft", "ngram"))
    )
    assert device < slots == without == 128


def test_a_budget_above_everything_is_a_warning(capsys):
    assert cli.main(["decode", *SHORT, "--budget", "900GiB"]) == 0
    out, err = capsys.readouterr()
    assert "512 slots" in out
    assert err.startswith("moespac: warning: budget is '900GiB', ")
    assert err.count("\n") == 1
    _, figures = decoded(capsys, *SHORT, "--budget", "900GiB")
    assert figures["offload"]["warnings"] == [err.removeprefix("moespac: warning: ").strip()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "0"), "budget is '0'; expected: a share above 0%"),
        (("--budget", "2000"), "budget is '2000', 2000 bytes on this model; expected: at least one slot"),
        (("--budget", "0%"), "budget is '0%'; expected: a share above 0%"),
        (("--budget", "1kB"), "budget is '1kB', 1000 bytes on this model; expected: at least one slot"),
        (("--budget", "a lot"), "budget is 'a lot'; expected"),
        (("--policy", "recency"), "--policy was given without --budget; expected: with it"),
        (("--model", "olmoe-1b-7b"), "--model was given without --budget"),
        (("--expert-usage", "x.npz"), "--expert-usage was given without --budget"),
        (("--budget", "25%", "--policy", "recancy"), "policy is 'recancy'; .*did you mean 'recency'"),
        (("--budget", "25%", "--policy", "next-window-oracle"), "reads the future, which a live decode"),
        (("--budget", "25%", "--machine", "rtx4080"), "machine is 'rtx4080'; .*did you mean 'rtx4090'"),
        (("--budget", "25%", "--model", "mixtral"), "did you mean 'mixtral-8x7b'"),
        (("--budget", "25%", "--device", "gpu"), "device is 'gpu'; expected: virtual, host, cuda"),
        (("--budget", "25%", "--accounting", "fair"), "accounting is 'fair'; expected: slots-equal, "),
        (
            ("--budget", "5%", "--accounting", "device-equal", "--model", "mixtral-8x7b"),
            "the draft takes [0-9]+ bytes of it; expected under device-equal: more than that",
        ),
    ],
)
def test_a_bad_budget_is_one_clear_line_and_the_model_stays_whole(capsys, pair, arguments, said):
    import re

    before = {name: weight.data_ptr() for name, weight in pair[0].named_parameters()}
    assert cli.main(["decode", "--prompt", "Hi", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("moespac: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
    assert {name: weight.data_ptr() for name, weight in pair[0].named_parameters()} == before


def test_without_a_gpu_cuda_is_refused(capsys, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert cli.main(["decode", "--prompt", "Hi", "--budget", "25%", "--device", "cuda"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("moespac: the device is cuda, but torch")
    assert err.count("\n") == 1


def test_constants_of_a_machine_that_are_no_numbers_are_refused(capsys, tmp_path):
    from moespac_nb.datasets.files import data_path

    text = data_path("profiles/machines/rtx4090.toml").read_text()
    head, line, tail = text.partition("\nbandwidth_gb_per_s = ")
    (tmp_path / "own.toml").write_text(head + line + "nan\n" + tail.partition("\n")[2])
    asked = ("--budget", "25%", "--machine", str(tmp_path / "own.toml"))
    assert cli.main(["decode", "--prompt", "Hi", *asked]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "own.toml: device.bandwidth_gb_per_s is nan; expected: a number of GB/s" in err
