"""Profiles: those bundled are complete and say where each constant comes from; bad ones are refused."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open

from moespac_nb.datasets.files import data_path
from moespac_nb.hardware.machine import Machine, list_machines, load_machine
from moespac_nb.hardware.model import RECORDS, list_model_specs, load_model_spec
from moespac_nb.hardware.profile_files import Constant, profile_keys, read_profile
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.exceptions import InvalidInputError, MissingDataError

MACHINES = {"a100", "h100", "laptop4060", "orin", "rtx3060", "rtx4090", "t4"}
MODELS = {"deepseek-v2-lite", "gpt-oss-20b", "mixtral-8x7b", "olmoe-1b-7b", "phi-3.5-moe", "qwen3-30b-a3b"}
MODEL_KEYS = profile_keys(RECORDS)
DRAFT_KEYS = {key for key in MODEL_KEYS if ".draft." in key}


class Raw(str):
    """TOML as it is written."""


@pytest.fixture
def own(tmp_path: Path):
    """Write a bundled profile as plain values, with some of them changed; None leaves one out."""

    def write(name: str, change: dict[str, object]) -> Path:
        kind, records = ("machines", {"": Machine}) if name in MACHINES else ("models", RECORDS)
        values = read_profile(kind, name, records).values | change
        path = tmp_path / "own.toml"
        path.write_text(
            "\n".join(
                f"{key} = {value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=False)}"
                for key, value in values.items()
                if value is not None
            ),
            encoding="utf-8",
        )
        return path

    return write


def test_what_was_promised_is_bundled() -> None:
    assert set(list_machines()) == MACHINES
    assert set(list_model_specs()) == MODELS | {f"{name}-4bit" for name in MODELS} | {"bundled-pair"}


@pytest.mark.parametrize("path", sorted(data_path("profiles").rglob("*.toml")), ids=lambda path: path.stem)
def test_every_constant_says_where_it_comes_from(path: Path) -> None:
    records = {"": Machine} if path.parent.name == "machines" else RECORDS
    profile = read_profile(path.parent.name, path.stem, records)
    needed = {key for key, constant in profile_keys(records).items() if not constant.optional}
    assert {key.split(".")[0] for key in needed - profile.values.keys()} <= (
        {"4bit"} if path.stem == "bundled-pair" else {"measured"}
    )
    for key, origin in profile.origins.items():
        if key in ("about", "experts_in"):
            assert origin == "not stated", key
        else:
            kind, words = origin.split(": ", 1)
            assert kind in ("source", "assumption"), key
            assert len(words) > 8, key


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_a_bundled_machine_loads_in_bytes_and_seconds(name: str) -> None:
    machine = load_machine(name)
    assert 7e9 < machine.memory_bytes < 1e11
    assert 1e11 < machine.memory_bytes_per_s < 1e13
    assert 0 < machine.copy_alpha_s < 1e-3
    assert 1e9 < machine.link_bytes_per_s < 1e11
    assert machine.host_expert_bytes_per_s <= machine.host_read_bytes_per_s
    assert machine.label == "published and assumed constants"


def test_a_machine_of_unified_memory_reads_experts_from_its_disk() -> None:
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
    model, four_bit = load_model_spec(name), load_model_spec(f"{name}-4bit")
    assert model.parameters / 1e9 == pytest.approx(billions, rel=0.003)
    assert model.expert_bytes / 1e6 == pytest.approx(expert_mb, rel=0.003)
    assert model.geometry == MoEShape(*geometry)
    assert model.dense_bytes + model.all_experts * model.expert_bytes == pytest.approx(2 * model.parameters)
    assert four_bit.expert_bytes == pytest.approx(model.expert_bytes * 4.5 / 16)
    assert four_bit.kv_bytes_per_token == model.kv_bytes_per_token


def test_gpt_oss_is_as_large_as_its_published_files() -> None:
    model, four_bit = load_model_spec("gpt-oss-20b"), load_model_spec("gpt-oss-20b-4bit")
    assert model.parameters / 1e9 == pytest.approx(20.9, rel=0.003)
    assert model.geometry == four_bit.geometry == MoEShape(24, 32, 4)
    assert four_bit.expert_bytes / 1e6 == pytest.approx(13.2, rel=0.003)
    # Its experts have 4 bits, everything else 16: 13.8 GB on disk.
    assert (four_bit.dense_bytes + four_bit.all_experts * four_bit.expert_bytes) / 1e9 == pytest.approx(
        13.8, rel=0.01
    )
    assert four_bit.dense_bytes == model.dense_bytes
    assert four_bit.layer_bytes == model.layer_bytes


def test_the_paper_s_draft_is_the_paper_s() -> None:
    draft = load_model_spec("qwen3-30b-a3b").draft
    assert draft is not None
    assert draft.name == "Qwen3-4B-FP8"
    assert draft.weights_bytes / 1e9 == pytest.approx(4.4, rel=0.01)


def test_the_bundled_pair_s_profile_is_of_its_models() -> None:
    pair = load_model_spec("bundled-pair")
    target, draft = (json.loads(data_path(f"pair/{name}.json").read_text()) for name in ("target", "draft"))
    assert pair.geometry == MoEShape(
        target["num_hidden_layers"], target["num_local_experts"], target["num_experts_per_tok"]
    )
    assert (pair.vocabulary, pair.context) == (target["vocab_size"], target["max_position_embeddings"])
    assert pair.kv_values == 2 * target["num_key_value_heads"] * target["head_dim"]
    assert pair.embedding_matrices == 2 - target["tie_word_embeddings"]
    assert pair.draft is not None
    draft_layers, draft_kv_heads = draft["num_hidden_layers"], draft["num_key_value_heads"]
    assert pair.draft.kv_bytes_per_token == 2 * 2 * draft_layers * draft_kv_heads * draft["head_dim"]
    norms = 0.001  # are left out
    assert pair.parameters == pytest.approx(stored_weights("target"), rel=norms)
    assert pair.draft.active_parameters == pytest.approx(stored_weights("draft"), rel=norms)
    assert pair.draft.weights_bytes == pair.draft.read_bytes == 2 * pair.draft.active_parameters


def stored_weights(name: str) -> int:
    with safe_open(data_path(f"pair/{name}.safetensors"), "numpy") as file:
        return sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())  # noqa: SIM118


TWO_ORIGINS = Raw('{ value = 1, source = "a", assumption = "b" }')


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("t4", {"link.alpha_ms": Raw("nan")}, "is nan; expected: a number of milliseconds a copy, from 0"),
        ("t4", {"link.alpha_ms": Raw("inf")}, "link.alpha_ms is inf"),
        ("t4", {"link.alpha_ms": -0.1}, "link.alpha_ms is -0.1"),
        ("t4", {"link.alpha_ms": True}, "link.alpha_ms is True"),
        ("t4", {"link.bandwidth_gb_per_s": 0}, "link.bandwidth_gb_per_s is 0; expected: a number of GB/s"),
        ("t4", {"link.bandwidth_gb_per_s": 25e9}, "is 25000000000.0; .* from 1e-06 to 10000"),
        ("t4", {"link.bandwidth_gb_per_s": "25 GB/s"}, "is '25 GB/s'; expected: a number of GB/s"),
        ("t4", {"link.bandwidth_gb_per_s": None}, "_gb_per_s is missing; expected: a number of GB/s"),
        ("t4", {"link.bandwidth_mb_per_s": 1}, "_mb_per_s is unknown; .* mean 'link.bandwidth_gb_per_s'"),
        ("t4", {"device.reserved_gib": 15}, "reserved_gib is 15; expected: less than device.memory_gib, 15"),
        ("t4", {"experts_in": "cloud"}, "experts_in is 'cloud'; expected: 'host' or 'storage'"),
        ("t4", {"about": ""}, "about is ''; expected: a text in quotes"),
        ("t4", {"link.alpha_ms": TWO_ORIGINS}, "says source, assumption .*; expected: one of source"),
        ("t4", {"link.alpha_ms": Raw("{ value = 1 }")}, "link.alpha_ms says nothing beside its value"),
        ("t4", {"link.alpha_ms": Raw("= 3")}, "cannot be read"),
        ("qwen3-30b-a3b", {"shape.top_k": 129}, "shape.top_k is 129; expected: at most shape.experts, 128"),
        ("qwen3-30b-a3b", {"shape.layers": 47}, "shape.moe_layers is 48; expected: at most shape.layers, 47"),
        ("qwen3-30b-a3b", {"shape.experts": 12.5}, "shape.experts is 12.5; expected: a whole number"),
        ("qwen3-30b-a3b", {"bf16.bits_per_weight": None}, "bits_per_weight is missing; expected: a number"),
        ("qwen3-30b-a3b", {"bf16.draft.overhead_ms": None}, "draft.overhead_ms is missing; expected"),
        ("qwen3-30b-a3b", {"bf16.draft.read_gb": 5.0}, "read_gb is 5.0; expected: at most .*weights_gb, 4.4"),
    ],
)  # fmt: skip
def test_a_bad_profile_is_refused_by_file_and_key(own, name, change, message) -> None:
    path = own(name, change)
    with pytest.raises(InvalidInputError, match=message) as refusal:
        (load_machine if name in MACHINES else load_model_spec)(path)
    assert str(path) in str(refusal.value)


def test_an_own_file_works_where_a_name_does(own) -> None:
    machine = load_machine(own("rtx4090", {"device.memory_gib": 16}))
    assert (machine.name, machine.memory_bytes) == ("own", 16 * 2**30)
    assert machine.origins["link.alpha_ms"] == "not stated"
    assert load_machine(machine) is machine
    assert load_model_spec(Path("olmoe-1b-7b")) == load_model_spec("olmoe-1b-7b")
    model = load_model_spec(str(own("olmoe-1b-7b", {"shape.experts": 32})))
    assert (model.name, model.experts, model.bits_per_weight) == ("own", 32, 16)
    assert load_model_spec(model) is model


def test_a_model_may_lack_its_draft_or_a_precision(own) -> None:
    assert load_model_spec(own("olmoe-1b-7b", dict.fromkeys(DRAFT_KEYS))).draft is None
    four_bit_alone = {key: None for key in MODEL_KEYS if key.startswith("bf16.")}
    model = load_model_spec(own("olmoe-1b-7b", four_bit_alone))
    assert (model.name, model.bits_per_weight) == ("own-4bit", 4.5)
    assert model.draft == load_model_spec("olmoe-1b-7b-4bit").draft


@pytest.mark.parametrize(
    ("load", "name", "nearest"),
    [
        (load_machine, "rtx4900", "rtx4090"),
        (load_machine, "RTX3060", "rtx3060"),
        (load_model_spec, "qwen3-30b-a3", "qwen3-30b-a3b"),
        (load_model_spec, "olmo-1b-7b-4bit", "olmoe-1b-7b-4bit"),
        (load_model_spec, "bundled-pair-4bit", "bundled-pair"),
        (load_model_spec, "bundled", "bundled-pair"),
    ],
)
def test_an_unknown_name_gets_the_nearest(load, name, nearest) -> None:
    with pytest.raises(InvalidInputError, match=f"is '{name}'; expected: .* did you mean '{nearest}'"):
        load(name)


@pytest.mark.parametrize("load", [load_machine, load_model_spec])
def test_a_file_that_is_not_there_is_named(load, tmp_path) -> None:
    with pytest.raises(MissingDataError, match=r"none\.toml is not there; expected: a profile in TOML"):
        load(tmp_path / "none.toml")


@given(st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.booleans(), st.none()))
def test_a_constant_is_a_finite_number_within_its_limits(value) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    is_within = is_number and 1 <= value <= 10
    assert Constant("size", "GB", least=1, most=10).accepts(value) == is_within
    assert Constant("size", "GB", least=1, most=10, whole=True).accepts(value) == (
        is_within and value == int(value)
    )


def test_a_machine_s_keys_carry_their_unit() -> None:
    units = ("_gib", "_gb_per_s", "_ms", "tflops", "gflops")
    numbers = [key for key, constant in profile_keys({"": Machine}).items() if constant.unit]
    assert len(numbers) == 13
    assert [key for key in numbers if not key.endswith(units)] == []
