"""What differs between releases of transformers, and what a model's cache can and cannot do."""

from __future__ import annotations

import subprocess
import sys
import warnings
from dataclasses import replace
from typing import Any

import pytest
import torch

from moespac_nb.decoder.drafts import NgramDraft
from moespac_nb.decoder.speculative import decode
from moespac_nb.hardware.model import ModelSpec
from moespac_nb.models import compat
from moespac_nb.models.loading import load_pair
from moespac_nb.offloading.own_spec import spec_from_model
from moespac_nb.utils.exceptions import MoespacError
from tests.helpers.decodes import decoded, own_text, refused
from tests.helpers.interrupts import InterruptAtLine, lines_of
from tools.support import tiny_models as tiny
from tools.support.families import FAMILIES, SIZES, model_of

PROMPT = [2 + (7 * i) % 11 for i in range(20)]


@pytest.fixture
def installed(monkeypatch):
    """Pretends that another transformers is installed."""

    def pretend(version: str) -> None:
        monkeypatch.setattr(compat.metadata, "version", lambda _name: version)
        compat.check_versions.cache_clear()

    yield pretend
    compat.check_versions.cache_clear()


@pytest.mark.parametrize("version", ["4.57.1", "5.16.1", "5.40.0", "6.0.0"])
def test_another_transformers_is_refused_at_first_use(installed, version):
    installed(version)
    for use in (lambda: decode(tiny.moe(layers=1), [5, 6]), load_pair):
        with pytest.raises(MoespacError) as caught:
            use()
        for part in (
            f"transformers {version} is installed",
            "5.20 to 5.39",
            "pip install 'transformers>=5.20,<5.40'",
        ):
            assert part in str(caught.value)


@pytest.mark.parametrize("version", ["5.17.0", "5.20.0", "5.24.0", "5.39.2"])
def test_a_transformers_of_the_range_is_taken(installed, version):
    installed(version)
    compat.check_versions()


def test_importing_the_package_asks_for_no_transformers():
    code = "import sys, moespac_nb; assert 'transformers' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_before_5_20_sliding_windows_are_refused_with_a_draft(installed):
    installed("5.17.0")
    with refused(r"sliding windows, and transformers 5\.17\.0 cannot wind them back"):
        decode(model_of("gpt_oss"), PROMPT, draft=NgramDraft())
    assert next(decode(model_of("gpt_oss"), PROMPT)).gamma == 0
    assert next(decode(tiny.moe(layers=1), PROMPT, draft=NgramDraft())).gamma > 0


class OlderName(tiny.MarkovChain):
    """A model that takes its cache as models did before 5.24, and swallows what it does not know."""

    def forward(
        self, input_ids: Any, past_key_values: Any = None, use_cache: bool = False, **rest: Any
    ) -> Any:
        assert past_key_values is not None, "its cache was given by another name"
        return super().forward(input_ids, past_key_values, use_cache, rest["logits_to_keep"])


def test_the_cache_is_given_by_the_name_that_the_model_takes():
    chain = torch.randn(8, 8)
    texts = []
    for kind in (tiny.MarkovChain, OlderName):
        decoding = decoded(kind(chain), [1, 2], draft=NgramDraft(), max_new_tokens=20)
        texts.append(decoding.new_ids)
    assert texts[0] == texts[1]


@pytest.mark.parametrize("share", [0.3, 0.7])
def test_an_interrupt_costs_a_state_and_no_token(share):
    model = model_of("qwen3_next")
    own = own_text(model, PROMPT, 8)
    options = {"max_new_tokens": 8, "stop_ids": ()}

    def watched(code: Any) -> bool:
        return code.co_filename.endswith(("decoding.py", "reader.py", "modeling_qwen3_next.py"))

    lines = lines_of(watched, lambda: list(decode(model, PROMPT, **options)))
    decoding = decode(model, PROMPT, **options)
    with pytest.raises(KeyboardInterrupt), InterruptAtLine(watched, int(share * lines)):
        list(decoding)
    list(decoding)
    assert decoding.new_ids == own


def test_sparse_attention_says_how_far_it_is_lossless():
    model = model_of("glm_moe_dsa")
    limit = FAMILIES["glm_moe_dsa"].options["index_topk"]
    with pytest.warns(UserWarning, match=f"may pick others .* beyond {limit} tokens") as warned:
        decoding = decode(model, PROMPT, draft=NgramDraft(), max_new_tokens=limit)
    assert [warning.filename for warning in warned] == [__file__]
    assert decoding.summary()["lossless_to"] == limit
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(model, PROMPT, draft=NgramDraft(), max_new_tokens=limit - len(PROMPT))
    assert decode(tiny.moe(layers=1), PROMPT).lossless_to is None


@pytest.mark.parametrize(
    ("name", "a_layer"),
    # DeepSeek keeps a latent and one rotated part, not keys and values of each head.
    [("qwen3_moe", 2 * 2 * 16), ("deepseek_v3", 8 + 8), ("gemma4_text", 2 * 2 * 16)],
)
def test_a_models_profile_counts_what_its_cache_keeps_of_a_token(name, a_layer):
    shape: ModelSpec = spec_from_model(model_of(name))
    layers = SIZES["num_hidden_layers"]  # of which those with experts carry what all of them keep
    assert shape.kv_values == round(layers * a_layer / shape.layers)
    assert replace(shape, kv_values=1).kv_bytes_per_token < shape.kv_bytes_per_token


def test_a_model_whose_experts_are_not_seen_has_no_profile():
    with refused("Llama4TextExperts does not go through"):
        spec_from_model(model_of("llama4_text"))
    with refused("has no experts to count: it is dense"):
        spec_from_model(tiny.dense())
