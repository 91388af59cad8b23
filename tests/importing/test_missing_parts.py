"""A trace may lack token ids, gate weights and drafts: what needs them says so, all else works."""

from __future__ import annotations

import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from moespac_nb import (
    SENSORS,
    Trace,
    compose_policy,
    evaluate_predictors,
    import_trace,
    load_trace,
    make_sensor,
    replay,
)
from moespac_nb.trace.editing import concatenate, redact
from moespac_nb.trace.table import table
from moespac_nb.utils.exceptions import MissingDataError, TraceFormatError
from tests.helpers.traces.logs import WRITERS, made_up


@pytest.fixture
def bare(tmp_path: Path) -> Trace:
    """Experts and nothing else."""
    WRITERS["warp"].write(tmp_path / "warp.jsonl", made_up(positions=10))
    return import_trace(tmp_path / "warp.jsonl")


@pytest.fixture
def full(tmp_path: Path) -> Trace:
    """With token ids, gate weights and a prompt."""
    WRITERS["policylang"].write(tmp_path / "full.jsonl", made_up(positions=10, prompt=4, texts=2))
    return import_trace(tmp_path / "full.jsonl")


def test_sensors_of_tokens_and_channels_are_not_offered(bare: Trace, full: Trace) -> None:
    counts = {
        "verify-counts", "committed-counts", "last-window", "ema-counts", "frequency", "recency", "popularity"
    }  # fmt: skip
    assert {name for name, sensor in SENSORS.items() if sensor.serves(bare)} == counts
    assert {name for name, sensor in SENSORS.items() if sensor.serves(full)} == {*counts, "token-table"}
    assert all(sensor.serves(load_trace("math", half="report")) for sensor in SENSORS.values())


def test_a_sensor_of_tokens_says_what_it_lacks(bare: Trace) -> None:
    sensors = {"t": make_sensor("token-table", bare.geometry)}
    with pytest.raises(
        MissingDataError, match=r"imported from warp-tokens, has no tokens.*sensor 'token-table'"
    ):
        evaluate_predictors(bare, sensors, size=4)
    policy = compose_policy("mine", sensor="token-table", rule="ema", admission=2)
    with pytest.raises(MissingDataError, match="token-table"):
        replay(bare, policy, budget="50%")


def test_counts_are_all_that_other_sensors_need(bare: Trace) -> None:
    sensors = {name: make_sensor(name, bare.geometry) for name in ("verify-counts", "recency")}
    assert len(evaluate_predictors(bare, sensors, size=4, rules=("ema",))) == 2


@pytest.mark.parametrize("policy", ["recency", "spac-joint", "on-demand"])
def test_an_imported_trace_is_replayed(policy: str, bare: Trace) -> None:
    assert replay(bare, policy, budget="50%").tokens == 10


def test_what_is_needed_is_named(bare: Trace, full: Trace) -> None:
    for what in ("tokens", "gate weights", "drafts"):
        with pytest.raises(
            MissingDataError, match=f"has no {what}; expected: a trace with {what} for a picture"
        ):
            bare.need(what, "a picture")
    full.need("tokens", "a picture")
    full.need("gate weights", "a picture")
    with pytest.raises(MissingDataError, match="drafts"):
        full.need("drafts", "a picture")
    load_trace("math", half="report").need("drafts", "a picture")


def test_a_table_has_blanks_where_nothing_was_recorded(bare: Trace) -> None:
    columns = table(bare)
    assert np.isnan(columns["gate_weight"]).all()
    assert set(columns["token"].tolist()) == {-1}


def test_steps_of_an_imported_trace_make_one_again(bare: Trace, full: Trace) -> None:
    for trace in (bare, full[: int(full.text_steps[0])]):
        again = Trace.of(
            trace.texts[0],
            trace.geometry,
            trace.vocabulary,
            trace.prefill(),
            list(trace),
            trace.token_strings,
        )
        assert replace(again, notes=trace.notes) == trace


def test_parts_of_an_imported_trace_are_joined_again(full: Trace, bare: Trace) -> None:
    assert concatenate([full[:3], full[3:]]) == full
    assert concatenate([bare[:3], bare[3:]]) == bare
    assert redact(full).texts[0].redacted


def test_only_an_imported_text_may_lack_something(bare: Trace, full: Trace, tmp_path: Path) -> None:
    own = tuple(replace(text, imported=None, mode="greedy") for text in full.texts)
    with pytest.raises(TraceFormatError, match="gate_weights is missing"):
        replace(full, texts=own, gate_weights=None, prompt_gate_weights=None)
    weights = np.zeros(bare.experts.shape, np.float32)
    own = (replace(bare.texts[0], imported=None, mode="greedy"),)
    with pytest.raises(TraceFormatError, match="-1; expected: 0 to"):
        replace(bare, texts=own, gate_weights=weights, prompt_gate_weights=weights[:0])
    with pytest.raises(TraceFormatError, match="mode is 'unknown'"):
        replace(full, texts=tuple(replace(text, imported=None) for text in full.texts))


def test_a_file_that_lost_its_gate_weights_is_damaged(tmp_path: Path) -> None:
    load_trace("math", half="report")[:3].save(tmp_path / "whole.npz")
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "cut.npz", "w") as cut:
        for name in whole.namelist():
            if "gate_weights" not in name:
                cut.writestr(name, whole.read(name))
    with pytest.raises(TraceFormatError, match="gate_weights"):
        Trace.load(tmp_path / "cut.npz")


def test_notes_travel_with_the_file_and_its_slices(bare: Trace, tmp_path: Path) -> None:
    assert bare.notes
    bare[2:5].save(tmp_path / "slice.npz")
    assert Trace.load(tmp_path / "slice.npz").notes == bare.notes
