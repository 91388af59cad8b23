"""Scale a model to the routing of a trace, and say in a line what stands for what."""

from __future__ import annotations

from dataclasses import replace

from ..trace.step import MoEShape
from ..utils.exceptions import InvalidInputError
from .model import ModelSpec

__all__ = ["scale_to_trace", "scaling_note"]


def scale_to_trace(model: ModelSpec, geometry: MoEShape) -> ModelSpec:
    """Return what stands for a model where the routing of a trace is replayed in place of its own.

    The trace's experts are as large as it takes for a position to read the model's own bytes in each layer:
    8 of 128 experts are stood for by 4 of 64 that are twice as large. A trace with fewer layers stands for a
    part of the model: head and draft then shrink with the layers, the draft's memory with all experts, so
    that each keeps its share of a pass and of a budget.

    Parameters
    ----------
    model : ModelSpec
    geometry : MoEShape
        Of the trace.

    Returns
    -------
    ModelSpec
        The given one if the geometry is its own.

    Raises
    ------
    InvalidInputError
        If the trace has no layer with experts.

    Examples
    --------
    >>> from moespac_nb.hardware.model import load_model_spec
    >>> model = load_model_spec("qwen3-30b-a3b")
    >>> scaled = scale_to_trace(model, MoEShape(48, 64, 4))
    >>> scaled.expert_bytes / model.expert_bytes, scaled.head_bytes == model.head_bytes
    (2.0, True)
    """
    if geometry == model.geometry:
        return model
    if not geometry.layers:
        raise InvalidInputError("the trace is of a dense model; expected: one with experts")
    scale = model.top_k / geometry.top_k
    by_layers = geometry.layers / model.moe_layers
    by_bytes = scale * geometry.layers * geometry.experts / model.all_experts
    draft = model.draft and replace(
        model.draft,
        weights_bytes=model.draft.weights_bytes * by_bytes,
        kv_bytes_per_token=model.draft.kv_bytes_per_token * by_bytes,
        workspace_bytes=model.draft.workspace_bytes * by_bytes,
        read_bytes=model.draft.read_bytes * by_layers,
        active_parameters=model.draft.active_parameters * by_layers,
        overhead_s=model.draft.overhead_s * by_layers,
    )
    return replace(
        model,
        layers=geometry.layers + round((model.layers - model.moe_layers) * by_layers),
        moe_layers=geometry.layers,
        experts=geometry.experts,
        top_k=geometry.top_k,
        expert_scale=model.expert_scale * scale,
        vocabulary=max(1, round(model.vocabulary * by_layers)),
        draft=draft,
    )


def scaling_note(model: ModelSpec, recorded: MoEShape, geometry: MoEShape) -> str:
    """Say in a line what stands for what in a replay.

    Parameters
    ----------
    model : ModelSpec
    recorded : MoEShape
        Of the trace.
    geometry : MoEShape
        Of what is replayed: the trace, or its layers side by side.

    Returns
    -------
    str
        Empty if nothing is scaled.

    Examples
    --------
    >>> from moespac_nb.hardware.model import load_model_spec
    >>> scaling_note(load_model_spec("qwen3-30b-a3b"), MoEShape(8, 64, 4), MoEShape(48, 64, 4))
    "8 recorded layers stand for 48, 64 experts of top 4 for 128 of top 8, each of 2 × the model's bytes"
    """
    parts = []
    if recorded.layers != geometry.layers:
        parts.append(f"{recorded.layers} recorded layers stand for {geometry.layers}")
    if geometry.layers != model.moe_layers:
        parts.append(f"{geometry.layers} layers of {model.moe_layers}, with their share of head and draft")
    if (geometry.experts, geometry.top_k) != (model.experts, model.top_k):
        parts.append(
            f"{geometry.experts} experts of top {geometry.top_k} for {model.experts} of top {model.top_k}, "
            f"each of {model.top_k / geometry.top_k:.3g} × the model's bytes"
        )
    return ", ".join(parts)
