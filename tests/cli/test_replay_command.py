"""`moespac replay`: the figures of a replay in words and as JSON, a timeline, clear words on bad input."""

from __future__ import annotations

import json
import re

import pytest

from moespac_nb.cli import main as cli
from moespac_nb.datasets.files import data_path
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from moespac_nb.trace.trace import Trace
from tools.support.synthetic_trace import made_up

WANTED = {
    "tps_modelled", "hit_rate", "late_rate", "bytes_per_token", "wasted_bytes", "stall_share", "cpu_share",
    "policy_ms_per_step", "tokens", "budget_bytes", "accounting", "fits",
}  # fmt: skip
SMALL = MoEShape(4, 16, 2)


@pytest.fixture(scope="module")
def traces(tmp_path_factory):
    """A folder with two traces of one geometry, and one of a model profile's own."""
    folder = tmp_path_factory.mktemp("traces")
    made_up(SMALL, gamma=4, steps=12, seed=1).save(folder / "a.npz")
    made_up(SMALL, gamma=4, steps=12, seed=2).save(folder / "b.npz")
    made_up(MoEShape(32, 8, 2), gamma=2, steps=3, prompt=4).save(folder / "mixtral.npz")
    return folder


def called(capsys, *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["replay", *map(str, arguments)])
    return code, *capsys.readouterr()


def figures(capsys, *arguments: object) -> dict:
    code, out, err = called(capsys, *arguments, "--json")
    assert (code, err) == (0, "")
    return json.loads(out)


def test_json_holds_the_figures_of_the_replay_it_names(capsys, traces):
    asked = ("--budget", "25%", "--policy", "recency", "--machine", "laptop4060")
    found = figures(capsys, traces / "a.npz", *asked, "--model", "olmoe-1b-7b")
    own = replay(Trace.load(traces / "a.npz"), "recency", "25%", machine="laptop4060", model="olmoe-1b-7b")
    assert found.keys() > WANTED
    assert {name: found[name] for name in WANTED} == {name: getattr(own, name) for name in WANTED}
    assert found["label"] == "modelled"
    assert found["counters"] == vars(own.counters)


def test_without_slots_the_time_is_what_the_profiles_numbers_add_up_to(capsys, traces):
    found = figures(capsys, traces / "mixtral.npz", "--policy", "cpu-only", "--model", "mixtral-8x7b")
    assert found["notes"] == []
    # Numbers of rtx4090.toml and mixtral-8x7b.toml: 32 layers, width 4096, experts of 14336, 16 bits.
    trace = Trace.load(traces / "mixtral.npz")
    expert, attention, read, gpu = 3 * 4096 * 14336, 41_943_040, 1008e9, 165.2e12
    layer = attention + 4096 * 8
    dense_s = (2 * layer + 2 * 1024 * 2048) / read
    head_s = 2 * 32_000 * 4096 / read
    total_s = 0.0
    for step in trace:
        total_s += (
            (len(step.window) - 1) * (0.5e-3 + 3.9996e9 / read)
            + head_s
            + 32 * (dense_s + len(step.window) * 2 * layer / gpu)
        )
        total_s += sum(max(2 * expert / 53.8e9, n * 2 * expert / 1e12) for n in step.counts[step.counts > 0])
    assert found["tokens"] == len(trace.committed_ids)
    assert found["tps_modelled"] == pytest.approx(found["tokens"] / total_s)
    assert (found["cpu_share"], found["hit_rate"], found["bytes_per_token"]) == (1, 0, 0)


def test_words_name_what_everything_is(capsys, traces):
    code, out, err = called(capsys, traces / "a.npz")
    assert (code, err) == (0, "")
    lines = dict(line.split(maxsplit=1) for line in out.splitlines())
    assert out.startswith("modelled, every figure: qwen3-30b-a3b on rtx4090, slots-equal\n")
    assert lines["policy"].startswith("spac-joint, ")
    assert lines["budget"].startswith("17%: 10 slots, ")
    shares = [int(share) for share in re.findall(r"(\d+)%", lines["time"])]
    assert sum(shares) == pytest.approx(100, abs=3)
    found = figures(capsys, traces / "a.npz")
    hit, late, cpu = (found[name] for name in ("hit_rate", "late_rate", "cpu_share"))
    assert len({hit, late, cpu, 0}) == 4
    asked = f"{hit:.1%} ready, {late:.1%} late, {1 - hit - late:.1%} missed"
    assert lines["experts"] == f"{asked}; {cpu:.0%} of the work on the CPU lane"
    wasted = found["wasted_bytes"] / found["counters"]["bytes"]
    assert 0 < wasted < 1
    assert lines["copies"] == (
        f"{found['bytes_per_token'] / 1e6:.1f} MB a token; {wasted:.0%} of the bytes never used"
    )


def test_what_is_scaled_is_said_and_nothing_where_nothing_is(capsys, traces):
    own = figures(capsys, traces / "mixtral.npz", "--model", "mixtral-8x7b-4bit")
    assert own["notes"] == []
    other = figures(capsys, traces / "a.npz", "--model", "mixtral-8x7b-4bit")
    assert "experts a layer: the trace has 16, mixtral-8x7b 8" in [
        n.replace("-4bit", "") for n in other["notes"]
    ]
    _, out, _ = called(capsys, traces / "a.npz", "--model", "mixtral-8x7b-4bit")
    assert [line for line in out.splitlines() if line.startswith("scaled")] == [
        f"scaled    {note}" for note in other["notes"]
    ]


def test_a_speed_of_a_part_of_the_model_says_so_beside_that_of_the_whole(capsys, traces):
    own = called(capsys, traces / "mixtral.npz", "--model", "mixtral-8x7b-4bit")[1]
    assert "whole model" not in own
    found = figures(capsys, traces / "a.npz")
    said = called(capsys, traces / "a.npz")[1]
    whole = f"about {found['tps_whole_model']:.3g} of the whole model"
    assert f"{found['tps_modelled']:.2f} tokens a second of the trace's layers, {whole}" in said
    table = called(capsys, traces / "a.npz", "--budget", "17%,50%")[1]
    assert re.search(rf"17% .* ~{found['tps_whole_model']:.3g} ", table)


def test_several_policies_and_budgets_are_a_table(capsys, traces):
    asked = (traces / "a.npz", "--policy", "cpu-only,recency", "--budget", "10%, 50%")
    several = figures(capsys, *asked)["results"]
    assert [(one["policy"], one["budget"]) for one in several] == [
        ("cpu-only", "10%"), ("cpu-only", "50%"), ("recency", "10%"), ("recency", "50%"),
    ]  # fmt: skip
    alone = figures(capsys, traces / "a.npz", "--policy", "recency", "--budget", "50%")
    assert {name: alone[name] for name in WANTED} == {name: several[3][name] for name in WANTED}
    _, out, _ = called(capsys, *asked)
    of_table = ("policy ", "cpu-only", "recency")
    header, *rows = [re.split(r" {2,}", line) for line in out.splitlines() if line.startswith(of_table)]
    for row, one in zip(rows, several, strict=True):
        assert dict(zip(header, row, strict=True)) == {
            "policy": one["policy"],
            "budget": one["budget"],
            "slots": f"{one['slots']}",
            "tokens/s": f"{one['tps_modelled']:.2f}",
            "whole model": f"~{one['tps_whole_model']:.3g}",
            "ready": f"{one['hit_rate']:.1%}",
            "late": f"{one['late_rate']:.1%}",
            "MB/token": f"{one['bytes_per_token'] / 1e6:.1f}",
            "wasted MB": f"{one['wasted_bytes'] / 1e6:.0f}",
            "waiting": f"{one['stall_share']:.0%}",
            "on CPU": f"{one['cpu_share']:.0%}",
            "ms/window": f"{one['policy_ms_per_step']:.2f}",
            "fits": "yes" if one["fits"] else "no",
        }


def test_the_draft_is_charged_where_devices_are_equal(capsys, traces):
    asked = (traces / "a.npz", "--budget", "50%", "--model", "qwen3-30b-a3b")
    slots, device = (figures(capsys, *asked, "--accounting", f"{of}-equal") for of in ("slots", "device"))
    assert (slots["accounting"], device["accounting"]) == ("slots-equal", "device-equal")
    assert device["budget_bytes"] < slots["budget_bytes"]


def test_what_does_not_fit_the_machine_is_flagged(capsys, traces):
    asked = (traces / "a.npz", "--machine", "rtx3060", "--model", "mixtral-8x7b")
    assert figures(capsys, *asked)["fits"] is False
    assert "does not fit: more than rtx3060 holds" in called(capsys, *asked)[1]


def test_a_policy_that_knows_other_texts_is_told_of_those_named(capsys, traces):
    asked = (traces / "a.npz", "--policy", "static-hot")
    other, itself = (figures(capsys, *asked, "--expert-usage", traces / name) for name in ("b.npz", "a.npz"))
    assert other["hit_rate"] < itself["hit_rate"]
    code, out, err = called(capsys, *asked)
    assert (code, out) == (2, "")
    assert "policy 'static-hot' must know how often other texts used each expert" in err


def test_a_domain_is_its_bundled_trace_and_its_other_half_is_known(capsys, monkeypatch, traces):
    from moespac_nb.datasets import traces as bundles

    asked = []

    def bundled(name, **chosen):
        if name != "math":
            return Trace.load(name)
        asked.append((name, *chosen.values()))
        return Trace.load(traces / ("a.npz" if chosen["half"] == "report" else "b.npz"))

    monkeypatch.setattr(bundles, "load_trace", bundled)
    found = figures(capsys, "math", "--policy", "recency")
    assert asked == [("math", "sample", True, "report")]
    assert found["trace"] == "math, sample, dense, report half"
    named = figures(capsys, traces / "a.npz", "--policy", "static-hot", "--expert-usage", traces / "b.npz")
    known = figures(capsys, "math", "--policy", "static-hot")
    assert asked[1:] == [("math", "sample", True, "report"), ("math", "sample", True, "tune")]
    assert known["hit_rate"] == named["hit_rate"]


def test_cold_texts_start_with_empty_slots(capsys, traces, tmp_path):
    from moespac_nb.trace.editing import concatenate

    concatenate([Trace.load(traces / name) for name in ("a.npz", "a.npz")]).save(tmp_path / "twice.npz")
    warm, cold = (
        figures(capsys, tmp_path / "twice.npz", "--policy", "recency", *how) for how in ((), ("--cold",))
    )
    assert cold["hit_rate"] < warm["hit_rate"]


def test_the_timeline_is_a_whole_chrome_trace(capsys, traces, tmp_path):
    path = tmp_path / "run.json"
    found = figures(capsys, traces / "a.npz", "--policy", "recency", "--timeline", path)
    written = json.loads(path.read_text())
    assert found["timeline"] == str(path)
    assert written["otherData"]["label"] == "modelled: recency, 17%, qwen3-30b-a3b on rtx4090"
    ran = [event for event in written["traceEvents"] if event["ph"] == "X"]
    copied = sum(event["args"]["size_bytes"] for event in ran if event["name"].startswith("copy"))
    assert copied == found["counters"]["bytes"] + found["prefill_bytes"] > 0
    assert list(tmp_path.iterdir()) == [path]
    _, _, err = called(capsys, traces / "a.npz", "--timeline", path)
    assert err == f"moespac: {path} is there already and will be replaced\n"


def test_more_than_everything_is_a_warning(capsys, traces):
    asked = (traces / "mixtral.npz", "--budget", "900GiB", "--policy", "recency")
    code, out, err = called(capsys, *asked)
    assert code == 0
    assert re.fullmatch(r"moespac: warning: budget is '900GiB'.*and no more is used\n", err)
    assert ": 256 slots, " in out
    assert figures(capsys, *asked)["warnings"] == [err.removeprefix("moespac: warning: ").strip()]


def profile_with(tmp_path, kind: str, name: str, line: str) -> str:
    """A bundled profile with one line of it changed, as a file of one's own."""
    key = line.split(" = ")[0]
    text = data_path(f"profiles/{kind}/{name}.toml").read_text()
    changed, found = re.subn(rf"^{key} = .*$", line, text, count=1, flags=re.MULTILINE)
    assert found == 1
    (tmp_path / "own.toml").write_text(changed)
    return str(tmp_path / "own.toml")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--budget", "0"), "budget is '0'; expected: a share above 0%"),
        (("--budget", "0%"), "budget is '0%'; expected: a share above 0%"),
        (("--budget", "1"), "budget is '1', 1 bytes on this model; expected: at least one slot"),
        (("--budget", "1.5"), "budget is '1.5'; expected: .*such as '25%'"),
        (("--budget", "101%"), "budget is '101%'; expected: .*up to 100%"),
        (("--budget=-3GiB",), "budget is '-3GiB'"),
        (("--budget", "12 parsecs"), "budget is '12 parsecs'; expected: .*a size above 0 with its unit"),
        (("--budget", "1%"), "budget is '1%', .*expected: at least one slot, 9437184 bytes"),
        (("--budget", "25%,"), "--budget is '25%,'; expected: one, or several with commas"),
        (("--policy", "spac-joins"), "policy is 'spac-joins'; expected: .*did you mean 'spac-joint'"),
        (("--machine", "rtx4080"), "machine is 'rtx4080'; expected: .*did you mean 'rtx4090'"),
        (("--machine", "absent.toml"), "absent.toml is not there; expected: a profile in TOML"),
        (("--model", "qwen3-30b"), "model is 'qwen3-30b'; .*did you mean 'qwen3-30b-a3b'"),
        (("--accounting", "slot-equal"), "accounting is 'slot-equal'; .*did you mean 'slots-equal'"),
        (("--context", "0"), "context is 0; expected: 1 to"),
        (("--gamma", "4"), "gamma is 4 and the trace is not dense"),
        (("--half", "tune"), "half is 'tune' and .*a.npz' is no domain; expected: half with one of mcq"),
        (("--policy", "recency,on-demand"), "--timeline was given with 2 replays; expected: with one"),
        (("--expert-usage", "absent.npz", "--policy", "static-hot"), "absent.npz"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(capsys, traces, tmp_path, arguments, said):
    asked = (traces / "a.npz", "--policy", "recency", *arguments, "--timeline", tmp_path / "run.json")
    code, out, err = called(capsys, *asked)
    assert (code, out) == (2, "")
    assert err.startswith("moespac: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("bandwidth_gb_per_s = nan", "bandwidth_gb_per_s is nan; expected: a number of GB/s"),
        ("bandwidth_gb_per_s = inf", "bandwidth_gb_per_s is inf; expected: a number of GB/s"),
        ("tflops = -1", "device.tflops is -1; expected: a number"),
        ("plan_ms = 'much'", "policy.plan_ms is 'much'; expected: a number of milliseconds"),
    ],
)
def test_a_constant_that_is_none_is_named_with_its_file(capsys, traces, tmp_path, line, said):
    own = profile_with(tmp_path, "machines", "rtx4090", line)
    code, out, err = called(capsys, traces / "a.npz", "--machine", own)
    assert (code, out) == (2, "")
    assert own in err
    assert said in err


def test_a_negative_constant_of_a_model_is_refused(capsys, traces, tmp_path):
    own = profile_with(tmp_path, "models", "olmoe-1b-7b", "bits_per_weight = -4")
    code, out, err = called(capsys, traces / "a.npz", "--model", own)
    assert (code, out) == (2, "")
    assert "bits_per_weight is -4; expected: a number of bits, from 1" in err


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("maths", "'maths' is neither a file nor a domain; expected: .*did you mean 'math'"),
        ("notes.txt", "notes.txt"),
    ],
)
def test_what_is_no_trace_is_refused(capsys, tmp_path, monkeypatch, what, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("no trace")
    code, out, err = called(capsys, what)
    assert (code, out) == (2, "")
    assert re.search(said, err)


def test_a_timeline_that_cannot_be_written_is_said_before_any_work(capsys, traces, tmp_path, monkeypatch):
    import moespac_nb.simulation.replay as replays

    monkeypatch.setattr(replays, "replay", None)
    for path in (tmp_path / "absent" / "run.json", tmp_path):
        code, out, err = called(capsys, traces / "a.npz", "--timeline", path)
        assert (code, out) == (2, "")
        assert "expected: a file in a folder that is there" in err


def test_an_error_is_json_where_json_was_asked_for(capsys, traces):
    code, out, _ = called(capsys, traces / "a.npz", "--policy", "mru", "--json")
    assert code == 2
    assert json.loads(out)["error"].startswith("policy is 'mru'; expected: ")
