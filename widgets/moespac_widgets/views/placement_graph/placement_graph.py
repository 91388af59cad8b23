"""Placement graph: experts, slots and lanes of a replay, moment by moment, and why an expert had to go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import networkx as nx
import numpy as np

from moespac_nb import Trace
from moespac_nb.policies import Policy
from moespac_nb.simulation.slot_history import (
    CPU,
    LATE,
    LOADED,
    READY,
    SERVED,
    SlotEvent,
    SlotHistory,
    slot_history,
)
from moespac_nb.trace.step import MoEShape
from moespac_nb.utils.defaults import BUDGET, POLICY

from ...base.assets import Words
from ...base.live_view import LiveView, view_trait
from ...base.serialize import pack
from ..trace_rounds import SENT_BYTES, Rounds

__all__ = ["LANES", "PlacementGraph", "laid_out", "together"]

LANES = ("link", "gpu", "cpu", "draft")
STRONGEST = 3  # ties that each expert is drawn with


class PlacementGraph(LiveView):
    """Show experts, slots and lanes of a replay, moment by moment, and why an expert was evicted.

    Parameters
    ----------
    trace : Trace
        A recorded decode, which is replayed.
    policy : str or Policy
        The policy to replay.
    budget : str or int
        The memory for experts: "17%", "512MiB", or bytes.
    gamma : int, optional
        The draft length to replay a dense trace with; None takes its longest.
    step, moment, layer, expert : int
        What is shown at first. `moment` is 0 for the whole window, or 1 + l while layer l computes; -1
        chooses no layer or expert.
    view : {"placement", "together"}
        The placement, or the experts that are used by the same tokens.
    limit_bytes : int
        The most data to send. Of a longer trace the first windows are shown, and the widget says so.
    **options
        Further arguments of `replay`, the machine and the model among them.

    Attributes
    ----------
    residency : SlotHistory
        The replay's slots: residents, loads and evictions.

    Raises
    ------
    MoespacError
        If the trace cannot be replayed in this way, or a value is out of range.

    Examples
    --------
    >>> from moespac_nb.datasets.traces import load_trace
    >>> view = PlacementGraph(load_trace("math")[:20], "recency", "25%", step=4, layer=3, expert=17)
    >>> graph = view.graph()
    >>> graph.nodes["lane", "gpu"]["pos"]
    (0.945, 0.37)
    """

    SCRIPT, TEXTS = "placement_graph.js", ("placement", "grid")

    step = view_trait(0)
    moment = view_trait(0)  # 0: the window as a whole; 1 + l: while layer l computes
    layer = view_trait(-1)
    expert = view_trait(-1)
    view = view_trait("placement")

    def __init__(
        self,
        trace: Trace,
        policy: str | Policy = POLICY,
        budget: Any = BUDGET,
        *,
        gamma: int | None = None,
        step: int = 0,
        moment: int = 0,
        layer: int = -1,
        expert: int = -1,
        view: str = "placement",
        limit_bytes: int = SENT_BYTES,
        **options: Any,
    ) -> None:
        self._trace = Rounds.of(trace, gamma).trace
        self.residency = slot_history(trace, policy, budget, gamma=gamma, **options)
        geometry = self.residency.geometry
        shown, notices = _shown(self.residency, limit_bytes)
        super().__init__(
            data={**_packed(self.residency, shown), "together": {}},
            title=Words("title.placement", {"policy": self.residency.result.policy}),
            limits={
                "step": (0, shown - 1),
                "moment": (0, geometry.layers),
                "layer": (-1, geometry.layers - 1),
                "expert": (-1, geometry.experts - 1),
                "view": ["placement", "together"],
            },
            notices=notices,
            step=step,
            moment=moment,
            layer=layer,
            expert=expert,
            view=view,
        )

    def graph(self) -> nx.DiGraph:
        """Return what is shown as a graph.

        Returns
        -------
        networkx.DiGraph
            Nodes are ("layer", l), ("expert", l, e), ("slot", s) and ("lane", name), each with its place
            `pos`. An edge's `kind` is "asks" (with `positions`), "holds", "loads" or "serves".
        """
        return _with_edges(self._structure.copy(), self.residency, self.step, self.moment)

    def together(self, layer: int) -> nx.Graph:
        """Return which experts of a layer are used by the same tokens.

        Parameters
        ----------
        layer : int
            Which layer, from 0.

        Returns
        -------
        networkx.Graph
            Nodes are experts with `pos` and `uses`; see the function `together` for an edge's `weight`.
        """
        return together(self._trace.experts[:, layer], self.residency.geometry.experts)

    def answer_together(self, layer: int) -> dict[str, Any]:
        """Return one layer's graph for the view "together", packed.

        Parameters
        ----------
        layer : int
            Which layer, from 0.
        """
        graph = self.together(layer)
        ties = [(a, b, weight) for a, b, weight in graph.edges(data="weight")]
        return {
            "pos": pack(np.array([graph.nodes[node]["pos"] for node in graph], np.float32)),
            "uses": pack(np.array([graph.nodes[node]["uses"] for node in graph])),
            "ties": pack(np.array([tie[:2] for tie in ties], int).reshape(-1, 2)),
            "weights": pack(np.array([tie[2] for tie in ties], np.float32)),
        }

    def page_data(self) -> Mapping[str, Any]:
        """With the second view of every layer: a page cannot ask."""
        layers = range(self.residency.geometry.layers)
        return {**self._data, "together": {str(layer): self.answer_together(layer) for layer in layers}}

    @cached_property
    def _structure(self) -> nx.DiGraph:
        return laid_out(self.residency.geometry, self.residency.slots)


def laid_out(geometry: MoEShape, slots: int) -> nx.DiGraph:
    """Return layers, experts, slots and lanes with their places, and no edges.

    Parameters
    ----------
    geometry : MoEShape
        How many layers and experts there are.
    slots : int
        How many slots there are.

    Returns
    -------
    networkx.DiGraph
        Each node's `pos` is x and y from 0 to 1, y downwards.
    """
    graph = nx.DiGraph()
    down = (np.arange(geometry.layers) + 0.5) / geometry.layers
    across = 0.04 + 0.58 * (np.arange(geometry.experts) + 0.5) / geometry.experts
    for layer, y in enumerate(down.tolist()):
        graph.add_node(("layer", layer), pos=(0.02, y))
        graph.add_nodes_from(
            (("expert", layer, expert), {"pos": (x, y)}) for expert, x in enumerate(across.tolist())
        )
    columns = max(1, int(np.ceil(np.sqrt(slots * 0.6))))
    rows = max(1, -(-slots // columns))
    for slot in range(slots):
        row, column = divmod(slot, columns)
        graph.add_node(("slot", slot), pos=(0.68 + 0.17 * (column + 0.5) / columns, (row + 0.5) / rows))
    for lane, y in zip(LANES, (0.12, 0.37, 0.63, 0.88), strict=True):
        graph.add_node(("lane", lane), pos=(0.945, y))
    return graph


def together(experts: np.ndarray, count: int) -> nx.Graph:
    """Return which experts are used by the same tokens; each keeps its three strongest ties.

    Parameters
    ----------
    experts : ndarray, (positions, k)
        The experts that the router chose for each position.
    count : int
        How many experts the layer has.

    Returns
    -------
    networkx.Graph
        A node's `uses` is its positions. An edge's `weight` is the positions that two experts share over the
        geometric mean of their uses.
    """
    chosen = np.zeros((len(experts), count), np.float32)
    np.put_along_axis(chosen, experts.astype(np.int64), 1.0, axis=1)
    shared = chosen.T @ chosen
    uses = shared.diagonal().copy()
    mean = np.sqrt(np.outer(uses, uses))
    weight = np.divide(shared, mean, out=np.zeros_like(shared), where=mean > 0)
    np.fill_diagonal(weight, 0)
    graph = nx.Graph()
    graph.add_nodes_from((expert, {"uses": int(uses[expert])}) for expert in range(count))
    for expert, row in enumerate(weight):
        strongest = np.argsort(-row, kind="stable")[:STRONGEST]
        graph.add_weighted_edges_from((expert, int(o), float(row[o])) for o in strongest if row[o] > 0)
    nx.set_node_attributes(graph, _places(graph), "pos")
    return graph


def _places(graph: nx.Graph) -> dict[int, tuple[float, float]]:
    """Spring layout with positions equalised by rank; experts without a tie are placed on the bottom row."""
    alone = [expert for expert, degree in graph.degree if not degree]
    tied = graph.subgraph(sorted(set(graph) - set(alone)))
    places = {expert: ((i + 0.5) / len(alone), 1.0) for i, expert in enumerate(alone)}
    if len(tied):
        sprung = nx.spring_layout(tied, seed=0, k=3 / np.sqrt(len(tied)))
        xy = np.array([sprung[expert] for expert in tied])
        even = xy.argsort(axis=0).argsort(axis=0) / max(1, len(tied) - 1)  # each one's rank
        spread = 0.3 * (xy - xy.min(axis=0)) / np.maximum(np.ptp(xy, axis=0), 1e-9) + 0.7 * even
        spread[:, 1] *= 0.9 if alone else 1.0
        places |= {expert: (float(x), float(y)) for expert, (x, y) in zip(tied, spread, strict=True)}
    return places


def _with_edges(graph: nx.DiGraph, seen: SlotHistory, window: int, moment: int) -> nx.DiGraph:
    experts = seen.geometry.experts
    owner, loading = seen.owners(window, moment)
    for slot in np.flatnonzero(owner >= 0).tolist():
        graph.add_edge(("expert", *divmod(int(owner[slot]), experts)), ("slot", slot), kind="holds")
        if loading[slot]:
            graph.add_edge(("lane", "link"), ("slot", slot), kind="loads")
    slot_of = {int(key): slot for slot, key in enumerate(owner) if key >= 0}
    layers = range(seen.geometry.layers) if not moment else [moment - 1]
    for layer in layers:
        for expert in np.flatnonzero(seen.counts[window, layer]).tolist():
            node, how = ("expert", layer, expert), int(seen.served[window, layer, expert])
            positions = int(seen.counts[window, layer, expert])
            graph.add_edge(("layer", layer), node, kind="asks", positions=positions, served=SERVED[how])
            if how == CPU:
                graph.add_edge(node, ("lane", "cpu"), kind="serves")
            slot = slot_of.get(layer * experts + expert)
            if how in (READY, LATE, LOADED) and slot is not None:
                graph.add_edge(("slot", slot), ("lane", "gpu"), kind="serves")
    return graph


def _shown(seen: SlotHistory, limit_bytes: int) -> tuple[int, list[Words]]:
    """How many windows fit, from the first on: a move makes sense beside the one before it."""
    a_window = 3 * seen.counts[0].size + 24 * len(seen.moves) / seen.windows
    shown = min(seen.windows, max(1, int(limit_bytes / a_window)))
    if shown == seen.windows:
        return shown, []
    size, until = f"{seen.windows * a_window / 1e6:.0f}", min(seen.windows, 2 * shown)
    values = {"windows": seen.windows, "shown": shown, "size": size, "until": until}
    return shown, [Words("notice.first_windows", values)]


def _packed(seen: SlotHistory, shown: int) -> dict[str, Any]:
    geometry = seen.geometry
    structure = laid_out(geometry, seen.slots)
    moves = [move for move in seen.moves if move.window < shown]
    columns = {name: np.array([getattr(move, name) for move in moves]) for name in SlotEvent._fields}

    def places(*nodes: tuple[Any, ...]) -> Any:
        return pack(np.array([structure.nodes[node]["pos"] for node in nodes], np.float32).reshape(-1, 2))

    # positions · 16 + wanted · 8 + how it was served
    demand = 16 * seen.counts[:shown].astype(int) + 8 * seen.wanted[:shown] + seen.served[:shown]
    return {
        "policy": seen.result.policy,
        "machine": seen.result.machine,
        "model": seen.result.model,
        "gamma": pack(seen.counts[:shown, 0].sum(axis=1) // geometry.top_k - 1),
        "slots": seen.slots,
        "asked": pack(demand),
        "scores": pack(seen.scores[:shown]),
        **({} if seen.tau is None else {"tau": pack(seen.tau[:shown])}),
        "moves": {name: pack(column) for name, column in columns.items()},
        "layer_places": places(*(("layer", layer) for layer in range(geometry.layers))),
        "expert_places": places(*(("expert", 0, expert) for expert in range(geometry.experts))),
        "slot_places": places(*(("slot", slot) for slot in range(seen.slots))),
        "lane_places": places(*(("lane", lane) for lane in LANES)),
    }
