"""What a model is made of: counts of weights, bytes at one precision, and the draft it has. Knows no file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from ..trace.step import MoEShape
from ..utils.exceptions import MoespacError

__all__ = ["CHUNK_POSITIONS", "DraftSpec", "ModelSpec", "mismatch"]

# A prompt is read in chunks of so many positions: what the workspace is made for. An assumption.
CHUNK_POSITIONS = 512
# Logits are kept for the window alone, in 32 bits; an assumption of at most so many positions.
WINDOW_POSITIONS = 16


@dataclass(frozen=True, kw_only=True)
class DraftSpec:
    """What drafts for a target, wholly on the device."""

    name: str
    weights_bytes: float
    read_bytes: float  # by one token
    active_parameters: float  # that one token goes through
    kv_bytes_per_token: float
    overhead_s: float  # of one token, whatever the machine
    workspace_bytes: float

    def token_s(self, bytes_per_s: float, flops_per_s: float) -> float:
        """One drafted token on a device."""
        return self.overhead_s + max(self.read_bytes / bytes_per_s, self.prompt_token_s(flops_per_s))

    def prompt_token_s(self, flops_per_s: float) -> float:
        """One token of a prompt: read in chunks, so that the arithmetic is what takes the time."""
        return 2 * self.active_parameters / flops_per_s

    def memory_bytes(self, context: int) -> int:
        """Weights, keys and values of so many tokens, workspace."""
        return round(self.weights_bytes + context * self.kv_bytes_per_token + self.workspace_bytes)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """Counts of weights, and bytes at one precision. `origins` says of each key where it comes from."""

    name: str
    about: str
    layers: int
    moe_layers: int  # the others have a dense network of `dense_width`
    experts: int  # in each such layer
    top_k: int
    hidden: int
    expert_width: int
    shared_experts: int
    attention_parameters: int  # a layer
    dense_width: int
    vocabulary: int
    embedding_matrices: int  # 1 where the head is the embedding
    kv_values: int  # a token and layer, of 16 bits whatever the weights have
    context: int  # the most tokens
    bits_per_weight: float
    draft: DraftSpec | None = None
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def geometry(self) -> MoEShape:
        return MoEShape(self.moe_layers, self.experts, self.top_k)

    @property
    def expert_parameters(self) -> int:
        """Gate, up and down projection: 3·h·f."""
        return 3 * self.hidden * self.expert_width

    @property
    def expert_bytes(self) -> int:
        return self._bytes(self.expert_parameters)

    @property
    def all_experts(self) -> int:
        return self.moe_layers * self.experts

    @property
    def layer_parameters(self) -> int:
        """What every position of a layer with experts goes through: attention, router, shared experts."""
        router = self.hidden * self.experts
        return self.attention_parameters + router + self.shared_experts * self.expert_parameters

    @property
    def head_parameters(self) -> int:
        """What a pass reads outside these layers: dense layers and the head."""
        dense_layer = self.attention_parameters + 3 * self.hidden * self.dense_width
        return (self.layers - self.moe_layers) * dense_layer + self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, norms left out."""
        return self._resident_parameters + self.all_experts * self.expert_parameters

    @property
    def layer_bytes(self) -> int:
        return self._bytes(self.layer_parameters)

    @property
    def head_bytes(self) -> int:
        return self._bytes(self.head_parameters)

    @property
    def dense_bytes(self) -> int:
        """What is always on the device: attention, routers, shared experts, dense layers, embeddings."""
        return self._bytes(self._resident_parameters)

    @property
    def kv_bytes_per_token(self) -> int:
        return 2 * self.layers * self.kv_values

    @property
    def workspace_bytes(self) -> int:
        """Activations of one chunk of a prompt and logits of one window; CHUNK_POSITIONS is an assumption."""
        a_position = 8 * self.hidden + 3 * self.top_k * self.expert_width + 2 * self.attention_width
        return 2 * CHUNK_POSITIONS * a_position + 4 * WINDOW_POSITIONS * self.vocabulary

    @property
    def attention_width(self) -> int:
        """Queries, keys and values of one position, roughly: attention's weights over the hidden size."""
        return self.attention_parameters // self.hidden

    @property
    def _resident_parameters(self) -> int:
        embedding = (self.embedding_matrices - 1) * self.vocabulary * self.hidden
        return self.moe_layers * self.layer_parameters + self.head_parameters + embedding

    def _bytes(self, parameters: int) -> int:
        return round(parameters * self.bits_per_weight / 8)

    def larger(self, geometry: MoEShape) -> tuple[float, float]:
        """How many times a trace's layers this model has, and how many times its expert work for a token.

        A replay charges what the trace has. The whole model's time is about so many times as long: the first
        for drafting, planning and dense parts, the second for experts and for waiting. It is rough, as twice
        the top k asks for less than twice the experts of a window.
        """
        layers = self.moe_layers / geometry.layers
        return layers, layers * self.top_k / geometry.top_k

    def as_if(self, geometry: MoEShape) -> ModelSpec:
        """This model shrunk to the routing of another: its experts, but that many layers, experts and top k.

        The head and the draft's times shrink with the layers, the draft's memory with the number of all
        experts, so that each keeps its share of a pass and of a budget. `mismatch` says it in words.
        """
        if geometry == self.geometry:
            return self
        if not geometry.layers:
            raise MoespacError("the trace is of a dense model; expected: one with experts")
        by_layers = geometry.layers / self.moe_layers
        by_experts = geometry.layers * geometry.experts / self.all_experts
        return replace(
            self,
            layers=geometry.layers + round((self.layers - self.moe_layers) * by_layers),
            moe_layers=geometry.layers,
            experts=geometry.experts,
            top_k=geometry.top_k,
            vocabulary=max(1, round(self.vocabulary * by_layers)),
            draft=self.draft
            and replace(
                self.draft,
                weights_bytes=self.draft.weights_bytes * by_experts,
                kv_bytes_per_token=self.draft.kv_bytes_per_token * by_experts,
                workspace_bytes=self.draft.workspace_bytes * by_experts,
                read_bytes=self.draft.read_bytes * by_layers,
                active_parameters=self.draft.active_parameters * by_layers,
                overhead_s=self.draft.overhead_s * by_layers,
            ),
        )


def mismatch(geometry: MoEShape, model: ModelSpec) -> tuple[str, ...]:
    """What is scaled where a trace of this geometry is replayed on that profile; () where nothing is."""
    own = model.geometry
    notes = [
        f"{what}: the trace has {ours}, {model.name} {theirs}"
        for what, ours, theirs in (
            ("layers with experts", geometry.layers, own.layers),
            ("experts a layer", geometry.experts, own.experts),
            ("top k", geometry.top_k, own.top_k),
        )
        if ours != theirs
    ]
    if geometry.layers != own.layers:
        notes.append(
            f"times of head, draft and planning are scaled by layers, {geometry.layers}/{own.layers}"
        )
    all_ours = geometry.layers * geometry.experts
    if all_ours != model.all_experts:
        notes.append(f"the draft's memory is scaled by the number of experts, {all_ours}/{model.all_experts}")
    if geometry.layers and (larger := model.larger(geometry)) != (1, 1):
        notes.append(
            f"times and speeds are of the trace's layers and top k: all of {model.name} takes about "
            f"{larger[0]:.3g} times as long, and {larger[1]:.3g} times where experts decide"
        )
    return tuple(notes)
