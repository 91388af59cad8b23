"""Profiles: those bundled are complete and say where each constant comes from; bad ones are refused."""

from __future__ import annotations

import json
import math
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from moespac_nb.datasets.files import data_path
from moespac_nb.hardware.machine import MACHINE_KEYS, Machine, list_machines, load_machine
from moespac_nb.hardware.model_library import MODEL_KEYS, list_model_specs, load_model_spec, mismatch
from moespac_nb.hardware.profile_files import Quantity, read_profile
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import MoespacError

MACHINES = {"a100", "h100", "laptop4060", "orin", "rtx3060", "rtx4090", "t4"}
MODELS = {"deepseek-v2-lite", "mixtral-8x7b", "olmoe-1b-7b", "phi-3.5-moe", "qwen3-30b-a3b"}
FILES = sorted(data_path("profiles").rglob("*.toml"))


def constants(table: dict, above: str = ""):
    for name, entry in table.items():
        if isinstance(entry, dict) and "value" not in entry:
            yield from constants(entry, f"{above}{name}.")
        else:
            yield f"{above}{name}", entry


def written(folder: Path, name: str, change: dict[str, object], kind: str = "machines") -> Path:
    """A bundled profile as plain values, with some of them changed; None leaves one out."""
    document = tomllib.loads(data_path(f"profiles/{kind}/{name}.toml").read_text("utf-8"))
    values = {key: e["value"] if isinstance(e, dict) else e for key, e in constants(document)} | change
    lines = []
    for key, value in values.items():
        if value is not None:
            text = value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False)
            lines.append(f"{key} = {text}")
    path = folder / "own.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


class Raw(str):
    """TOML as it is written."""


def test_what_was_promised_is_bundled() -> None:
    assert set(list_machines()) == MACHINES
    assert set(list_model_specs()) == MODELS | {f"{name}-4bit" for name in MODELS} | {"bundled-pair"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_constant_says_where_it_comes_from(path: Path) -> None:
    document = tomllib.loads(path.read_text("utf-8"))
    assert document.pop("about")
    document.pop("experts_in", None)
    found = dict(constants(document))
    assert len(found) > 10
    for key, entry in found.items():
        assert isinstance(entry, dict), key
        (origin,) = entry.keys() - {"value"}
        assert origin in ("source", "assumption"), key
        assert len(entry[origin]) > 8, key


def test_every_required_key_of_a_bundled_model_is_given_in_both_precisions() -> None:
    for name in MODELS:
        given = read_profile("models", name, MODEL_KEYS).values
        assert given.keys() == MODEL_KEYS.keys()


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_bundled_machine_loads_in_bytes_and_seconds(name: str) -> None:
    found = load_machine(name)
    assert 7e9 < found.memory_bytes < 1e11
    assert 1e11 < found.memory_bytes_per_s < 1e13
    assert 0 < found.copy_alpha_s < 1e-3
    assert 1e9 < found.link_bytes_per_s < 1e11
    assert found.host_expert_bytes_per_s <= found.host_read_bytes_per_s
    assert found.label == "published and assumed constants"


def test_a_machine_of_unified_memory_reads_what_is_in_no_slot_from_its_disk() -> None:
    orin = load_machine("orin")
    assert orin.experts_in == "storage"
    assert orin.cpu_bytes_per_s == orin.link_bytes_per_s < orin.host_expert_bytes_per_s


@pytest.mark.parametrize(
    ("name", "billions", "expert_mb", "geometry"),
    [
        ("mixtral-8x7b", 46.7, 352, (32, 8, 2)),
        ("phi-3.5-moe", 41.9, 157, (32, 16, 2)),
        ("deepseek-v2-lite", 15.7, 17.3, (26, 64, 6)),
        ("olmoe-1b-7b", 6.92, 12.6, (16, 64, 8)),
        ("qwen3-30b-a3b", 30.5, 9.44, (48, 128, 8)),
    ],
)
def test_counts_come_to_the_published_size(name, billions, expert_mb, geometry) -> None:
    found = load_model_spec(name)
    assert found.parameters / 1e9 == pytest.approx(billions, rel=0.003)
    assert found.expert_bytes / 1e6 == pytest.approx(expert_mb, rel=0.003)
    assert found.geometry == MoEShape(*geometry)
    assert found.dense_bytes + found.all_experts * found.expert_bytes == pytest.approx(2 * found.parameters)
    four_bit = load_model_spec(f"{name}-4bit")
    assert four_bit.expert_bytes == pytest.approx(found.expert_bytes * 4.5 / 16)
    assert four_bit.kv_bytes_per_token == found.kv_bytes_per_token


def test_the_paper_s_draft_is_the_paper_s() -> None:
    draft = load_model_spec("qwen3-30b-a3b").draft
    assert draft is not None
    assert draft.name == "Qwen3-4B-FP8"
    assert draft.weights_bytes / 1e9 == pytest.approx(4.4, rel=0.01)


def test_the_bundled_pair_s_profile_counts_the_weights_of_its_models() -> None:
    found = load_model_spec("bundled-pair")
    assert found.draft is not None
    norms = 0.001
    assert found.parameters == pytest.approx(stored_weights("target"), rel=norms)
    assert found.draft.active_parameters == pytest.approx(stored_weights("draft"), rel=norms)
    assert found.draft.weights_bytes == 2 * found.draft.active_parameters


def stored_weights(name: str) -> int:
    with safe_open(data_path(f"pair/{name}.safetensors"), "numpy") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"link.alpha_ms": Raw("nan")},
            "link.alpha_ms is nan; expected: a number of milliseconds a copy, from 0",
        ),
        ({"link.alpha_ms": Raw("inf")}, "link.alpha_ms is inf"),
        ({"link.alpha_ms": -0.1}, "link.alpha_ms is -0.1"),
        ({"link.alpha_ms": Raw("true")}, "link.alpha_ms is True"),
        ({"link.bandwidth_gb_per_s": 0}, "link.bandwidth_gb_per_s is 0; expected: a number of GB/s"),
        (
            {"link.bandwidth_gb_per_s": 25e9},
            "link.bandwidth_gb_per_s is 25000000000.0; expected: a number of GB/s",
        ),
        ({"link.bandwidth_gb_per_s": "25 GB/s"}, "is '25 GB/s'; expected: a number of GB/s"),
        ({"link.bandwidth_gb_per_s": None}, "link.bandwidth_gb_per_s is missing; expected: a number of GB/s"),
        (
            {"link.bandwidth_mb_per_s": 25000},
            r"link.bandwidth_mb_per_s is unknown.*did you mean 'link.bandwidth_gb_per_s'",
        ),
        ({"device.reserved_gib": 24}, "device.reserved_gib is 24; expected: less than device.memory_gib, 24"),
        ({"experts_in": "cloud"}, "experts_in is 'cloud'; expected: 'host' or 'storage'"),
        ({"about": ""}, "about is ''; expected: a text"),
        (
            {"link.alpha_ms": Raw('{ value = 1, source = "a", assumption = "b" }')},
            "link.alpha_ms says source, assumption beside its value; expected: one of source",
        ),
        ({"link.alpha_ms": Raw("{ value = 1 }")}, "link.alpha_ms says nothing beside its value"),
        ({"link.alpha_ms": Raw("= 3")}, "cannot be read"),
    ],
)
def test_a_bad_machine_is_refused_by_file_and_key(tmp_path, change, message) -> None:
    path = written(tmp_path, "rtx4090", change)
    with pytest.raises(MoespacError, match=message) as refusal:
        load_machine(path)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape.top_k": 129}, "shape.top_k is 129; expected: at most shape.experts, 128"),
        ({"shape.layers": 47}, "shape.moe_layers is 48; expected: at most shape.layers, 47"),
        ({"shape.experts": 12.5}, "shape.experts is 12.5; expected: a whole number"),
        ({"bf16.bits_per_weight": None, "4bit.bits_per_weight": None}, "bits_per_weight is missing"),
        (
            {"bf16.draft.overhead_ms": None},
            "bf16.draft.overhead_ms is missing; expected: a number of milliseconds",
        ),
        ({"bf16.draft.read_gb": 5.0}, "bf16.draft.read_gb is 5.0; expected: at most weights_gb"),
    ],
)
def test_a_bad_model_is_refused_by_file_and_key(tmp_path, change, message) -> None:
    path = written(tmp_path, "qwen3-30b-a3b", change, "models")
    with pytest.raises(MoespacError, match=message) as refusal:
        load_model_spec(path)
    assert str(path) in str(refusal.value)


def test_an_own_file_works_where_a_name_does(tmp_path) -> None:
    own = load_machine(written(tmp_path, "rtx4090", {"device.memory_gib": 16}))
    assert (own.name, own.memory_bytes) == ("own", 16 * 2**30)
    assert own.origins["link.alpha_ms"] == "not stated"
    model = load_model_spec(str(written(tmp_path, "olmoe-1b-7b", {"shape.experts": 32}, "models")))
    assert model.experts == 32
    undrafted = {f"{p}.draft.{key}": None for p in ("bf16", "4bit") for key in _draft_keys()}
    assert load_model_spec(written(tmp_path, "olmoe-1b-7b", undrafted, "models")).draft is None


def _draft_keys() -> set[str]:
    return {key.rsplit(".", 1)[1] for key in MODEL_KEYS if ".draft." in key}


@pytest.mark.parametrize(
    ("read", "name", "nearest"),
    [
        (load_machine, "rtx4900", "rtx4090"),
        (load_machine, "RTX3060", "rtx3060"),
        (load_model_spec, "qwen3-30b-a3", "qwen3-30b-a3b"),
        (load_model_spec, "bundled", "bundled-pair"),
    ],
)
def test_an_unknown_name_gets_the_nearest(read, name, nearest) -> None:
    with pytest.raises(MoespacError, match=f"is '{name}'; expected: .* did you mean '{nearest}'"):
        read(name)


@pytest.mark.parametrize("read", [load_machine, load_model_spec])
def test_a_file_that_is_not_there_is_named(read, tmp_path) -> None:
    with pytest.raises(MoespacError, match=r"none\.toml is not there; expected: a profile in TOML"):
        read(tmp_path / "none.toml")


def test_a_profile_is_its_own_profile() -> None:
    found = load_machine("t4")
    assert isinstance(found, Machine)
    assert load_machine(found) is found


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.none()))
def test_a_quantity_accepts_finite_numbers_within_its_limits_only(value) -> None:
    quantity = Quantity("GB", 1, 10)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    assert quantity.accepts(value) == (number and 1 <= value <= 10)


def test_a_machine_s_keys_carry_their_unit() -> None:
    units = ("_gib", "_gb_per_s", "_ms", "tflops", "gflops")
    numbers = [key for key, quantity in MACHINE_KEYS.items() if quantity.unit]
    assert [key for key in numbers if not key.endswith(units)] == []


def test_a_model_seen_through_another_s_routing_keeps_its_proportions() -> None:
    model, pair = load_model_spec("qwen3-30b-a3b"), load_model_spec("bundled-pair")
    seen = model.as_if(pair.geometry)
    assert seen.geometry == pair.geometry
    assert seen.expert_bytes == model.expert_bytes
    assert seen.head_bytes * 48 == pytest.approx(model.head_bytes * 8, rel=1e-4)
    assert seen.draft is not None
    assert model.draft is not None
    assert seen.draft.token_s(1e12, 1e14) * 48 == pytest.approx(model.draft.token_s(1e12, 1e14) * 8)
    share = seen.draft.weights_bytes / (seen.all_experts * seen.expert_bytes)
    assert share == pytest.approx(model.draft.weights_bytes / (model.all_experts * model.expert_bytes))
    with pytest.raises(MoespacError, match="dense model"):
        model.as_if(MoEShape(0, 0, 0))


def test_what_is_scaled_is_said_in_words() -> None:
    model = load_model_spec("qwen3-30b-a3b")
    assert mismatch(model.geometry, model) == ()
    assert model.as_if(model.geometry) is model
    said = mismatch(MoEShape(8, 64, 4), model)
    assert "layers with experts: the trace has 8, qwen3-30b-a3b 48" in said
    assert "times of head, draft and planning are scaled by layers, 8/48" in said
    assert "the draft's memory is scaled by the number of experts, 512/6144" in said
    assert said[-1] == (
        "times and speeds are of the trace's layers and top k: all of qwen3-30b-a3b takes about 6 times as "
        "long, and 12 times where experts decide"
    )
    said = mismatch(MoEShape(48, 128, 4), model)
    assert said[0] == "top k: the trace has 4, qwen3-30b-a3b 8"
    assert said[1].endswith("takes about 1 times as long, and 2 times where experts decide")
    assert len(said) == 2
    assert mismatch(MoEShape(0, 0, 0), model)
