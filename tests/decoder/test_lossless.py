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
from moespac_nb.models.loading import load_pair
from tests.helpers.decodes import decoded

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


def test_an_equal_text_counts_its_near_ties(monkeypatch):
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


def test_a_text_that_ends_early_at_a_near_tie_is_no_fault(monkeypatch):
    check = check_lossless(decoding_of([0, 1], [0] * 4, [CLEAR, TIED, LAST], torch.bfloat16, monkeypatch))
    assert (check.mismatch, check.decided) == (None, 1)


@pytest.mark.parametrize(
    ("emitted", "own", "logits", "dtype", "at"),
    [
        ([0, 1, 0], [0, 0, 2], [TIED] * 3, torch.float32, (1, 1, 0)),  # which rounds less
        ([0, 1, 0, 2], [0, 0, 2, 2], [TIED, TIED, CLEAR, CLEAR], torch.bfloat16, (3, 2, 0)),  # beyond a tie
        ([0, 0], [0, 0, 0], [CLEAR] * 2, torch.bfloat16, (2, None, 0)),  # ends early
        ([0, 0, 0], [0, 0], [CLEAR] * 3, torch.bfloat16, (2, 0, None)),  # goes on
    ],
)
def test_any_other_difference_is_a_fault(monkeypatch, emitted, own, logits, dtype, at):
    check = check_lossless(decoding_of(emitted, own, [*logits, TIED], dtype, monkeypatch))
    assert check.mismatch is not None
    assert (check.mismatch.position, check.mismatch.emitted_id, check.mismatch.target_id) == at
    assert check.mismatch.top_two_logit_margin == ([*logits, TIED][at[0]][0] - [*logits, TIED][at[0]][1])
    assert check.decided is None
    assert check.in_words() == "BROKEN"


@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_the_bundled_pair_is_lossless_in_its_dtype(dtype):
    target, draft = load_pair(dtype, verify=False)
    checks = []
    for domain in DOMAINS[:3] if dtype == "float32" else DOMAINS:
        decoding = decoded(
            target, load_prompts(domain)[0].prompt, draft=draft, gamma=8, max_new_tokens=32, stop_ids=None
        )
        checks.append(check_lossless(decoding))
    assert all(check.mismatch is None for check in checks), checks
    if dtype == "float32":
        assert all(check.decided is None for check in checks)
    else:
        assert sum(check.near_ties for check in checks) > 0


def test_the_command_does_not_call_a_near_tie_broken(monkeypatch, capsys):
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
    assert said["lossless"] == {**near.as_dict(), "mismatch": None}
