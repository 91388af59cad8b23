"""The bundled pair loads whole and fast, and every way in which a model cannot be used is said plainly."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from moespac_nb.datasets import files as resources
from moespac_nb.datasets.prompts import DOMAINS, load_prompts
from moespac_nb.models import loading as models
from moespac_nb.models.inspection import inspect_model
from moespac_nb.models.loading import check_same_tokenizer, load_model, load_pair
from moespac_nb.offloading.own_spec import spec_from_model
from tests.helpers.decodes import decoded, own_text, refused
from tools.support import tiny_models as tiny

PAIR = resources.data_root() / "pair"


@pytest.fixture(scope="module")
def bundled():
    return load_pair()


@pytest.fixture
def copied_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The bundled data in a folder that a test may damage."""
    shutil.copytree(resources.data_root(), tmp_path / "data")
    monkeypatch.setattr(resources, "data_root", lambda: tmp_path / "data")
    return tmp_path / "data"


def test_the_pair_is_ready_to_decode_with(bundled):
    target, draft = bundled
    for model in bundled:
        assert not model.training
        assert model.dtype == torch.float32
        assert model.lm_head.weight is model.model.embed_tokens.weight
        assert model.config.eos_token_id == model.tokenizer.eos_token_id
        assert not any(parameter.is_meta for parameter in model.parameters())
    assert target.tokenizer is draft.tokenizer
    assert inspect_model(target).shape.layers >= 8
    assert inspect_model(draft).shape.layers == 0


def test_loading_leaves_the_callers_randomness_alone():
    before = torch.get_rng_state()
    load_pair(verify=False)
    assert torch.equal(torch.get_rng_state(), before)


def test_weights_are_those_of_the_file(bundled):
    stored = load_file(PAIR / "target.safetensors")
    for name, parameter in bundled[0].named_parameters():
        assert torch.equal(parameter, stored[name].float()), name


def test_the_tokenizer_gives_text_back_unchanged(bundled):
    tokenizer = bundled[0].tokenizer
    for text in ("Straße, naïve, 東京, 🙂", "  two spaces\n\ttab", load_prompts("code")[0].text):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def assert_lossless(bundled, domain: str, texts: list[str]) -> None:
    target, draft = bundled
    for text in texts:
        own = tiny.generated(target, target.tokenizer(text)["input_ids"], 48)
        for gamma in (1, 2, 4, 8):
            decoding = decoded(target, text, draft=draft, gamma=gamma, max_new_tokens=48, stop_ids=None)
            assert decoding.new_ids == own, f"{domain}, γ = {gamma}: {text[:60]!r}"


@pytest.mark.parametrize("domain", DOMAINS)
def test_bundled_greedy_text_is_the_targets_own(bundled, domain):
    texts = [prompt.prompt for prompt in load_prompts(domain)]
    assert_lossless(bundled, domain, texts[:: max(1, len(texts) // 2)][:2])


@pytest.mark.full
@pytest.mark.parametrize("domain", DOMAINS)
def test_bundled_greedy_text_is_the_targets_own_on_every_prompt(bundled, domain):
    assert_lossless(bundled, domain, [prompt.prompt for prompt in load_prompts(domain)])


def test_missing_weights_are_named_with_what_to_do(copied_data):
    (copied_data / "pair/draft.safetensors").unlink()
    for verify in (True, False):
        with refused(r"pair/draft\.safetensors.*missing.*install"):
            load_pair(verify=verify)


def test_damaged_weights_are_found_by_their_checksum(copied_data):
    path = copied_data / "pair/target.safetensors"
    content = bytearray(path.read_bytes())
    content[-1000] ^= 1
    path.write_bytes(content)
    with refused(r"pair/target\.safetensors: is damaged.*install"):
        load_pair()


def test_truncated_weights_are_refused_without_a_checksum(copied_data):
    path = copied_data / "pair/target.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with refused(r"target\.safetensors and target\.json do not make a model"):
        load_pair(verify=False)


def test_weights_of_another_shape_are_refused(copied_data):
    config = json.loads((copied_data / "pair/draft.json").read_text())
    (copied_data / "pair/draft.json").write_text(json.dumps(config | {"hidden_size": 64}))
    with refused(r"draft\.safetensors and draft\.json do not make a model"):
        load_pair(verify=False)


def test_weights_that_lack_a_tensor_are_refused(copied_data):
    path = copied_data / "pair/draft.safetensors"
    tensors = load_file(path)
    del tensors["model.norm.weight"]
    save_file(tensors, path)
    with refused(r"does not fit draft\.json: model\.norm\.weight"):
        load_pair(verify=False)


def test_an_unknown_dtype_is_refused():
    with refused("dtype is 'int4'; expected: float32, bfloat16, float16"):
        load_pair(dtype="int4", verify=False)


def test_a_saved_model_loads_from_its_folder(bundled, tmp_path):
    target = tiny.moe(vocabulary=len(bundled[0].tokenizer))
    target.save_pretrained(tmp_path)
    bundled[0].tokenizer.save_pretrained(tmp_path)
    loaded = load_model(tmp_path)
    decoding = decoded(loaded, "Hello", draft=loaded, gamma=3, max_new_tokens=8)
    assert decoding.new_ids == own_text(target, decoding.prompt_ids, 8)
    assert isinstance(decoding.text, str)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        *(
            (name, r"expected: a folder with a config\.json, or a hub name")
            for name in ("no/such/thing", "../elsewhere", "owner/name; rm", "plain", "")
        ),
        (".", r"has no config\.json"),
        ("nobody/nothing", r"'nobody/nothing' cannot be loaded.*download=True"),  # not fetched unasked
    ],
)
def test_what_is_neither_a_model_nor_a_hub_name_is_refused(tmp_path, monkeypatch, name, said):
    monkeypatch.chdir(tmp_path)
    with refused(said):
        load_model(name)


def test_pickled_weights_are_refused(tmp_path, bundled):
    model = tiny.dense()
    model.config.save_pretrained(tmp_path)
    bundled[0].tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with refused("cannot be loaded"):
        load_model(tmp_path)


def with_vocabulary(name: str, vocabulary: dict[str, int]) -> SimpleNamespace:
    model = tiny.dense(vocabulary=4)
    model.name_or_path = name
    model.tokenizer = SimpleNamespace(get_vocab=lambda: vocabulary)
    return model


def test_tokenizers_that_differ_in_one_token_are_told_apart():
    target = with_vocabulary("big", {"a": 0, "b": 1, "c": 2})
    draft = with_vocabulary("small", {"a": 0, "b": 2, "c": 1})
    with refused(r"'big' and draft 'small'.*'b' is 1 in one and 2 in the other.*own"):
        check_same_tokenizer(target, draft)
    check_same_tokenizer(target, with_vocabulary("twin", {"c": 2, "b": 1, "a": 0}))


def test_loading_runs_no_code_that_comes_with_a_model():
    source = Path(models.__file__).read_text(encoding="utf-8")
    assert source.count('"trust_remote_code": False') == 1
    assert source.count("from_pretrained(") == source.count("**where")


def test_a_models_own_profile_is_counted_in_its_weights():
    model = tiny.moe()
    found = spec_from_model(model)
    weights, experts = sum(weight.numel() for weight in model.parameters()), 4 * 16 * 3 * 64 * 32
    assert (found.geometry.layers, found.geometry.experts, found.geometry.top_k) == (4, 16, 4)
    assert found.expert_bytes == 3 * 64 * 32 * 4  # three matrices in 32 bits
    assert weights - 4 < found.parameters <= weights  # spread over four layers, rounded down
    assert found.dense_bytes == 4 * (found.parameters - experts)
    assert found.head_bytes == 4 * 256 * 64
    assert found.kv_bytes_per_token == 4 * 2 * 2 * 2 * 16  # layers, keys and values of two heads, in 16 bits
    assert found.draft is None
    assert spec_from_model(load_pair(verify=False)[0]).draft is not None
