"""The runner of faults: it tells a caught one from one that survives, and a fault that has lost its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.quality import mutants

TOOLS = Path(__file__).resolve().parents[3] / "tools/quality"

CODE = "def double(n):\n    return 2 * n\n\n\ndef unused(n):\n    return n + 1\n"
TEST = "from code_under_test import double\n\n\ndef test_double():\n    assert double(2) == 4\n"


def fault(name: str, was: str, became: str, more: str = "tests = ['tests/test_code.py']") -> str:
    about = f"name = '{name}'\nfile = 'code_under_test.py'\nwas = '{was}'\nbecame = '{became}'"
    return f"[[mutant]]\n{about}\n{more}\n"


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "code_under_test.py").write_text(CODE)
    (tmp_path / "tests" / "test_code.py").write_text(TEST)
    return tmp_path


def read(checkout: Path, text: str) -> list[mutants.Mutant]:
    (checkout / "faults.toml").write_text(text)
    return mutants.read(checkout / "faults.toml", checkout)


def test_every_fault_of_the_list_still_has_its_place_in_the_code(capsys) -> None:
    assert len(mutants.read(TOOLS / "mutants.toml")) > 60
    assert mutants.main(["--list"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 60


def test_caught_survived_and_equal_are_told_apart(checkout: Path, capsys) -> None:
    faults = read(
        checkout,
        fault("seen", "2 * n", "3 * n")
        + fault("same for 2", "2 * n", "n ** 2")
        + fault("no matter", "n + 1", "1 + n", "equal = 'a sum has no order'"),
    )
    known = checkout / "build" / "known.json"
    verdicts = {"seen": "caught", "same for 2": "SURVIVED", "no matter": "equal"}
    assert mutants.run(faults, known, checkout) == verdicts
    assert (checkout / "code_under_test.py").read_text() == CODE
    assert capsys.readouterr().out.count("\n") == 2
    assert mutants.run(faults, known, checkout) == verdicts
    assert capsys.readouterr().out == ""  # nothing was tried again
    test = checkout / "tests" / "test_code.py"
    test.write_text(TEST + "    assert double(3) == 6\n")
    assert set(mutants.run(faults, known, checkout).values()) == {"caught", "equal"}
    test.write_text("def test_double():\n    assert False\n")
    with pytest.raises(mutants.MutantError, match="::test_double does not pass without any fault"):
        mutants.run(faults, known, checkout)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (fault("gone", "4 * n", "n"), "gone: `was` stands 0 times in code_under_test.py"),
        (fault("often", "return", "pass"), "often: `was` stands 2 times"),
        (fault("nothing", "2 * n", "2 * n"), "nothing: it changes nothing"),
        (fault("untested", "2 * n", "n", ""), "untested: it must have `tests`"),
        (
            fault("elsewhere", "2 * n", "n", "tests = ['tests/test_gone.py']"),
            "there is no tests/test_gone.py",
        ),
        (fault("misspelt", "2 * n", "n", "test = []"), "misspelt: .*unexpected keyword argument 'test'"),
        (2 * fault("twice", "2 * n", "n"), "twice: the name stands twice"),
    ],
)
def test_a_list_that_does_not_fit_the_code_is_refused(checkout: Path, text: str, message: str) -> None:
    with pytest.raises(mutants.MutantError, match=message):
        read(checkout, text)
