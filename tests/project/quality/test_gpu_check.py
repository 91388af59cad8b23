"""The check for a GPU works without one: a stage fails alone and in time, the report has all it found."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.engine.devices import Operation
from tests.helpers import gpu_stages
from tests.helpers.pretend_gpu import OnPretended, pretended_gpu
from tools import gpu_check
from tools.gpu import decodes, lanes, report, supervisor
from tools.gpu.made_model import Scripted
from tools.gpu.stage import Findings, InModule, Notes, Result, Setup, Stage
from tools.gpu.stages import contract, copies, families, overlap, policies
from tools.support.fake_cuda import FakeStream

DRY_LIMIT_S = 240  # for a machine that many share; it takes some 25 alone


def stage(number: int, run: Any, least_s: float = 0.2, wanted_s: float = 0.2, value: int = 1) -> Stage:
    return Stage(number, run.__name__, "something", run, least_s, wanted_s, value)


def supervised(stages: list[Stage], out: Path, minutes: float = 1.0) -> list[Result]:
    written: list[list[str]] = []
    results = supervisor.run_stages(
        stages,
        Setup(tiny=True, on_gpu=False, out=out),
        minutes,
        lambda now: written.append([result.outcome for result in now]),
    )
    assert written[-1] == [result.outcome for result in results]
    assert written[0][0] in ("running", "no time")  # as soon as it is
    assert len(written) > len(stages)  # after each, and at the end
    return results


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


# The dry run, whole.


@pytest.fixture(scope="module")
def dry(tmp_path_factory) -> dict[str, Any]:
    out = tmp_path_factory.mktemp("dry") / "new" / "folder"
    command = [sys.executable, "-m", "tools.gpu_check", "--dry-run", "--out", str(out)]
    run = subprocess.run(command, capture_output=True, text=True, timeout=DRY_LIMIT_S)
    assert run.returncode in (0, 1), run.stderr
    found = json.loads((out / report.JSON_NAME).read_text("utf-8"), parse_constant=pytest.fail)
    words = (out / report.REPORT_NAME).read_text("utf-8")
    assert run.stdout.startswith(words)
    return found | {
        "code": run.returncode,
        "report": words,
        "files": {path.name for path in out.iterdir()},
        "stages": {each["number"]: each for each in found["stages"]},
    }


def rows(found: dict[str, Any], number: int, start: str) -> list[dict[str, Any]]:
    tables = found["stages"][number]["findings"]["tables"]
    (title,) = [title for title in tables if title.startswith(start)]
    return tables[title]


def claims(found: dict[str, Any], holds: bool | None) -> set[int]:
    """The numbers of the stages with a claim that holds, does not, or could not be judged."""
    stages = found["stages"].items()
    return {
        number for number, ran in stages for claim in ran["findings"]["claims"] if claim["holds"] is holds
    }


def test_a_dry_run_comes_through_all_stages_and_writes_few_files(dry):
    outcomes = {number: ran["outcome"] for number, ran in dry["stages"].items()}
    assert outcomes == dict.fromkeys(range(1, 10), "done")
    assert dry["files"] == {report.JSON_NAME, report.REPORT_NAME, "machine.toml"}
    findings = [ran["findings"] for ran in dry["stages"].values()]
    assert all(found["facts"] or found["claims"] for found in findings)
    assert not any(found["cuts"] for found in findings)
    assert dry["gpu"] == "no GPU (dry run)"
    assert dry["code"] == bool(claims(dry, False))
    assert "dry run at tiny sizes" in dry["report"]
    assert str(Path(__file__).resolve().parents[3]) not in dry["report"]


def test_a_dry_run_tries_every_model_in_both_types(dry):
    models = rows(dry, 6, "One row a model")
    assert {(row["model"], row["dtype"]) for row in models} == {
        (name, dtype)
        for name in ("qwen3_moe", "mixtral", "olmoe", "deepseek_v2", "gpt_oss", "the bundled pair")
        for dtype in ("float32", "bfloat16")
    }
    assert all(row["runs"] == 1 and not row["errors"] for row in models)
    exact = [row for row in models if row["dtype"] == "float32"]
    assert all(row["tokens_equal"] == 1 for row in exact)
    assert all(not row["runs_without_slots"] for row in models)


def test_a_dry_run_has_a_row_for_each_policy_and_budget(dry):
    table = rows(dry, 9, "Routing and weights made")
    played = {(row["policy"], row["budget"]) for row in table}
    policies = ("on-demand", "static-hot", "recency", "spac-paper", "spac-joint")
    assert played >= {(policy, budget) for policy in policies for budget in ("10%", "50%")}
    assert {("all resident", "100%"), ("all resident, no draft", "100%")} <= played
    ours = [row for row in table if row["policy"] in policies]
    assert all(row["same"] is True and row["tokens_per_s"] > 0 for row in ours)
    hits = {(row["policy"], row["budget"]): row["hit_rate"] for row in ours}
    assert hits["static-hot", "50%"] > hits["static-hot", "10%"]
    facts = dry["stages"][9]["findings"]["facts"]
    assert float(facts["of them used by the window before"].rstrip("%")) > 50  # topics change slowly


def test_a_dry_run_lays_what_is_modelled_beside_what_is_measured(dry):
    table = rows(dry, 8, "The bundled pair")
    assert [row["time"] for row in table] == 3 * ["measured", "modelled"]
    assert all(row["window_ms"] > 0 and row["gpu_ms"] > 0 for row in table)
    assert {row["constant"] for row in rows(dry, 8, "This machine")} >= {"link.alpha_ms", "policy.plan_ms"}


def test_a_dry_run_says_what_it_could_not_judge(dry):
    assert claims(dry, None) >= {3, 4, 8}
    assert dry["stages"][3]["findings"]["facts"]["pinned"] == "not run: no GPU"


# A stage fails alone.


def test_a_stage_that_fails_keeps_what_it_said(tmp_path):
    failed, idle, fine = supervised(
        [stage(1, gpu_stages.fails), stage(2, gpu_stages.has_nothing_to_do), stage(3, gpu_stages.fine)],
        tmp_path,
    )
    assert failed.outcome == "failed"
    assert "ValueError: a page is missing" in failed.error
    assert 'tests/helpers/gpu_stages.py", line' in failed.error
    assert str(Path(__file__).resolve().parents[3]) not in failed.error
    assert failed.findings.claims == [{"words": "it works", "holds": True, "found": ""}]
    assert (idle.outcome, idle.error) == ("not run", "no GPU")
    assert fine.outcome == "done"
    assert fine.findings.facts["process"] != failed.findings.facts["process"]


def test_stages_that_end_well_share_a_process(tmp_path):
    first, second = supervised([stage(1, gpu_stages.fine), stage(2, gpu_stages.fine)], tmp_path)
    assert first.findings.facts["process"] == second.findings.facts["process"] != os.getpid()
    assert not is_running(first.findings.facts["process"])


LOST = Stage(1, "lost", "nothing", InModule("no_such_stage"), 0.2, 0.2, 1)


@pytest.mark.parametrize(
    ("broken", "outcome", "words"),
    [
        (stage(1, gpu_stages.dies), "died", "its process ended with 7"),
        (LOST, "failed", "No module named 'tools.gpu.stages.no_such_stage'"),
    ],
)
def test_a_stage_that_breaks_costs_itself_alone(tmp_path, broken, outcome, words):
    dead, fine = supervised([broken, stage(2, gpu_stages.fine)], tmp_path)
    assert dead.outcome == outcome
    assert words in dead.error
    assert dead.findings.facts or broken is LOST
    assert fine.outcome == "done"


def test_a_stage_that_hangs_is_ended_with_all_it_started(tmp_path, monkeypatch):
    monkeypatch.setattr(supervisor, "START_S", 3.0)
    hung, fine = supervised(
        [stage(1, gpu_stages.hangs, 2.0, 2.0), stage(2, gpu_stages.fine, 0.2, 99.0)], tmp_path
    )
    assert hung.outcome == "hung"
    assert 5.0 <= hung.seconds < 9
    assert "had not ended after" in hung.error
    assert fine.outcome == "done"
    deadline = time.monotonic() + 10
    while is_running(hung.findings.facts["child"]) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not is_running(hung.findings.facts["child"])


def test_a_stage_is_told_of_less_than_its_limit(tmp_path):
    (one,) = supervised([stage(1, gpu_stages.looks_at_the_clock, 1.0, 1.0)], tmp_path)
    assert one.outcome == "done"
    assert one.limit_s == 1.0
    assert 0.5 < one.findings.facts["told, s"] < 0.9
    assert one.findings.cuts == ["half of it"]


def test_without_time_the_less_valuable_are_cut_and_said_to_be(tmp_path):
    cheap, dear = supervised(
        [stage(1, gpu_stages.fine, 9.0, 9.0, value=1), stage(2, gpu_stages.fine, 9.0, 9.0, value=2)],
        tmp_path,
        minutes=(supervisor.END_S + 12) / 60,
    )
    assert (cheap.outcome, dear.outcome) == ("no time", "done")


# Time is given out.

STAGES = st.lists(
    st.tuples(st.floats(0.1, 60), st.floats(0, 200), st.integers(0, 5)), min_size=1, max_size=9
).map(
    lambda all_of: [
        Stage(number, "", "", gpu_stages.fine, least, least + more, value)
        for number, (least, more, value) in enumerate(all_of, 1)
    ]
)


@given(STAGES, st.floats(0, 600))
def test_time_is_given_to_the_most_valuable_first(stages, left_s):
    given_s = supervisor.allot(stages, left_s)
    assert sum(given_s.values()) <= left_s + 1e-6
    by_number = {each.number: each for each in stages}
    assert all(seconds >= by_number[number].least_s for number, seconds in given_s.items())
    without = [each for each in stages if each.number not in given_s]
    for each in without:  # those at least as valuable left no room for it
        before = [other for other in stages if other.number in given_s and other.value >= each.value]
        assert sum(other.least_s for other in before) + each.least_s > left_s - 1e-6


def test_what_is_left_is_shared_by_what_each_wants():
    first = Stage(1, "", "", gpu_stages.fine, 10, 20, 1)
    second = Stage(2, "", "", gpu_stages.fine, 10, 40, 1)
    assert supervisor.allot([first, second], 60) == {1: 20, 2: 40}
    assert supervisor.allot([first, second], 40) == {1: 15, 2: 25}
    assert supervisor.allot([second], 60) == {2: 60}  # what others have left


def test_all_stages_want_no_more_than_the_whole_check_has():
    wanted_s = sum(each.wanted_s for each in gpu_check.STAGES)
    assert 60 * gpu_check.MINUTES - 10 <= wanted_s <= 60 * gpu_check.MINUTES - supervisor.END_S
    assert len(supervisor.allot(gpu_check.STAGES, 200)) == len(gpu_check.STAGES)


# Stopped from outside.


def test_an_interrupt_ends_the_worker_and_leaves_what_was_found(tmp_path):
    last: list[Result] = []

    def write(now: list[Result]) -> None:
        last[:] = now
        if now[1].outcome == "running":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        supervisor.run_stages(
            [stage(1, gpu_stages.fine), stage(2, gpu_stages.hangs, 20, 20), stage(3, gpu_stages.fine)],
            Setup(tiny=True, on_gpu=False, out=tmp_path),
            1.0,
            lambda now: write(now) if not (tmp_path / "over").exists() else None,
        )
    assert [result.outcome for result in last] == ["done", "interrupted", "waiting"]


# The check itself, as a command, on a stage that does not end by itself.
ENDLESS_CHECK = """
import sys
from tests.helpers import gpu_stages
from tools import gpu_check
from tools.gpu.stage import Stage
if __name__ == "__main__":
    stages = enumerate((gpu_stages.fine, gpu_stages.hangs), 1)
    gpu_check.STAGES = tuple(Stage(n, run.__name__, "", run, 1, 100, 1) for n, run in stages)
    sys.exit(gpu_check.main(sys.argv[1:]))
"""


def test_a_termination_leaves_a_report(tmp_path):
    script, out = tmp_path / "endless_check.py", tmp_path / "out"
    script.write_text(ENDLESS_CHECK, "utf-8")
    command = [sys.executable, str(script), "--dry-run", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(each for each in sys.path if each)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    child, found = out / "child", out / report.JSON_NAME
    deadline = time.monotonic() + DRY_LIMIT_S
    while not (child.exists() and child.read_text()) and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    said, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert not is_running(int(child.read_text()))
    assert not [path for path in out.iterdir() if path.name.endswith(".tmp")]
    stages = json.loads(found.read_text("utf-8"))["stages"]
    assert [each["outcome"] for each in stages] == ["done", "interrupted"]
    assert "interrupted: the check was stopped" in said
    assert (out / report.REPORT_NAME).read_text("utf-8") in said


def test_a_check_stopped_after_its_last_stage_says_so(tmp_path, monkeypatch, capsys):
    def stopped(*_arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(gpu_check, "run_stages", stopped)
    monkeypatch.setattr(gpu_check, "STAGES", ())
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert gpu_check.main(["--dry-run", "--out", str(tmp_path / "out")]) == 1
    assert "interrupted" in capsys.readouterr().err


# The report.

ABOUT = {"date": "2026-01-02", "command": "python -m tools.gpu_check", "dry_run": False, "minutes": 8.0}


def test_the_report_puts_what_does_not_hold_first():
    one, two = (Result.of(stage(number, gpu_stages.fine)) for number in (1, 2))
    one.outcome, two.outcome, two.error = "done", "failed", "ValueError: ```no```"
    for message in [
        ("fact", "GPU", "NVIDIA A100-SXM4-80GB"),
        ("claim", "copies overlap", False, "1.9 ×"),
        ("row", "Table", {"memory": "a|b", "us": 1234.5678}),
        ("row", "Table", {"memory": "c", "more": float("nan"), "fits": True, "bytes": 2**20}),
        ("cut", "half"),
    ]:
        one.findings.take(message)
    words = report.markdown(ABOUT, [one, two])
    assert words.startswith("# GPU check: NVIDIA A100-SXM4-80GB, 2026-01-02\n")
    assert "1 of 2 stages ran to their end, 1 claims do not hold" in words
    assert words.index("- **does not hold** (fine): copies overlap") < words.index("## 1. fine")
    assert "| a\\|b | 1235 |  |  |  |" in words
    assert "| c |  | nan | yes | 1,048,576 |" in words
    assert "'''no'''" in words
    assert report.file_name(ABOUT, [one]) == "nvidia-a100-sxm4-80gb-2026-01-02.md"


def test_what_is_written_is_whole_and_plain_json(tmp_path):
    result = Result.of(stage(1, gpu_stages.fine))
    result.findings.take(("fact", "ratio", float("inf")))
    result.findings.take(("fact", "type", torch.float32))
    report.write(tmp_path, ABOUT, [result])
    found = json.loads((tmp_path / report.JSON_NAME).read_text("utf-8"), parse_constant=pytest.fail)
    assert found["stages"][0]["findings"]["facts"] == {"ratio": "inf", "type": "torch.float32"}
    assert {path.name for path in tmp_path.iterdir()} == {report.JSON_NAME, report.REPORT_NAME}


# What stages reckon with.


def said(run: Any, *args: Any) -> Findings:
    findings = Findings()
    run(*args, Notes(findings.take, 60.0))
    return findings


@pytest.mark.parametrize(
    ("output", "ended", "holds", "rows"),
    [
        ("t.py::test_a[cuda] PASSED [ 50%]\nt.py::test_b[cuda-gpu] SKIPPED (shares) [100%]", "0", True, 0),
        ("t.py::test_a[cuda] FAILED [100%]\nFAILED t.py::test_a[cuda] - ValueError: 3", "1", False, 1),
        ("t.py::test_a[cuda] SKIPPED (no GPU: the order) [100%]", "0", False, 0),
        ("t.py::test_a[cuda] PASSED [ 50%]\nt.py::test_b[cuda] ", "the deadline, after 9 s", False, 0),
        ("ImportError while loading conftest", "4", False, 0),
    ],
)
def test_what_pytest_said_is_read(output, ended, holds, rows):
    findings = Findings()
    contract.read(output, ended, Notes(findings.take, 60.0), needs_gpu=True)
    (claim,) = findings.claims
    assert claim["holds"] is holds
    assert len(findings.tables.get("Tests that did not pass", [])) == rows
    if rows:
        assert findings.tables["Tests that did not pass"][0]["reason"] == "ValueError: 3"


def test_a_links_constants_are_found_from_its_copies():
    sizes = (2**16, 2**20, 2**24, 2**28)
    alpha_s, bytes_per_s = copies.fit(sizes, [8e-6 + size / 50e9 for size in sizes])
    assert alpha_s == pytest.approx(8e-6, rel=1e-3)
    assert bytes_per_s == pytest.approx(50e9, rel=1e-3)
    assert copies.fit((1, 2), [1.0, 4.0]) == (0.0, 0.5)  # no link: slower by the byte


def test_a_lane_is_at_work_within_the_windows_alone():
    ran = [Operation("gpu", "", 0.0, 2.0), Operation("gpu", "", 3.0, 9.0), Operation("link", "", 1.5, 3.5)]
    busy = lanes.busy_s(ran, [(1.0, 4.0), (5.0, 6.0)])
    assert (busy["window"], busy["gpu"], busy["link"], busy["cpu"]) == (4.0, 3.0, 2.0, 0.0)


@pytest.mark.parametrize("waits", [True, False])
def test_a_device_that_does_not_wait_is_found_out(monkeypatch, waits):
    if not waits:
        monkeypatch.setattr(FakeStream, "wait_event", lambda self, event: None)
    findings = Findings()
    overlap.on_stand_in(Notes(findings.take, 60.0), overlap.DRY)
    assert [claim["holds"] for claim in findings.claims] == [waits, waits]


def test_the_scripted_draft_is_right_four_times_in_five():
    text = np.random.default_rng(0).integers(50, size=2000).tolist()
    draft = Scripted(text, 50, "cpu")
    drafted = draft.propose(text[:10], np.zeros(1990), None, 50)
    right = (drafted.ids.numpy() == text[10:]).mean()
    assert 0.77 < right < 0.83
    assert torch.equal(drafted.probs.argmax(-1), drafted.ids)
    again = draft.propose(text[:700], np.zeros(8), None, 50)
    assert torch.equal(again.ids, drafted.ids[690:698])
    assert len(draft.propose(text, np.zeros(8), None, 50).ids) == 0


@pytest.mark.parametrize(
    ("new_ids", "found"),
    [
        ([4, 5, 6], "equal"),
        ([4, 5], "another length"),
        ([4, 7, 0], "near tie"),  # the plain model has 5 before 7 by a hair
        ([4, 8, 0], "differs at token 1, 0.5 of the largest logit"),
        ([9, 5, 6], "differs at token 0, 1 of the largest logit"),
    ],
)
def test_where_texts_part_a_near_tie_is_told_from_another_text(monkeypatch, new_ids, found):
    logits = {(1,): {4: 10.0}, (1, 4): {5: 10.0, 7: 9.99, 8: 5.0}, (1, 4, 5): {6: 10.0}}

    def logits_of(_model, ids, _setup):
        row = torch.zeros(10)
        for token, logit in logits[tuple(ids)].items():
            row[token] = logit
        return row[None]

    monkeypatch.setattr(decodes, "logits_of", logits_of)
    case = decodes.Case("", None, None, None, [1], 4, 3, [4, 5, 6], torch.zeros(1), np.zeros(1))
    assert case.difference(new_ids, 0.001, None) == found


def test_runs_change_policy_and_budget_each_time():
    mixed = list(families._mixed(families.POLICIES, families.BUDGETS))
    assert sorted(mixed) == sorted(product(families.POLICIES, families.BUDGETS))
    assert all(a[0] != b[0] for a, b in pairwise(mixed))
    assert len({budget for _, budget in mixed[:3]}) == 3


@pytest.mark.parametrize("broke", [families._broke, policies._broke])
def test_an_error_of_the_gpu_ends_its_stage(broke):
    findings = Findings()
    where = ("a", "b", "c", "d") if broke is families._broke else ("a", "b")
    broke(Notes(findings.take, 60.0), *where, ValueError("too wide"))
    with pytest.raises(RuntimeError, match="CUDA error"):
        broke(Notes(findings.take, 60.0), *where, RuntimeError("CUDA error: an illegal memory access"))
    ((first, second),) = findings.tables.values()
    assert first["error"] == "ValueError: too wide"
    assert second["error"].startswith("RuntimeError: CUDA error")


# What only a GPU reaches, on one that is pretended.


@pytest.mark.parametrize(
    "module", ["computer", "copies", "overlap", "kernels", "families", "memory", "modelled", "policies"]
)
def test_the_lines_that_only_a_gpu_reaches_run(module, tmp_path, monkeypatch):
    from importlib import import_module

    from moespac_nb.hardware import calibration

    def without_gpu(effort):
        return calibration.measure_host_as_device(effort, calibration.measure_host(effort))

    monkeypatch.setattr(calibration, "measure_cuda", without_gpu)
    if module == "families":
        monkeypatch.setattr(import_module("tools.gpu.stages.families"), "FAMILIES", ("qwen3_moe",))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with pretended_gpu(monkeypatch):
            findings = said(
                import_module(f"tools.gpu.stages.{module}").run, OnPretended(True, True, tmp_path)
            )
    finally:
        torch.set_num_threads(threads)
    assert not [title for title in findings.tables if title == "Runs that raised an error"]
    assert not [row for table in findings.tables.values() for row in table if row.get("error")]
    timed = (
        "take at most",
        "within",
        "as fast as",
        "goes on while",
    )  # a pretended GPU has no time of its own
    unjudged = [claim for claim in findings.claims if claim["holds"] is None]
    assert all("ready" in claim["words"] for claim in unjudged)
    false = [claim for claim in findings.claims if claim["holds"] is False]
    assert not [claim for claim in false if not any(words in claim["words"] for words in timed)]
    assert findings.claims or findings.facts["GPU"] == "Pretended GPU"


# Bad input.


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stages", "3,12"], "--stages is '3,12'; expected: numbers from 1 to 9"),
        (["--stages", ""], "--stages is ''; expected"),
        (["--minutes", "0"], "--minutes is 0; expected: above 0"),
        (["--minutes", "nan"], "--minutes is nan; expected: above 0"),
        ([], "finds no GPU; expected: a machine with an NVIDIA GPU.* or --dry-run"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is(tmp_path, monkeypatch, arguments, message):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit, match=message):
        gpu_check.main(["--out", str(tmp_path / "out"), *arguments])
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SystemExit, match=r"--out is .*file.*; expected: a folder to write to"):
        gpu_check.main(["--dry-run", "--out", str(tmp_path / "file")])


def test_stages_are_chosen_by_number_in_their_order():
    assert [each.number for each in gpu_check.chosen("5, 3,5")] == [1, 3, 5]
    assert gpu_check.chosen(None) == gpu_check.STAGES
    assert len({each.value for each in gpu_check.STAGES}) == len(gpu_check.STAGES)
