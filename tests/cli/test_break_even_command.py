"""`moespac break-even`: the table says what the function computes."""

from __future__ import annotations

import json

import numpy as np
import pytest

from moespac_nb.cli.main import main
from moespac_nb.hardware.break_even import break_even_precision
from moespac_nb.hardware.costs import cost_model


def called(capsys, *arguments: str) -> tuple[int, str, str]:
    code = main(["break-even", *arguments])
    shown = capsys.readouterr()
    return code, shown.out, shown.err


@pytest.mark.parametrize("shared", [False, True])
def test_the_document_holds_what_the_function_computes(capsys, shared) -> None:
    options = ["--positions", "4", "--machine", "rtx3060", *(["--shared-bus"] if shared else [])]
    code, words, _ = called(capsys, *options, "--json")
    found = json.loads(words)
    assert code == 0
    costs = cost_model("rtx3060", "qwen3-30b-a3b", shared_bus=shared)
    hidden = np.array(found["hidden_share"])
    for miss, shares in found["precision"].items():
        assert shares == pytest.approx(break_even_precision(costs, hidden, positions=4, miss=miss))


def test_a_prefetch_that_cannot_pay_never_does(capsys) -> None:
    code, words, _ = called(capsys)
    assert code == 0
    cpu, load = words.splitlines()[-2:]
    assert cpu.split()[2] == "never"  # a copy that nothing hides takes longer than the CPU lane
    assert load.split()[-1] == "0%"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--positions", "0"), "positions is 0"),
        (("--machine", "rtx409"), "did you mean 'rtx4090'"),
        (("--model", "qwen"), "model"),
    ],
)
def test_bad_input_is_one_clear_line(capsys, arguments, said) -> None:
    code, words, error = called(capsys, *arguments)
    assert (code, words, error.count("\n")) == (2, "", 1)
    assert said in error
