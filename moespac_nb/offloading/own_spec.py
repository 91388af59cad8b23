"""Facts about a loaded model: its sizes, counted, and how often other texts use each of its experts."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import torch

from ..datasets.prompts import DOMAINS
from ..datasets.traces import load_trace
from ..hardware.model import BUNDLED, ModelSpec, load_model_spec
from ..models.compat import cache_argument
from ..models.inspection import ModelInfo, inspect_model
from ..models.loading import context_of, vocabulary_of
from ..trace.locality import check_expert_usage, expert_usage
from ..trace.step import MoEShape
from ..trace.trace import Trace
from ..utils.exceptions import InvalidInputError

__all__ = ["expert_usage_for", "spec_from_model"]


def spec_from_model(model: Any, info: ModelInfo | None = None) -> ModelSpec:
    """Count a model's sizes.

    What is no expert and no embedding is spread evenly over the layers with experts. There is no draft, so
    drafting takes no time; the bundled target has the bundled draft, in half precision.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its weights may be on the meta device.
    info : ModelInfo, optional
        Of the model, if it is inspected already.

    Returns
    -------
    ModelSpec

    Raises
    ------
    MoespacError
        If it has no experts whose routing can be read.
    """
    info = info or inspect_model(model)
    config, shape = model.config.get_text_config(), info.shape
    if not shape.layers:
        raise InvalidInputError(
            f"{type(model).__name__} has no experts to count: {info.unread or 'it is dense'}; expected: a "
            "model whose experts go through transformers' experts interface"
        )
    embeddings = {id(weight): weight.numel() for weight in _embeddings(model)}
    a_layer = (info.parameters - info.expert_parameters - sum(embeddings.values())) // shape.layers
    hidden = config.hidden_size
    return ModelSpec(
        name=BUNDLED if _is_bundled(model) else type(model).__name__,
        about="the model at hand, counted",
        layers=shape.layers,
        moe_layers=shape.layers,
        experts=shape.experts,
        top_k=shape.top_k,
        hidden=hidden,
        expert_width=max(1, round(info.expert_parameters / (shape.layers * shape.experts) / (3 * hidden))),
        shared_experts=0,
        attention_parameters=max(1, a_layer - hidden * shape.experts),
        dense_width=0,
        vocabulary=vocabulary_of(model),
        embedding_matrices=max(1, len(embeddings)),
        kv_values=max(1, round(_cached_values(model) / shape.layers)),
        context=context_of(model),
        bits_per_weight=8 * next(info.experts[0].parameters()).element_size(),
        draft=load_model_spec(BUNDLED).draft if _is_bundled(model) else None,
        origins={"shape": "measured: counted in the model"},
    )


@torch.inference_mode()
def _cached_values(model: Any) -> int:
    """Count the numbers that all layers cache of one token; configs say it in too many ways."""
    ids = torch.zeros(1, 1, dtype=torch.long, device=model.device)
    # The class's own forward, so that this call does not count as one of the model's.
    out = type(model).forward(model, input_ids=ids, use_cache=True, logits_to_keep=1)
    layers = getattr(out, cache_argument(model)).layers
    kept = [getattr(layer, name, None) for layer in layers for name in ("keys", "values", "indexer_keys")]
    return sum(tensor.numel() for tensor in kept if isinstance(tensor, torch.Tensor))


def expert_usage_for(
    model: Any, shape: MoEShape, usage: np.ndarray | Trace | None, needed_by: str | None
) -> np.ndarray | None:
    """Return how often other texts used each expert: as given, or the bundled target's.

    Parameters
    ----------
    model : transformers.PreTrainedModel
        Its name is in the error message.
    shape : MoEShape
        The model's.
    usage : ndarray, shape (layers, experts), or Trace, optional
        As given.
    needed_by : str, optional
        The policy that cannot do without.

    Returns
    -------
    ndarray, shape (layers, experts), or None

    Raises
    ------
    InvalidInputError
        If it is needed and nothing is known.
    """
    expert_counts = check_expert_usage(usage, shape, "model")
    if expert_counts is None and needed_by is not None:
        if not _is_bundled(model):
            raise InvalidInputError(
                f"policy {needed_by!r} needs to know how often other texts use each expert, and "
                f"{type(model).__name__} brings no such counts; expected: expert_usage=, (layers, experts), "
                "or a trace of its decodes, see record"
            )
        expert_counts = _bundled_usage()
    return expert_counts


@cache
def _bundled_usage() -> np.ndarray:
    """From all domains of the bundled traces, the half to tune on."""
    usage: np.ndarray = np.sum([expert_usage(load_trace(domain, half="tune")) for domain in DOMAINS], axis=0)
    return usage


def _is_bundled(model: Any) -> bool:
    return getattr(model, "name_or_path", "") == "the bundled target"


def _embeddings(model: Any) -> list[Any]:
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    return [end.weight for end in ends if end is not None]
