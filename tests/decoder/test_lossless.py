"""What the check of a greedy text calls the target's own: equal, or other where it nearly tied."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest
import torch

from moespac_nb.cli import main as cli
from moespac_nb.datasets.prompts import DOMAINS, load_prompts
from moespac_nb.decoder import lossless as cli_lossless
from moespac_nb.decoder.logits import NO_PROCESSORS
from moespac_nb.decoder.lossless import UNITS, check_lossless
from moespac_nb.decoder.speculative import decode
from moespac_nb.models.loading import load_pair

PROMPT = [1, 2]


def decoding_of(
    emitted: list[int], own: list[int], logits: list[list[float]], dtype, monkeypatch
) -> SimpleNamespace:
    """A decode that emitted these ids, of a target that generates those, by its logits along the text."""
    monkeypatch.setattr(cli_lossless, "_generated", lambda _: own)

    def model(ids: torch.Tensor, logits_to_keep: int) -> SimpleNamespace:
        assert ids.tolist() == [PROMPT + emitted]
        assert logits_to_keep == len(emitted) + 1
        return SimpleNamespace(logits=torch.tensor([logits], dtype=dtype))

    model.device = "cpu"
    return SimpleNamespace(model=model, prompt_ids=PROMPT, new_ids=emitted, processors=NO_PROCESSORS)


CLEAR, TIED, LAST = [8.0, 4.0, 0.0], [8.0, 7.9375, 0.0], [0.0, 0.0, 0.0]


def test_an_equal_text_is_the_targets_own_and_its_near_ties_are_counted(monkeypatch):
    logits = [CLEAR, TIED, TIED, CLEAR, LAST]
    check = check_lossless(decoding_of([0, 0, 0, 0], [0, 0, 0, 0], logits, torch.bfloat16, monkeypatch))
    assert (check.mismatch, check.decided, check.near_ties, check.dtype) == (None, None, 2, "bfloat16")
    assert check.epsilon == UNITS["bfloat16"] * 2**-7 * 8
    assert check.in_words() == "checked: the target's own text (bfloat16, near ties: 2)"


def test_a_near_tie_that_went_the_other_way_is_no_fault(monkeypatch):
    logits = [CLEAR, TIED, CLEAR, LAST]
    check = check_lossless(decoding_of([0, 1, 0], [0, 0, 2], logits, torch.bfloat16, monkeypatch))
    assert (check.mismatch, check.decided, check.near_ties) == (None, 1, 1)
    assert "up to a near tie at new token 1, its choice beyond" in check.in_words()


def test_in_float32_the_same_is_a_fault(monkeypatch):
    logits = [CLEAR, TIED, CLEAR, LAST]
    check = check_lossless(decoding_of([0, 1, 0], [0, 0, 2], logits, torch.float32, monkeypatch))
    assert check.mismatch is not None
    assert (check.mismatch.position, check.mismatch.emitted_id, check.mismatch.target_id) == (1, 1, 0)
    assert check.mismatch.top_two_logit_margin == 0.0625
    assert (check.decided, check.near_ties) == (None, 0)
    assert check.in_words() == "BROKEN"


def test_beyond_a_near_tie_every_token_must_still_be_the_targets(monkeypatch):
    logits = [CLEAR, TIED, CLEAR, CLEAR, LAST]
    check = check_lossless(decoding_of([0, 1, 0, 2], [0, 0, 2, 2], logits, torch.bfloat16, monkeypatch))
    assert check.mismatch is not None
    assert (check.mismatch.position, check.mismatch.emitted_id, check.mismatch.target_id) == (3, 2, 0)


@pytest.mark.parametrize(("emitted", "own"), [([0, 0], [0, 0, 0]), ([0, 0, 0], [0, 0])])
def test_a_text_that_ends_elsewhere_is_a_fault(monkeypatch, emitted, own):
    logits = [CLEAR] * (len(emitted) + 1)
    check = check_lossless(decoding_of(emitted, own, logits, torch.bfloat16, monkeypatch))
    assert check.mismatch is not None
    assert check.mismatch.position == 2
    assert None in (check.mismatch.emitted_id, check.mismatch.target_id)


def test_a_text_that_ends_early_at_a_near_tie_is_no_fault(monkeypatch):
    logits = [CLEAR, TIED, LAST]
    check = check_lossless(decoding_of([0, 1], [0, 0, 0, 0], logits, torch.bfloat16, monkeypatch))
    assert (check.mismatch, check.decided) == (None, 1)


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_bundled_pair_is_lossless_in_its_dtype(dtype):
    target, draft = load_pair(dtype, verify=False)
    checks = []
    for domain in DOMAINS[:3] if dtype == "float32" else DOMAINS:
        decoding = decode(target, load_prompts(domain)[0].prompt, draft=draft, gamma=8, max_new_tokens=32)
        list(decoding)
        checks.append(check_lossless(decoding))
    assert all(check.mismatch is None for check in checks), checks
    if dtype == "float32":
        assert all(check.decided is None for check in checks)
    else:
        assert sum(check.near_ties for check in checks) > 0


def test_the_command_reports_a_near_tie_and_does_not_call_it_broken(monkeypatch, capsys):
    near = cli_lossless.Check("bfloat16", 0.25, 3, 7, None)
    monkeypatch.setattr("moespac_nb.cli.decode.check_lossless", lambda _: near)
    asked = ["decode", "--domain", "math", "--dtype", "bfloat16", "--max-new-tokens", "4"]
    assert cli.main(asked) == 0
    assert (
        "lossless checked: the target's own text up to a near tie at new token 7" in capsys.readouterr().out
    )
    assert cli.main([*asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["lossless_checked"], said["mismatch"]) == (True, None)
    assert (said["lossless"]["near_ties"], said["lossless"]["decided"], said["lossless"]["epsilon"]) == (
        3,
        7,
        0.25,
    )
