"""The `moespac` command: its two outputs, its exit codes, its errors."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from moespac_nb.cli import doctor
from moespac_nb.cli import main as cli
from moespac_nb.cli.doctor import describe, examine
from moespac_nb.datasets.files import DataIssue
from moespac_nb.utils.exceptions import MoespacError


def raising(error: BaseException) -> Callable[..., int]:
    def fail(json: bool = False) -> int:
        raise error

    return fail


def test_doctor_finds_a_whole_installation(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "every checksum right" in out
    assert out.endswith("all is well\n")


def test_doctor_speaks_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["doctor", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["packages"]["torch"]
    assert report["devices"]["cpu_count"] >= 1
    assert report["memory"]["total_bytes"] > 0
    assert report["data"]["files"] > 0


def test_doctor_says_what_to_do_about_damaged_data(monkeypatch, capsys) -> None:
    problem = DataIssue("pair/target.safetensors", "is damaged", "install it again")
    monkeypatch.setattr(doctor, "verify_checksums", lambda: [problem])
    assert cli.main(["doctor"]) == 1
    assert "to do      pair/target.safetensors: is damaged; install it again" in capsys.readouterr().out


def test_doctor_says_what_to_do_about_a_missing_and_an_old_package(monkeypatch) -> None:
    monkeypatch.setattr(doctor.metadata, "requires", lambda name: ["numpy>=9999", "no-such-package>=1"])
    report = examine()
    assert "pip install 'numpy>=9999'" in report["advice"][0]
    assert report["advice"][1] == "no-such-package is missing: pip install 'no-such-package>=1'"


def test_doctor_says_so_when_memory_is_short(monkeypatch) -> None:
    monkeypatch.setattr(doctor, "system_memory", lambda: {"total_bytes": 2**30, "available_bytes": 2**29})
    assert any(line.startswith("0.5 GiB of memory available") for line in examine()["advice"])


def test_a_report_without_known_memory_can_be_read() -> None:
    unknown = examine() | {"memory": {"total_bytes": None, "available_bytes": None}}
    assert "memory     unknown available of unknown" in describe(unknown)


def test_bad_input_is_one_line_on_stderr(monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli, "COMMANDS", (raising(MoespacError("γ is -1; expected: 0 or more")),))
    assert cli.main(["fail"]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "moespac: γ is -1; expected: 0 or more\n"


def test_bad_input_is_json_where_json_was_asked_for(monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli, "COMMANDS", (raising(MoespacError("γ is -1; expected: 0 or more")),))
    assert cli.main(["fail", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"error": "γ is -1; expected: 0 or more"}
    assert captured.err == ""


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "Missing command; see: moespac --help"),
        (["dokter"], "No such command 'dokter'. Did you mean 'doctor'?; see: moespac --help"),
        (["doctor", "--jsn"], "No such option: --jsn (Possible options: --json); see: moespac doctor --help"),
        (["replay"], "Missing argument 'DOMAIN|FILE'; see: moespac replay --help"),
        (["fit", "--machine"], "Option '--machine' requires an argument; see: --help"),
        (["record", "--prompt", "Hi"], "Missing option '--out'; see: moespac record --help"),
    ],
)
def test_a_command_line_that_makes_no_sense_is_bad_input(argv: list[str], message: str, capsys) -> None:
    assert cli.main(argv) == 2
    err = capsys.readouterr().err
    assert err == f"moespac: {message}\n"
    assert err.count("\n") == 1


def test_an_interrupt_ends_cleanly(monkeypatch, capsys) -> None:
    monkeypatch.setattr(cli, "COMMANDS", (raising(KeyboardInterrupt()),))
    assert cli.main(["fail"]) == 130
    assert capsys.readouterr().err == "moespac: interrupted\n"


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no pipe signal of this kind")
def test_a_reader_that_leaves_gets_no_complaint() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "moespac_nb.cli.main", "doctor"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout
    assert process.stderr
    process.stdout.close()
    err = process.stderr.read()
    assert process.wait() == cli.FAILED
    assert err == b""
