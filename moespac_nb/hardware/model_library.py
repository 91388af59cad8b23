"""Profiles of models: the bundled ones, or a TOML file. What one holds: `model_shape.ModelProfile`.

load_model_spec("qwen3-30b-a3b").expert_bytes        # in bfloat16
load_model_spec("qwen3-30b-a3b-4bit").draft.name
load_model_spec("bundled-pair"), load_model_spec("my_model.toml")
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..datasets.files import data_path
from ..utils.exceptions import MoespacError, did_you_mean
from .model import CHUNK_POSITIONS, DraftSpec, ModelSpec, mismatch
from .profile_files import Profile, Quantity, profile_names, read_profile

__all__ = [
    "MODEL_KEYS",
    "DraftSpec",
    "ModelSpec",
    "list_model_specs",
    "load_model_spec",
    "mismatch",
]

BUNDLED = "bundled-pair"
FOUR_BIT = "-4bit"
PRECISIONS = ("bf16", "4bit")
_COUNT = Quantity("things", 1, 1e7, whole=True)
_COUNT_OR_NONE = _COUNT._replace(least=0)
_SHAPE: dict[str, Quantity] = {
    **dict.fromkeys(
        ("layers", "moe_layers", "experts", "top_k", "hidden", "expert_width", "vocabulary", "context"),
        _COUNT,
    ),
    **dict.fromkeys(("shared_experts", "dense_width"), _COUNT_OR_NONE),
    "attention_parameters": Quantity("weights a layer", 1, 1e10, whole=True),
    "embedding_matrices": Quantity("matrices", 1, 2, whole=True),
    "kv_values": Quantity("values a token and layer", 1, 1e6, whole=True),
}
_DRAFT: dict[str, Quantity] = {
    "name": Quantity(None, optional=True),
    "weights_gb": Quantity("GB", 1e-6, 1e4, optional=True),
    "read_gb": Quantity("GB a token", 1e-6, 1e4, optional=True),
    "active_billion": Quantity("10⁹ weights a token", 1e-6, 1e4, optional=True),
    "kv_bytes_per_token": Quantity("bytes", 1, 1e8, optional=True),
    "overhead_ms": Quantity("milliseconds a token", 0, 1e4, optional=True),
    "workspace_gb": Quantity("GB", 0, 1e3, optional=True),
}
MODEL_KEYS: dict[str, Quantity] = {
    "about": Quantity(None),
    **{f"shape.{key}": quantity for key, quantity in _SHAPE.items()},
    **{f"{name}.bits_per_weight": Quantity("bits", 1, 64, optional=True) for name in PRECISIONS},
    **{f"{name}.draft.{key}": quantity for name in PRECISIONS for key, quantity in _DRAFT.items()},
}


def list_model_specs() -> tuple[str, ...]:
    """The bundled profiles; those of real models in two precisions."""
    real = profile_names("models")
    return tuple(sorted([BUNDLED, *real, *(name + FOUR_BIT for name in real)]))


def load_model_spec(given: ModelSpec | str | Path) -> ModelSpec:
    """A profile by its name, or from a TOML file: its bfloat16 if it has that. MoespacError for any other."""
    if isinstance(given, ModelSpec):
        return given
    if str(given) == BUNDLED:
        return _bundled_pair()
    names = list_model_specs()
    if str(given) not in names and Path(given).suffix != ".toml":
        raise MoespacError(
            f"model profile is {str(given)!r}; expected: {', '.join(names)}, or the path of an own profile, "
            f"a .toml file{did_you_mean(given, names)}"
        )
    four_bit = str(given).endswith(FOUR_BIT)
    profile = read_profile("models", str(given).removesuffix(FOUR_BIT), MODEL_KEYS)
    has = [name for name in PRECISIONS if profile.get(f"{name}.bits_per_weight") is not None]
    if not has:
        raise MoespacError(
            f"{profile.path}: bits_per_weight is missing; expected: in one of {', '.join(PRECISIONS)}"
        )
    precision = "4bit" if four_bit else has[0]
    shape = {key: int(profile.values[f"shape.{key}"]) for key in _SHAPE}
    _check_shape(profile.path, shape)
    return ModelSpec(
        name=profile.name + (FOUR_BIT if precision == "4bit" else ""),
        about=profile.values["about"],
        bits_per_weight=float(profile.values[f"{precision}.bits_per_weight"]),
        draft=_draft(profile, f"{precision}.draft."),
        origins=profile.origins,
        **shape,
    )


def _draft(profile: Profile, prefix: str) -> DraftSpec | None:
    given = {key: profile.get(prefix + key) for key in _DRAFT}
    if not any(value is not None for value in given.values()):
        return None
    for key, value in given.items():
        if value is None:
            raise MoespacError(f"{profile.path}: {prefix}{key} is missing; expected: {_DRAFT[key].accepted}")
    if given["read_gb"] > given["weights_gb"]:
        raise MoespacError(
            f"{profile.path}: {prefix}read_gb is {given['read_gb']!r}; expected: at most weights_gb, "
            f"{given['weights_gb']!r}"
        )
    return DraftSpec(
        name=given["name"],
        weights_bytes=given["weights_gb"] * 1e9,
        read_bytes=given["read_gb"] * 1e9,
        active_parameters=given["active_billion"] * 1e9,
        kv_bytes_per_token=float(given["kv_bytes_per_token"]),
        overhead_s=given["overhead_ms"] / 1e3,
        workspace_bytes=given["workspace_gb"] * 1e9,
    )


def _check_shape(path: Path, shape: Mapping[str, int]) -> None:
    for part, whole in (("moe_layers", "layers"), ("top_k", "experts")):
        if shape[part] > shape[whole]:
            raise MoespacError(
                f"{path}: shape.{part} is {shape[part]}; expected: at most shape.{whole}, {shape[whole]}"
            )


def _bundled_pair() -> ModelSpec:
    """The bundled pair, from the configurations that its weights are loaded with."""
    target, draft = (_config(f"pair/{name}.json") for name in ("target", "draft"))
    matrix = draft["vocab_size"] * draft["hidden_size"]
    body = draft["num_hidden_layers"] * (
        _attention(draft) + 3 * draft["hidden_size"] * draft["intermediate_size"]
    )
    weights = body + matrix  # tied: one token reads all of it
    return ModelSpec(
        name=BUNDLED,
        about="the bundled target and draft, in fp16 as they are stored",
        layers=target["num_hidden_layers"],
        moe_layers=target["num_hidden_layers"],
        experts=target["num_local_experts"],
        top_k=target["num_experts_per_tok"],
        hidden=target["hidden_size"],
        expert_width=target["moe_intermediate_size"],
        shared_experts=0,
        attention_parameters=_attention(target),
        dense_width=0,
        vocabulary=target["vocab_size"],
        embedding_matrices=1 if target["tie_word_embeddings"] else 2,
        kv_values=2 * target["num_key_value_heads"] * target["head_dim"],
        context=target["max_position_embeddings"],
        bits_per_weight=16,
        draft=DraftSpec(
            name="the bundled draft",
            weights_bytes=2 * weights,
            read_bytes=2 * weights,
            active_parameters=weights,
            kv_bytes_per_token=4.0
            * draft["num_hidden_layers"]
            * draft["num_key_value_heads"]
            * draft["head_dim"],
            overhead_s=0.0,  # launches are left out, as everywhere
            workspace_bytes=2 * CHUNK_POSITIONS * 8 * draft["hidden_size"],
        ),
        origins={"shape": "source: pair/target.json", "bf16.draft": "source: pair/draft.json"},
    )


def _config(name: str) -> dict[str, Any]:
    return dict(json.loads(data_path(name).read_text(encoding="utf-8")))


def _attention(config: Mapping[str, Any]) -> int:
    """Weights of grouped-query attention: queries and output, keys and values."""
    heads = 2 * config["num_attention_heads"] + 2 * config["num_key_value_heads"]
    return int(config["hidden_size"] * config["head_dim"] * heads)
