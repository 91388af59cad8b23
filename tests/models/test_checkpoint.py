"""Files that are not the model of their config are told by their headers, before a weight is read."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    DeepseekV2Config,
    DeepseekV2ForCausalLM,
    GptOssConfig,
    GptOssForCausalLM,
    MixtralConfig,
    MixtralForCausalLM,
)

from moespac_nb.models import checkpoint
from moespac_nb.models import loading as models
from moespac_nb.models.checkpoint import INDEX, check_checkpoint
from moespac_nb.models.loading import load_model, load_pair
from tests.helpers.decodes import refused
from tools.support import tiny_models as tiny

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 3,
    "num_attention_heads": 2, "num_key_value_heads": 2, "max_position_embeddings": 64,
}  # fmt: skip


DEEPSEEK = {
    "n_routed_experts": 4, "n_shared_experts": 1, "moe_intermediate_size": 16, "num_experts_per_tok": 2,
    "kv_lora_rank": 16, "q_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8, "v_head_dim": 8,
    "first_k_dense_replace": 1, "n_group": 1, "topk_group": 1,
}  # fmt: skip


def families() -> dict:
    return {
        "qwen3": tiny.moe,
        "dense": tiny.dense,
        "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=4)),
        "tied": lambda: MixtralForCausalLM(
            MixtralConfig(**SMALL, num_local_experts=4, tie_word_embeddings=True)
        ),
        "gpt_oss": lambda: GptOssForCausalLM(GptOssConfig(**SMALL, num_local_experts=4, head_dim=16)),
        "deepseek": lambda: DeepseekV2ForCausalLM(DeepseekV2Config(**SMALL, **DEEPSEEK)),
    }


@pytest.fixture(scope="module")
def whole(tmp_path_factory) -> Path:
    """A small model in several files, in bfloat16, with the bundled tokenizer."""
    folder = tmp_path_factory.mktemp("whole")
    tokenizer = load_pair(verify=False)[0].tokenizer
    tiny.moe(vocabulary=len(tokenizer)).bfloat16().save_pretrained(folder, max_shard_size="400KB")
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def folder(whole, tmp_path, monkeypatch) -> Path:
    """A copy that a test may damage; loading any weight of it fails the test."""
    shutil.copytree(whole, tmp_path / "model")
    for name in ("safetensors.safe_open", "transformers.modeling_utils.safe_open"):
        monkeypatch.setattr(name, lambda *_args, **_options: pytest.fail("weights were read"))
    return tmp_path / "model"


def configured(folder: Path, **changes) -> None:
    config = json.loads((folder / "config.json").read_text()) | changes
    (folder / "config.json").write_text(json.dumps(config))


def rewritten(folder: Path, name: str, change) -> str:
    """The file that holds the tensor, with that tensor changed, or taken out where change gives None."""
    index = json.loads((folder / INDEX).read_text())
    path = folder / index["weight_map"][name]
    tensors = load_file(path)
    changed = change(tensors.pop(name))
    if changed is None:
        del index["weight_map"][name]
        (folder / INDEX).write_text(json.dumps(index))
    else:
        tensors[name] = changed
    save_file(tensors, path, metadata={"format": "pt"})
    return path.name


def refuses(folder: Path, said: str) -> None:
    with refused(said) as error:
        load_model(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", families())
@pytest.mark.parametrize("shards", ["1GB", "30KB"])
def test_what_transformers_saves_passes(tmp_path, name, shards):
    families()[name]().save_pretrained(tmp_path, max_shard_size=shards)
    begin = time.thread_time()
    check_checkpoint(tmp_path)
    assert time.thread_time() - begin < 2.0  # milliseconds; this machine may be busy


def test_a_whole_model_loads_in_its_own_dtype(whole):
    assert load_model(whole).dtype == torch.bfloat16
    assert load_model(whole, dtype="auto").dtype == torch.bfloat16
    for dtype in ("float32", torch.float32):
        assert load_model(whole, dtype=dtype).dtype == torch.float32
    assert load_model(whole, dtype=torch.float16).dtype == torch.float16


@pytest.mark.parametrize("dtype", ["int4", torch.float64, torch.int8, None, "torch", float])
def test_another_dtype_is_refused_before_anything_is_looked_at(monkeypatch, dtype):
    for name in ("checked_name", "verify_checksums"):
        monkeypatch.setattr(models, name, lambda *_: pytest.fail("looked at"))
    with refused(r"dtype is .*; expected: auto, float32, bfloat16, float16"):
        load_model("nobody/nothing", dtype=dtype)
    with refused(r"dtype is .*; expected: float32, bfloat16, float16"):
        load_pair(dtype=dtype)


def test_a_pair_takes_torchs_own_dtype():
    assert load_pair(torch.bfloat16, verify=False)[0].dtype == torch.bfloat16


THESE = "by config\\.json; expected: the config that these"


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"num_hidden_layers": 6},
            r"6 layers, the files hold 4: no file holds model\.layers\.4\.input_layernorm",
        ),
        (
            {"num_hidden_layers": 2},
            r"2 layers, but model-0.*\.safetensors holds model\.layers\.2\.",
        ),
        ({"num_local_experts": 8}, rf"layers\.0\.mlp\.\S+ has the shape \(16, .* and \(8, .* {THESE}"),
        ({"num_local_experts": 32}, rf"layers\.0\.mlp\.\S+ has the shape \(16, .* and \(32, .* {THESE}"),
        ({"hidden_size": 48}, rf"\S+ has the shape \(.*\) in .* and \(.*\) {THESE}"),
        ({"moe_intermediate_size": 48}, rf"\S+ has the shape \(.*\) in .* and \(.*\) {THESE}"),
        ({"vocab_size": 48}, rf"\S+ has the shape \(.*\) in .* and \(.*\) {THESE}"),
        ({"head_dim": 48}, rf"\S+ has the shape \(.*\) in .* and \(.*\) {THESE}"),
        ({"num_attention_heads": "many"}, r"cannot be loaded: .*num_attention_heads"),
        ({"layer_types": ["full_attention"]}, r"cannot be loaded: "),
    ],
    ids=str,
)
def test_a_config_of_another_model(folder, changes, said):
    configured(folder, **changes)
    refuses(folder, said)


EXPERTS = "model.layers.2.mlp.experts"


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (
            [f"{EXPERTS}.3.up_proj.weight"],
            r"no file holds \S+\.3\.up_proj\.weight, though other weights of exp",
        ),
        (
            [f"{EXPERTS}.15.{kind}_proj.weight" for kind in ("up", "gate", "down")],
            rf"{EXPERTS}\.\S+ has the shape \(15, .* and \(16, .* by config\.json",
        ),
        (
            ["model.layers.1.self_attn.q_proj.weight"],
            r"no file holds model\.layers\.1\.self_attn\.q_proj\.weight, which the model of config\.json has",
        ),
    ],
    ids=["a weight of an expert", "a whole expert", "another weight"],
)
def test_tensors_that_are_missing(folder, names, said):
    for name in names:
        rewritten(folder, name, lambda _: None)
    refuses(folder, said)


def test_an_expert_of_another_width(folder):
    file = rewritten(folder, f"{EXPERTS}.3.up_proj.weight", lambda weight: weight[:7].clone())
    refuses(
        folder,
        rf"tensors of {EXPERTS}\.gate_up_proj do not fit together: {EXPERTS}\.3\.up_proj\.weight has the "
        rf"shape \(7, 64\) in {file}, others \(32, 64\)",
    )


def test_a_tensor_that_the_index_lists_and_its_file_lacks(folder):
    index = json.loads((folder / INDEX).read_text())
    index["weight_map"]["model.more.weight"] = index["weight_map"]["lm_head.weight"]
    (folder / INDEX).write_text(json.dumps(index))
    refuses(
        folder,
        r"\.safetensors does not hold model\.more\.weight, which model\.safetensors\.index\.json lists",
    )


def test_a_file_that_is_missing(folder):
    (missing := sorted(folder.glob("model-*.safetensors"))[1]).unlink()
    refuses(folder, rf"{missing.name} is missing, of \d+ files that model\.safetensors\.index\.json lists")


@pytest.mark.parametrize("kept", [0, 4, 200, -100])
def test_a_file_that_is_cut_off(folder, kept):
    path = sorted(folder.glob("model-*.safetensors"))[-1]
    path.write_bytes(path.read_bytes()[:kept] if kept else b"")
    said = r"bytes, its header says \d+, \S+ is cut off; fetch" if kept < 0 else "is no safetensors file"
    refuses(folder, rf"{path.name}.*{said}")


@pytest.mark.parametrize("written", ["{}", "no json", '{"weight_map": 5}', '{"weight_map": []}'])
def test_an_index_that_is_none(folder, written):
    (folder / INDEX).write_text(written)
    refuses(folder, r"model\.safetensors\.index\.json is no index of weights")


def test_what_the_headers_do_not_tell_loading_does(whole, tmp_path, monkeypatch):
    """Where another version of transformers loads in another way, its report still ends in an error."""
    shutil.copytree(whole, tmp_path / "model")
    rewritten(tmp_path / "model", "model.layers.1.self_attn.q_proj.weight", lambda _: None)
    monkeypatch.setattr(checkpoint, "_compare", lambda *_: None)
    with refused(r"q_proj\.weight is among its missing keys; expected"):
        load_model(tmp_path / "model")
    configured(tmp_path / "model", moe_intermediate_size=48)
    with refused("cannot be loaded"):
        load_model(tmp_path / "model")


def test_weights_beside_the_model_are_none_of_its_layers(whole, tmp_path):
    """A head for training, or eyes: transformers leaves them out, and so do we."""
    shutil.copytree(whole, tmp_path / "model")
    index = json.loads((tmp_path / "model" / INDEX).read_text())
    beside = {"score.weight": torch.zeros(2, 2), "vision.layers.30.norm.weight": torch.zeros(2)}
    save_file(beside, tmp_path / "model" / "more.safetensors", {"format": "pt"})
    index["weight_map"] |= dict.fromkeys(beside, "more.safetensors")
    (tmp_path / "model" / INDEX).write_text(json.dumps(index))
    assert load_model(tmp_path / "model").dtype == torch.bfloat16
