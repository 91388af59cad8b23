"""Calibration: the clock's readings become a profile that loads as a machine."""

from __future__ import annotations

import json
import tomllib

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from moespac_nb.cli import main as cli
from moespac_nb.hardware import calibration, measurement
from moespac_nb.hardware.calibration import Calibration, calibrate, to_toml, write_machine
from moespac_nb.hardware.costs import cost_model
from moespac_nb.hardware.machine import Machine, load_machine
from moespac_nb.hardware.measurement import Effort, link_of, median_seconds
from moespac_nb.hardware.profile_files import profile_keys
from moespac_nb.policies import timing
from moespac_nb.policies.timing import measure_planning_s
from moespac_nb.utils.exceptions import InvalidInputError

NUMBERS = {key for key, constant in profile_keys({"": Machine}).items() if constant.unit}


@pytest.fixture(scope="module")
def measured() -> Calibration:
    """A real measurement, as small as it can be."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calibration, "QUICK", Effort(buffer_bytes=2**20, experts=1, repeats=2))
        return calibrate(planning_s=measure_planning_s, quick=True)


def test_what_was_measured_loads_as_a_machine(measured, tmp_path) -> None:
    path = tmp_path / "here.toml"
    write_machine(measured, path)
    here = load_machine(path)
    assert here.label == f"measured on {measured.on}"
    assert here.host_flops_per_s == pytest.approx(1e9 * measured.values["host.gflops"], rel=1e-5)
    assert here.link_bytes_per_s == pytest.approx(1e9 * measured.values["link.bandwidth_gb_per_s"], rel=1e-5)
    assert here.planning_s > 0
    assert cost_model(path, "bundled-pair").cpu_s(1) > 0


def test_every_constant_is_measured_or_says_why_not(measured) -> None:
    assert measured.values.keys() == measured.how.keys() == NUMBERS
    assumed = {key for key, how in measured.how.items() if not how.startswith("measured: ")}
    assert assumed <= {"device.reserved_gib"}
    assert "torch" in measured.versions


@given(st.floats(0, 1), st.floats(1e6, 1e12), st.integers(1, 10**6), st.integers(10**7, 10**10))
def test_a_link_s_two_numbers_come_back_from_two_copies(alpha_s, bytes_per_s, small, large) -> None:
    times = [alpha_s + size / bytes_per_s for size in (small, large)]
    found_alpha_s, found_rate = link_of(small, times[0], large, times[1])
    if (large - small) / bytes_per_s > 1e-6 * alpha_s:  # what rounding leaves to see
        assert found_rate == pytest.approx(bytes_per_s, rel=1e-6)
        assert found_alpha_s == pytest.approx(alpha_s, rel=1e-6, abs=1e-6 * times[1])


def test_a_clock_s_caprice_makes_no_negative_constant() -> None:
    assert link_of(1000, 1.0, 10_000, 0.5) == (0.0, 20_000)
    assert link_of(1000, 1e-9, 10_000, 1.0)[0] == 0.0


def test_a_median_leaves_out_the_first_run_and_the_outlier(monkeypatch) -> None:
    lengths = iter([100.0, 1.0, 2.0, 50.0])
    now = [0.0]
    monkeypatch.setattr(measurement, "perf_counter", lambda: now[0])

    def run() -> None:
        now[0] += next(lengths)

    assert median_seconds(run, 3) == 2.0


def test_planning_is_timed_once_it_has_settled(monkeypatch) -> None:
    lengths = iter([50.0] * 10 + [1000.0, *range(1, 11)])  # ten windows to settle, then eleven
    times = (now for length in lengths for now in (0.0, length))
    monkeypatch.setattr(timing, "perf_counter", lambda: next(times))
    assert measure_planning_s(repeats=11) == 6.0


def test_every_constant_by_hand(monkeypatch) -> None:
    # A read; 4 experts at 1 and at 64 positions; a small copy, a large one, 16 small ones.
    took_s = iter([0.5, 2.0, 4.0, 0.01, 0.11, 0.16])
    monkeypatch.setattr(calibration, "QUICK", Effort(buffer_bytes=2**20, experts=4, repeats=1))
    monkeypatch.setattr(measurement, "median_seconds", lambda run, repeats, wait=None: next(took_s))
    monkeypatch.setattr(measurement, "system_memory", lambda: {"total_bytes": 2**30})
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    weights, link = 3 * 2048 * 768, (2**20 - 2**16) / 0.1
    values = dict(calibrate(planning_s=lambda repeats: 0.002 * repeats, quick=True).values)
    assert values.pop("host.bus_gb_per_s") > 0
    assert values == pytest.approx(
        {
            "host.memory_gib": 1.0,
            "host.read_gb_per_s": 2**20 / 0.5 / 1e9,
            "host.expert_gb_per_s": 4 * weights / 0.5 / 1e9,  # an expert in 32 bits takes half a second
            "host.gflops": 64 * 2 * weights / 1.0 / 1e9,
            "device.memory_gib": 1.0,
            "device.reserved_gib": 0.5,
            "device.bandwidth_gb_per_s": 4 * weights / 0.5 / 1e9,
            "device.tflops": 64 * 2 * weights / 1.0 / 1e12,
            "link.alpha_ms": 1e3 * (0.01 - 2**16 / link),
            "link.next_alpha_ms": min(1e3 * (0.01 - 2**16 / link), 1e3 * (0.15 / 15 - 2**16 / link)),
            "link.bandwidth_gb_per_s": link / 1e9,
            "policy.plan_ms": 2.0,
        }
    )


@given(st.text().filter(str.strip))
@example('a "quoted" \\ name, γ')
@example("\x7f\x00\r\n")
def test_any_words_survive_the_file(words) -> None:
    values = {**dict.fromkeys(NUMBERS, 2.0), "device.reserved_gib": 1.0}
    how = dict.fromkeys(values, f"measured: {words}")
    document = tomllib.loads(to_toml(Calibration(words, "2026-01-01", words, values, how)))
    assert document["about"] == document["measured"]["versions"] == words
    assert document["link"]["alpha_ms"] == {"value": 2.0, "measured": words}


@pytest.mark.parametrize("name", ["here.json", "none/here.toml"])
def test_a_place_that_cannot_take_a_profile_is_refused_before_measuring(
    tmp_path, monkeypatch, capsys, name
) -> None:
    monkeypatch.setattr(
        calibration, "calibrate", lambda planning_s, quick: pytest.fail("measured for nothing")
    )
    assert cli.main(["calibrate", "--out", str(tmp_path / name)]) == 2
    assert "expected: a .toml file in a folder that is there" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(InvalidInputError, match=r"expected: a \.toml file"):
        calibration.check_path(tmp_path / name)


def test_the_command_writes_and_says_what_it_measured(measured, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(calibration, "calibrate", lambda planning_s, quick: measured)
    path = tmp_path / "here.toml"
    assert cli.main(["calibrate", "--quick", "--out", str(path)]) == 0
    assert path.read_text("utf-8") == to_toml(measured)
    assert f"written: --machine {path}" in capsys.readouterr().out
    assert cli.main(["calibrate", "--quick", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["values"] == dict(measured.values)
