"""Scale a model to the routing of a trace that has fewer layers or experts, and say what that changes."""

from __future__ import annotations

from dataclasses import astuple, replace

from ..trace.step import MoEShape
from ..utils.exceptions import InvalidInputError
from .model import ModelSpec

__all__ = ["scale_to_trace", "scaling_notes", "whole_model_factors"]


def scale_to_trace(model: ModelSpec, geometry: MoEShape) -> ModelSpec:
    """Shrink a model to the routing of a trace: its experts, but that many layers, experts and top k.

    The head and the draft's times shrink with the layers, the draft's memory with the number of all
    experts, so that each keeps its share of a pass and of a budget. A trace with all of the model's layers
    stands for the whole model: its experts are as large as it takes for a position to read the model's own
    bytes in each layer, and nothing else shrinks. `scaling_notes` says it in words.

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
    >>> spec = load_model_spec("qwen3-30b-a3b")
    >>> small = scale_to_trace(spec, MoEShape(8, 64, 4))
    >>> small.all_experts, small.expert_bytes == spec.expert_bytes
    (512, True)
    >>> scale_to_trace(spec, MoEShape(48, 64, 4)).expert_bytes / spec.expert_bytes
    2.0
    """
    if geometry == model.geometry:
        return model
    if not geometry.layers:
        raise InvalidInputError("the trace is of a dense model; expected: one with experts")
    if geometry.layers == model.moe_layers:
        scale = model.expert_scale * model.top_k / geometry.top_k
        return replace(model, experts=geometry.experts, top_k=geometry.top_k, expert_scale=scale)
    by_layers = geometry.layers / model.moe_layers
    by_experts = geometry.layers * geometry.experts / model.all_experts
    draft = model.draft and replace(
        model.draft,
        weights_bytes=model.draft.weights_bytes * by_experts,
        kv_bytes_per_token=model.draft.kv_bytes_per_token * by_experts,
        workspace_bytes=model.draft.workspace_bytes * by_experts,
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
        vocabulary=max(1, round(model.vocabulary * by_layers)),
        draft=draft,
    )


def whole_model_factors(model: ModelSpec, geometry: MoEShape) -> tuple[float, float]:
    """Return how many times as long the whole model takes as a trace's layers and top k, roughly.

    A replay charges what the trace has. It is rough, as twice the top k asks for less than twice the experts
    of a window.

    Parameters
    ----------
    model : ModelSpec
    geometry : MoEShape
        Of the trace, with 1 layer or more.

    Returns
    -------
    by_layers, by_experts : float
        For drafting, planning and dense parts, and for experts and for waiting.

    Examples
    --------
    >>> from moespac_nb.hardware.model import load_model_spec
    >>> whole_model_factors(load_model_spec("qwen3-30b-a3b"), MoEShape(8, 64, 4))
    (6.0, 12.0)
    """
    by_layers = model.moe_layers / geometry.layers
    if by_layers == 1:
        return 1.0, 1.0  # see `scale_to_trace`
    return by_layers, by_layers * model.top_k / geometry.top_k


def scaling_notes(model: ModelSpec, geometry: MoEShape, recorded: MoEShape | None = None) -> tuple[str, ...]:
    """Say in words what `scale_to_trace` scales.

    Parameters
    ----------
    model : ModelSpec
    geometry : MoEShape
        Of the trace.
    recorded : MoEShape, optional
        Of the trace before its layers were laid side by side, where they were.

    Returns
    -------
    tuple of str
        () if nothing is scaled. One line where the trace stands for the whole model.

    Examples
    --------
    >>> from moespac_nb.hardware.model import load_model_spec
    >>> scaling_notes(load_model_spec("qwen3-30b-a3b"), MoEShape(48, 64, 4), MoEShape(8, 64, 4))
    ("8 recorded layers stand for 48, 64 experts of top 4 for 128 of top 8, each of 2 × the model's bytes",)
    """
    if geometry.layers == model.moe_layers:
        return tuple(filter(None, [_whole_model_note(model, geometry, recorded or geometry)]))
    parts = ("layers with experts", "experts a layer", "top k")
    notes = [
        f"{part}: the trace has {traced}, {model.name} {own}"
        for part, traced, own in zip(parts, astuple(geometry), astuple(model.geometry), strict=True)
        if traced != own
    ]
    if geometry.layers != model.moe_layers:
        notes.append(
            f"times of head, draft and planning are scaled by layers, {geometry.layers}/{model.moe_layers}"
        )
    traced_experts = geometry.layers * geometry.experts
    if traced_experts != model.all_experts:
        notes.append(
            f"the draft's memory is scaled by the number of experts, {traced_experts}/{model.all_experts}"
        )
    if geometry.layers and (factors := whole_model_factors(model, geometry)) != (1, 1):
        notes.append(
            f"times and speeds are of the trace's layers and top k: all of {model.name} takes about "
            f"{factors[0]:.3g} times as long, and {factors[1]:.3g} times where experts decide"
        )
    return tuple(notes)


def _whole_model_note(model: ModelSpec, geometry: MoEShape, recorded: MoEShape) -> str:
    parts = []
    if recorded.layers != geometry.layers:
        parts.append(f"{recorded.layers} recorded layers stand for {geometry.layers}")
    if (geometry.experts, geometry.top_k) != (model.experts, model.top_k):
        parts.append(
            f"{geometry.experts} experts of top {geometry.top_k} for {model.experts} of top {model.top_k}, "
            f"each of {model.top_k / geometry.top_k:.3g} × the model's bytes"
        )
    return ", ".join(parts)
