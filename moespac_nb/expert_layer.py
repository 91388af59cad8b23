"""One layer's experts while they are offloaded: its own code, on slots and on the store side by side.

The layer's code runs on doubles of its module, whose weights are the slots, or the store's: so nothing is
known here of how an expert computes. Each share writes its own rows of the output.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .devices import OperationError
from .errors import MoespacError
from .expert_store import ExpertStore
from .passes import Passes

__all__ = ["ExpertLayer"]


class ExpertLayer:
    """Stands in for the forward of a layer's experts, as transformers' experts interface calls it.

    next_gate: what chooses among the next layer's experts, asked for policies that look a layer ahead.
    """

    def __init__(self, module: Any, index: int, store: ExpertStore, passes: Passes, next_gate: Any) -> None:
        self._index = index
        self._store = store
        self._passes = passes
        self._next_gate = next_gate
        self._experts = int(module.num_experts)
        self._on_slots, self._on_store = copy.copy(module), copy.copy(module)
        self._on_slots._parameters = {**module._parameters, **store.slots}
        self._on_store._parameters = {**module._parameters, **store.layers[index]}

    def __call__(self, *args: Any, **kwargs: Any) -> Tensor:
        out: Tensor = _WithoutGradient.apply(self, *args, *kwargs.values())  # type: ignore[no-untyped-call]
        return out

    def compute(self, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        """hidden (tokens, H), experts and their gate weights (tokens, k) → (tokens, H)."""
        tokens, k = indices.shape
        asked = indices.reshape(-1).cpu().numpy()  # pair p is an expert of token p // k
        positions = np.bincount(asked, minlength=self._experts)
        experts = np.flatnonzero(positions)
        work = _Work(hidden, weights.reshape(-1, 1), asked, k)
        # What the CPU lane reads is brought to the host here, while nothing of this layer is under way.
        beside = work if hidden.device == self._store.host else work.on(self._store.host)

        def run_gpu(experts: list[int], slots: list[int]) -> None:
            self._on_slots.num_experts = self._store.count
            work.share(self._on_slots, self._rows(experts, slots))

        def run_cpu(experts: list[int]) -> None:
            beside.share(self._on_store, self._rows(experts, experts))

        try:
            self._passes.layer(
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
        if beside is not work:
            for pairs in beside.done:
                work.out[pairs.to(hidden.device)] = beside.out[pairs].to(hidden.device)
        return work.out.view(tokens, k, hidden.shape[-1]).sum(1)

    def _rows(self, experts: Sequence[int], rows: Sequence[int]) -> np.ndarray:
        """By expert, where its weights are; -1 for those that are not of the share."""
        found = np.full(self._experts, -1)
        found[experts] = rows
        return found

    def _ahead(self, hidden: Tensor) -> np.ndarray | None:
        """What the next layer's gate picks from this one's input, best first; as `channels` records it."""
        if self._next_gate is None or self._passes.scheduler.planner.known != "layer":
            return None
        named = min(2 * self._passes.scheduler.geometry.top_k, self._experts)
        best: Tensor = self._next_gate.scores(hidden).topk(named).indices
        return best.cpu().numpy().astype(np.int16)


class _Work:
    """One layer's input and output, on the device of one of its shares."""

    def __init__(self, hidden: Tensor, gates: Tensor, asked: np.ndarray, k: int) -> None:
        self._hidden, self._gates, self._asked, self._k = hidden, gates, asked, k
        self.out = hidden.new_empty(len(asked), hidden.shape[-1])  # a row a pair
        self.done: list[Tensor] = []  # the pairs of each share

    def on(self, device: torch.device) -> _Work:
        return _Work(self._hidden.to(device), self._gates.to(device), self._asked, self._k)

    def share(self, double: Any, row_of: np.ndarray) -> None:
        """Compute the pairs whose experts have a row of weights; in any thread, whose modes are its own."""
        rows = row_of[self._asked]
        chosen = np.flatnonzero(rows >= 0)
        # One transfer: the pairs, their positions, their rows of weights.
        pairs, positions, own = torch.from_numpy(np.stack([chosen, chosen // self._k, rows[chosen]])).to(
            self._hidden.device
        )
        with torch.inference_mode():
            hidden, gates = self._hidden.index_select(0, positions), self._gates.index_select(0, pairs)
            self.out.index_copy_(0, pairs, type(double).forward(double, hidden, own[:, None], gates))
        self.done.append(pairs)


class _WithoutGradient(torch.autograd.Function):
    """Computes in any mode, but cannot be trained through: slots are overwritten before a backward comes."""

    @staticmethod
    def forward(_ctx: Any, layer: ExpertLayer, hidden: Tensor, indices: Tensor, weights: Tensor) -> Tensor:
        return layer.compute(hidden, indices, weights)

    @staticmethod
    def backward(_ctx: Any, *_gradients: Tensor) -> Any:
        raise MoespacError("an offloaded model cannot be trained; end its run first, or call run.close()")
