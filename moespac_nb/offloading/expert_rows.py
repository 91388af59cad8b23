"""Compute chosen experts on their rows, from weights in slots or in the store, to the last bit.

Only the chosen experts are touched, however many others lie beside them: a grouped product over a whole
pool of slots takes time for each slot, and torch refuses 1,024 groups and more on some GPUs.

Three ways, each the arithmetic of an implementation that transformers offers:

- grouped_mm: a product per expert, as a grouped product is on the CPU; gates and biases as the module says.
- batched_mm: a product per pair, in a batch; off the CPU as grouped_mm, because a copy of its expert's
  weights for every pair takes too much memory there.
- eager and others: the module's own code, on one expert at a time.

Rows are returned without the router's weights; `added` sums them as the implementation does.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

__all__ = ["ExpertRows", "Part", "added", "implementation"]

Part = tuple[int, int, int]  # an expert's row of weights, and its rows of the input from begin to end
KNOWN = {"gate_up_proj", "up_proj", "down_proj", "gate_up_proj_bias", "up_proj_bias", "down_proj_bias"}


def implementation(module: Any) -> str:
    """Return how the model computes its experts; may change between two forwards."""
    return getattr(module.config, "_experts_implementation", None) or "eager"


class ExpertRows:
    """Computes one layer's experts with the weights of the slots, or of the store; used by one lane.

    Parameters
    ----------
    module : torch.nn.Module
        The layer's experts.
    weights : mapping
        Tensors by name, (rows, …) each; read whenever something is computed.

    Attributes
    ----------
    sums_in : torch.dtype or None
        The number format in which the module's own code added up, once that has run.
    """

    def __init__(self, module: Any, weights: Mapping[str, Tensor]) -> None:
        self._module = copy.copy(module)
        self._module._parameters = {
            name: weight for name, weight in module._parameters.items() if name not in weights
        }
        self._weights = weights
        self.sums_in: torch.dtype | None = None

    def compute(self, parts: Sequence[Part], hidden: Tensor, gates: torch.dtype, out: Tensor) -> None:
        """Compute experts on their rows.

        Parameters
        ----------
        parts : sequence of (int, int, int)
            An expert's row of the weights, and its rows of `hidden` from begin to end.
        hidden : Tensor, shape (rows, H)
            The experts' inputs.
        gates : torch.dtype
            The router's number format.
        out : Tensor, shape (rows, H)
            Takes the outputs, without the router's weights.
        """
        if not self.by_products():
            self._one_by_one(parts, hidden, gates, out)
            return
        module, weights = self._module, self._weights
        first = "gate_up_proj" if module.has_gate else "up_proj"
        up, down = weights[first], weights["down_proj"]
        if not module.is_transposed:
            up, down = up.transpose(1, 2), down.transpose(1, 2)
        by_pair = implementation(module) == "batched_mm" and hidden.device.type == "cpu"
        product = _one_a_pair if by_pair else _one_an_expert
        # Room for the rows of all parts: at the end of a tensor, and where threads part it, torch rounds
        # functions such as SiLU in another way. So each element must be where it is in the plain model.
        inner = hidden.new_zeros(len(hidden), up.shape[2], dtype=up.dtype)
        product(hidden.to(up.dtype), up, weights.get(first + "_bias"), parts, inner)
        inner = module._apply_gate(inner) if module.has_gate else module.act_fn(inner)
        product(inner, down, weights.get("down_proj_bias"), parts, out)

    def by_products(self) -> bool:
        """Return whether it computes as the interface says; a norm after the experts is then the caller's."""
        return implementation(self._module) in ("grouped_mm", "batched_mm") and self._weights.keys() <= KNOWN

    def _one_by_one(self, parts: Sequence[Part], hidden: Tensor, gates: torch.dtype, out: Tensor) -> None:
        for row, begin, end in parts:
            expert = {name: weight[row : row + 1] for name, weight in self._weights.items()}
            rows = torch.zeros(end - begin, dtype=torch.long, device=hidden.device)
            with _Sums() as sums:
                out[begin:end] = self._own(expert, hidden[begin:end], rows, gates)
            self.sums_in = sums.dtype

    def _own(self, weights: Mapping[str, Tensor], hidden: Tensor, rows: Tensor, gates: torch.dtype) -> Tensor:
        """Run the module's own code, a pair per token; a weight of 1 changes no number."""
        module = self._module
        own = module._parameters
        module._parameters = {**own, **weights}
        module.num_experts = len(next(iter(weights.values())))
        try:
            ones = hidden.new_ones(len(hidden), 1, dtype=gates)
            computed: Tensor = type(module).forward(module, hidden, rows[:, None], ones)
        finally:
            module._parameters = own  # nothing here keeps a slot's memory
        return computed


def _one_an_expert(
    rows: Tensor, weights: Tensor, bias: Tensor | None, parts: Sequence[Part], out: Tensor
) -> None:
    for place, begin, end in parts:
        product = out[begin:end]
        torch.mm(rows[begin:end], weights[place], out=product)
        if bias is not None:
            product.add_(bias[place])


def _one_a_pair(
    rows: Tensor, weights: Tensor, bias: Tensor | None, parts: Sequence[Part], out: Tensor
) -> None:
    at = torch.cat([torch.arange(begin, end) for _, begin, end in parts])
    places = torch.tensor([place for place, begin, end in parts for _ in range(begin, end)])
    if len(at) == 1 and len(rows) > 1:  # a product of one matrix is rounded in another way
        at, places = at.expand(2), places.expand(2)
    if weights.is_contiguous():
        product = torch.bmm(rows[at].unsqueeze(1), weights[places]).squeeze(1)
    else:  # as the weights lie
        product = torch.bmm(weights.transpose(1, 2)[places], rows[at].unsqueeze(-1)).squeeze(-1)
    if bias is not None:
        product.add_(bias[places])
    out.index_copy_(0, at, product)


class _Sums(TorchFunctionMode):
    """Notes the number format in which experts are added up."""

    dtype: torch.dtype | None = None

    def __torch_function__(
        self, func: Any, _types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is torch.Tensor.index_add_:
            self.dtype = args[0].dtype
        return func(*args, **(kwargs or {}))


def added(rows: Tensor, weights: Tensor, dtype: torch.dtype, sums_in: torch.dtype | None) -> Tensor:
    """Sum each token's rows (tokens, k, H), weighted by (tokens, k) → (tokens, H).

    With `sums_in` None, torch sums over k at once. Otherwise row by row, each rounded to that number format,
    as eager code does.
    """
    weighted = rows * weights.unsqueeze(-1)
    if sums_in is None:
        return weighted.sum(1).to(dtype)
    weighted = weighted.to(sums_in)
    total = torch.zeros_like(weighted[:, 0])
    for rank in range(rows.shape[1]):
        total += weighted[:, rank]
    return total.to(dtype)
