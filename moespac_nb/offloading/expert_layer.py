"""The experts of one layer while they are offloaded: computed from slots and from the store side by side.

Both write rows of one table, one row for every pair of a token and an expert. The rows are weighted and
summed here once all are computed, in the order and the number format of the model's own implementation: so
a budget changes no bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..engine.devices import OperationError
from ..utils.exceptions import InvalidInputError
from .driver import SchedulerDriver
from .expert_rows import ExpertRows, Part, added, implementation
from .expert_store import ExpertStore

__all__ = ["ExpertLayer"]


class ExpertLayer:
    """Replace the forward of a layer's experts, as transformers' experts interface calls it.

    Parameters
    ----------
    module : torch.nn.Module
        The layer's experts.
    index : int
        The layer, by depth.
    store : ExpertStore
        Has the weights, on the host and in slots.
    driver : SchedulerDriver
        Says where each expert computes.
    next_gate : Gate or None
        The next layer's gate, for policies that look a layer ahead.
    """

    def __init__(
        self, module: Any, index: int, store: ExpertStore, driver: SchedulerDriver, next_gate: Any
    ) -> None:
        self._module = module
        self._index = index
        self._store = store
        self._driver = driver
        self._next_gate = next_gate
        self._experts = int(module.num_experts)
        self._from_slots = ExpertRows(module, store.slots)
        self._from_store = ExpertRows(module, store.layers[index])

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        """Compute the layer in any mode of autograd; see `compute`."""
        out: Tensor = _WithoutGradient.apply(self, *args, *kwargs.values())  # type: ignore[no-untyped-call]
        return out

    def compute(self, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """Compute the layer.

        Parameters
        ----------
        hidden : Tensor, shape (tokens, H)
            The layer's input.
        indices, weights : Tensor, shape (tokens, top_k)
            Experts of each token, and their gate weights.

        Returns
        -------
        Tensor, shape (tokens, H)
        """
        while True:
            try:
                return self._compute(hidden, indices, weights)
            except torch.OutOfMemoryError:
                if not self._driver.give_way():
                    raise

    def _compute(self, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        tokens, k = indices.shape
        how = implementation(self._module)
        # Pairs by expert, and one expert's in the order in which the implementation takes them: several
        # threads round a product by where in it a row is.
        flat = (indices.T if how == "eager" else indices).reshape(-1)
        order = flat.sort(stable=True)[1] if how == "eager" else flat.sort()[1]
        token_of = order % tokens if how == "eager" else order // k
        sorted_hidden = hidden.index_select(0, token_of)
        # What the host reads is brought there now, while nothing of this layer is under way.
        host_flat, host_hidden = self._store.on_host(flat, sorted_hidden)
        positions = np.bincount(host_flat.numpy(), minlength=self._experts)
        experts = np.flatnonzero(positions)
        ends = positions.cumsum()
        rows = torch.empty_like(sorted_hidden, dtype=self._store.dtype)
        host_rows = rows if host_hidden is sorted_hidden else torch.empty_like(host_hidden, dtype=rows.dtype)
        host_parts: list[Part] = []

        def parts(chosen: Sequence[int], places: Sequence[int]) -> list[Part]:
            spans = ((int(ends[expert] - positions[expert]), int(ends[expert])) for expert in chosen)
            return [(place, *span) for place, span in zip(places, spans, strict=True)]

        def run_gpu(chosen: list[int], slots: list[int]) -> None:
            with torch.inference_mode():  # in any thread, whose modes are its own
                self._from_slots.compute(parts(chosen, slots), sorted_hidden, weights.dtype, rows)

        def run_cpu(chosen: list[int]) -> None:
            mine = parts(chosen, chosen)
            with torch.inference_mode():
                self._from_store.compute(mine, host_hidden, weights.dtype, host_rows)
            host_parts.extend(mine)

        try:
            self._driver.layer(
                self._index,
                experts.tolist(),
                positions[experts].tolist(),
                run_gpu,
                run_cpu,
                self._ahead(hidden),
                pass_positions=tokens,
            )
        except OperationError as error:
            raise error.__cause__ or error  # noqa: B904  # what the layer's own code raised
        if host_parts and host_rows is not rows:
            places = torch.cat([torch.arange(begin, end) for _, begin, end in host_parts])
            rows.index_copy_(0, *self._store.on_device(places, host_rows[places]))
        if self._module.has_post_expert_norm and self._from_slots.by_products():
            rows = self._module.post_expert_norm(rows)
        if how != "eager":  # a token's rows by rank
            by_rank = torch.empty_like(rows).index_copy_(0, order, rows)
            return added(by_rank.view(tokens, k, rows.shape[1]), weights, hidden.dtype, None)
        by_expert = token_of.argsort(stable=True).view(tokens, k)
        weights = weights.T.reshape(-1)[order][by_expert]
        sums_in = self._from_slots.sums_in or self._from_store.sums_in or hidden.dtype
        return added(rows[by_expert], weights, hidden.dtype, sums_in)

    def _ahead(self, hidden: Tensor) -> np.ndarray | None:
        """Experts that the next layer's gate chooses from this one's input, best first; as in `channels`."""
        if self._next_gate is None or self._driver.scheduler.planner.available_at != "layer":
            return None
        named = min(2 * self._driver.scheduler.geometry.top_k, self._experts)
        best: Tensor = self._next_gate.scores(hidden).topk(named).indices
        return best.cpu().numpy().astype(np.int16)


class _WithoutGradient(torch.autograd.Function):
    """Compute in any mode; training is refused, as slots are overwritten before a backward comes."""

    @staticmethod
    def forward(_ctx: Any, layer: ExpertLayer, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        return layer.compute(hidden, indices, weights)

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> Any:
        raise InvalidInputError(
            "an offloaded model cannot be trained; end its run first, or call run.close()"
        )
