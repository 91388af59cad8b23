"""What a model is made of: counts of weights, bytes at one precision, and the draft it has.

load_model_spec("qwen3-30b-a3b").expert_bytes        # in bfloat16
load_model_spec("qwen3-30b-a3b-4bit").draft.name
load_model_spec("bundled-pair"), load_model_spec("my_model.toml")
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from ..trace.step import MoEShape
from .profile_files import TINY, Constant, Profile, profile_names, read_profile

__all__ = ["BUNDLED", "FOUR_BIT", "RECORDS", "DraftSpec", "ModelSpec", "list_model_specs", "load_model_spec"]

BUNDLED = "bundled-pair"
FOUR_BIT = "-4bit"
# A prompt is read in chunks of so many positions: what the workspace is made for. An assumption.
CHUNK_POSITIONS = 512
# Logits are kept for the window alone, in 32 bits; an assumption of at most so many positions.
WINDOW_POSITIONS = 16


@dataclass(frozen=True, kw_only=True)
class DraftSpec:
    """The model that drafts for a target; all of it is on the device.

    Parameters
    ----------
    name : str
    weights_bytes : float
        Of all its weights.
    read_bytes : float
        What one token reads of them.
    active_parameters : float
        Weights that one token goes through.
    kv_bytes_per_token : float
        Keys and values of one token.
    overhead_s : float
        Seconds that each token takes in addition, on any machine.
    workspace_bytes : float
        Activations and logits.
    """

    name: Annotated[str, Constant("name")]
    weights_bytes: Annotated[float, Constant("weights_gb", "GB", 1e9, TINY, 1e4)]
    read_bytes: Annotated[float, Constant("read_gb", "GB a token", 1e9, TINY, 1e4)]
    active_parameters: Annotated[float, Constant("active_billion", "10⁹ weights a token", 1e9, TINY, 1e4)]
    kv_bytes_per_token: Annotated[float, Constant("kv_bytes_per_token", "bytes", 1, 1, 1e8)]
    overhead_s: Annotated[float, Constant("overhead_ms", "milliseconds a token", 1e-3, 0, 1e4)]
    workspace_bytes: Annotated[float, Constant("workspace_gb", "GB", 1e9, 0, 1e3)]

    def token_s(self, bytes_per_s: float, flops_per_s: float) -> float:
        """Return the seconds of one drafted token: reading its bytes or its arithmetic, whichever is longer.

        Parameters
        ----------
        bytes_per_s, flops_per_s : float
            Of the device.

        Returns
        -------
        float

        Examples
        --------
        >>> draft = load_model_spec("qwen3-30b-a3b").draft
        >>> round(1e3 * draft.token_s(bytes_per_s=1008e9, flops_per_s=165e12), 2)
        4.88
        """
        return self.overhead_s + max(self.read_bytes / bytes_per_s, self.prompt_token_s(flops_per_s))

    def prompt_token_s(self, flops_per_s: float) -> float:
        """Return the seconds of one prompt token: prompts are read in chunks, bound by arithmetic."""
        return 2 * self.active_parameters / flops_per_s

    def memory_bytes(self, context: int) -> int:
        """Return the bytes of weights, of keys and values of `context` tokens, and of the workspace."""
        return round(self.weights_bytes + context * self.kv_bytes_per_token + self.workspace_bytes)


def _count(name: str, unit: str = "things", least: int = 1, most: float = 1e7) -> Constant:
    return Constant(f"shape.{name}", unit, least=least, most=most, whole=True)


@dataclass(frozen=True, kw_only=True)
class ModelSpec:
    """A model's counts of weights, and their bytes at one precision.

    Parameters
    ----------
    name, about : str
        Of its profile, and what it is, in words.
    layers, moe_layers : int
        All layers, and those of them that have experts; the others have a dense network.
    experts, top_k : int
        Experts of one layer, and how many of them a token uses.
    hidden, expert_width, dense_width : int
        Width of the hidden state, of one expert, and of the network of a dense layer (0 without any).
    shared_experts : int
        Experts of one layer that every token uses.
    attention_parameters : int
        Weights of attention in one layer.
    vocabulary : int
    embedding_matrices : int
        1 where the head is the embedding, else 2.
    kv_values : int
        Keys and values of one token in one layer; 16 bits each, whatever the precision of the weights.
    context : int
        The most tokens that it can read.
    bits_per_weight : float
        The precision, scales included.
    dense_bits_per_weight : float, optional
        That of all weights that are no expert's, where it is another.
    expert_scale : float, default 1
        Bytes and work of one expert, in the model's own: of a spec that stands for other routing, see
        `scaling.scale_to_trace`.
    draft : DraftSpec, optional
        None where drafting takes no time and no memory.
    origins : mapping of str to str
        Where each constant comes from, by its key in the profile.

    Examples
    --------
    >>> spec = load_model_spec("qwen3-30b-a3b")
    >>> spec.geometry
    MoEShape(layers=48, experts=128, top_k=8)
    >>> spec.expert_bytes == 3 * 2048 * 768 * 2
    True
    """

    name: str
    about: Annotated[str, Constant("about")]
    layers: Annotated[int, _count("layers")]
    moe_layers: Annotated[int, _count("moe_layers")]
    experts: Annotated[int, _count("experts")]
    top_k: Annotated[int, _count("top_k")]
    hidden: Annotated[int, _count("hidden")]
    expert_width: Annotated[int, _count("expert_width")]
    shared_experts: Annotated[int, _count("shared_experts", least=0)]
    attention_parameters: Annotated[int, _count("attention_parameters", "weights a layer", most=1e10)]
    dense_width: Annotated[int, _count("dense_width", least=0)]
    vocabulary: Annotated[int, _count("vocabulary")]
    embedding_matrices: Annotated[int, _count("embedding_matrices", "matrices", most=2)]
    kv_values: Annotated[int, _count("kv_values", "values a token and layer", most=1e6)]
    context: Annotated[int, _count("context")]
    bits_per_weight: float
    dense_bits_per_weight: float | None = None
    expert_scale: float = 1.0
    draft: DraftSpec | None = None
    origins: Mapping[str, str] = field(default_factory=dict)

    @property
    def geometry(self) -> MoEShape:
        """Layers with experts, experts of each, and top k."""
        return MoEShape(self.moe_layers, self.experts, self.top_k)

    @property
    def expert_parameters(self) -> int:
        """Weights of one expert: gate, up and down projection, 3·h·f."""
        return round(self.expert_scale * 3 * self.hidden * self.expert_width)

    @property
    def expert_bytes(self) -> int:
        """Bytes of one expert."""
        return round(self.expert_parameters * self.bits_per_weight / 8)

    @property
    def all_experts(self) -> int:
        """The number of experts in all layers."""
        return self.moe_layers * self.experts

    @property
    def layer_parameters(self) -> int:
        """Weights of a layer that each position goes through: attention, router, shared experts."""
        router = self.hidden * self.experts
        return self.attention_parameters + router + self.shared_experts * 3 * self.hidden * self.expert_width

    @property
    def head_parameters(self) -> int:
        """Weights that a pass reads outside these layers: dense layers and the head."""
        dense_layer = self.attention_parameters + 3 * self.hidden * self.dense_width
        return (self.layers - self.moe_layers) * dense_layer + self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All weights, norms left out."""
        return self._resident_parameters + self.all_experts * self.expert_parameters

    @property
    def layer_bytes(self) -> int:
        """Bytes of `layer_parameters`."""
        return self._dense_bytes(self.layer_parameters)

    @property
    def head_bytes(self) -> int:
        """Bytes of `head_parameters`."""
        return self._dense_bytes(self.head_parameters)

    @property
    def dense_bytes(self) -> int:
        """Bytes always on the device: attention, routers, shared experts, dense layers, embeddings."""
        return self._dense_bytes(self._resident_parameters)

    @property
    def kv_bytes_per_token(self) -> int:
        """Bytes of one token's keys and values in all layers."""
        return 2 * self.layers * self.kv_values

    @property
    def workspace_bytes(self) -> int:
        """Activations of one chunk of a prompt and logits of one window; CHUNK_POSITIONS is an assumption."""
        attention_width = self.attention_parameters // self.hidden  # of queries, keys and values, roughly
        a_position = 8 * self.hidden + 3 * self.top_k * self.expert_width + 2 * attention_width
        return 2 * CHUNK_POSITIONS * a_position + 4 * WINDOW_POSITIONS * self.vocabulary

    @property
    def _resident_parameters(self) -> int:
        embedding = (self.embedding_matrices - 1) * self.vocabulary * self.hidden
        return self.moe_layers * self.layer_parameters + self.head_parameters + embedding

    def _dense_bytes(self, parameters: int) -> int:
        return round(parameters * (self.dense_bits_per_weight or self.bits_per_weight) / 8)


@dataclass(frozen=True)
class _Precision:
    bits_per_weight: Annotated[float, Constant("bits_per_weight", "bits", 1, 1, 64)]
    dense_bits_per_weight: Annotated[
        float | None, Constant("dense_bits_per_weight", "bits", 1, 1, 64, optional=True)
    ] = None


PRECISIONS = ("bf16", "4bit")  # tables of a profile
RECORDS: dict[str, type] = {
    "": ModelSpec,
    **{f"{precision}.": _Precision for precision in PRECISIONS},
    **{f"{precision}.draft.": DraftSpec for precision in PRECISIONS},
}


def list_model_specs() -> tuple[str, ...]:
    """List the names of the bundled models: real ones in two precisions, and the bundled pair.

    Returns
    -------
    tuple of str
        Sorted.

    Examples
    --------
    >>> list_model_specs()[:3]
    ('bundled-pair', 'deepseek-v2-lite', 'deepseek-v2-lite-4bit')
    """
    names = profile_names("models")
    return tuple(sorted([*names, *(name + FOUR_BIT for name in names if name != BUNDLED)]))


def load_model_spec(model: ModelSpec | str | Path) -> ModelSpec:
    """Load the sizes of a model.

    Parameters
    ----------
    model : ModelSpec, str or Path
        The name of a bundled model, the path of a profile in TOML (its bfloat16 if it has that), or a spec,
        which is returned.

    Returns
    -------
    ModelSpec

    Raises
    ------
    MissingDataError
        If there is no file at the path.
    InvalidInputError
        If the name is unknown, or something in the profile is unknown, missing or out of its limits.

    Examples
    --------
    >>> four_bit = load_model_spec("qwen3-30b-a3b-4bit")
    >>> four_bit.bits_per_weight, four_bit.draft.name
    (4.5, 'Qwen3-4B in 4 bits')
    >>> four_bit.origins["4bit.bits_per_weight"]
    'assumption: all matrices in 4 bits with one 16-bit scale a block of 32 weights'
    """
    if isinstance(model, ModelSpec):
        return model
    names = list_model_specs()
    is_four_bit = str(model) in names and str(model).endswith(FOUR_BIT)
    file = str(model).removesuffix(FOUR_BIT) if is_four_bit else model
    profile = read_profile("models", file, RECORDS, names)
    held = [precision for precision in PRECISIONS if profile.has(f"{precision}.")]
    precision = "4bit" if is_four_bit or held == ["4bit"] else "bf16"
    spec = ModelSpec(
        name=profile.name + (FOUR_BIT if precision == "4bit" else ""),
        draft=_draft(profile, f"{precision}.draft."),
        origins=profile.origins,
        **profile.fields(_Precision, f"{precision}."),
        **profile.fields(ModelSpec),
    )
    profile.check_at_most("shape.moe_layers", "shape.layers")
    profile.check_at_most("shape.top_k", "shape.experts")
    return spec


def _draft(profile: Profile, table: str) -> DraftSpec | None:
    if not profile.has(table):
        return None
    draft = DraftSpec(**profile.fields(DraftSpec, table))
    profile.check_at_most(f"{table}read_gb", f"{table}weights_gb")
    return draft
