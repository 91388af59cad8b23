"""Placement graph without a browser: what it sends, and the same as a graph to work with."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_nb import MoespacError
from moespac_nb.simulation.slot_history import CPU, LATE, LOADED, READY
from moespac_nb.trace.step import MoEShape
from moespac_widgets import PlacementGraph
from moespac_widgets.views.placement_graph.placement_graph import LANES, laid_out, together
from tests.helpers.jupyter.sizes import unpacked
from tests.helpers.traces.strategies import one_text
from tools.support.synthetic_trace import made_up

GEOMETRY = MoEShape(layers=4, experts=16, top_k=2)


@pytest.fixture(scope="module")
def trace() -> Any:
    return made_up(GEOMETRY, gamma=3, steps=20)


def test_every_window_is_sent_with_demand_and_service(trace: Any) -> None:
    widget = PlacementGraph(trace, "recency", "20%")
    seen = widget.residency
    asked = unpacked(widget._data["asked"])
    assert np.array_equal(asked >> 4, seen.counts)
    assert np.array_equal((asked >> 3) & 1, seen.wanted)
    assert np.array_equal(asked & 7, seen.served)
    assert np.array_equal(unpacked(widget._data["gamma"]), [step.gamma for step in trace])
    moves = {name: unpacked(column) for name, column in widget._data["moves"].items()}
    assert [move.key for move in seen.moves] == moves["key"].tolist()
    assert [move.old_score for move in seen.moves] == moves["old_score"].tolist()
    assert "tau" not in widget._data
    tau = PlacementGraph(trace, "spac-joint", "20%")._data["tau"]
    assert unpacked(tau).shape == (20, 4)


@pytest.mark.parametrize("moment", range(5))
def test_as_a_graph_demand_leads_to_the_lane_that_serves_it(trace: Any, moment: int) -> None:
    widget = PlacementGraph(trace, "recency", "20%", step=9, moment=moment)
    graph, seen = widget.graph(), widget.residency
    layers = range(4) if not moment else [moment - 1]
    for layer in layers:
        asks = {e: d for _, (_, _, e), d in graph.out_edges(("layer", layer), data=True)}
        assert {e: d["positions"] for e, d in asks.items()} == {
            int(e): int(seen.counts[9, layer, e]) for e in np.flatnonzero(seen.counts[9, layer])
        }
        for expert in asks:
            served = int(seen.served[9, layer, expert])
            to_cpu = graph.has_edge(("expert", layer, expert), ("lane", "cpu"))
            assert to_cpu == (served == CPU)
            if moment and served in (READY, LATE, LOADED):
                ((_, slot),) = graph.out_edges(("expert", layer, expert))
                assert graph.has_edge(slot, ("lane", "gpu"))
    holds = [edge for *edge, kind in graph.edges(data="kind") if kind == "holds"]
    assert len(holds) == int((seen.owners(9, moment)[0] >= 0).sum())
    assert PlacementGraph(trace, "recency", "20%").graph().edges != graph.edges


@pytest.mark.parametrize(("layers", "experts", "slots"), [(1, 1, 0), (4, 16, 13), (48, 128, 1044)])
def test_every_node_has_a_place_of_its_own(layers: int, experts: int, slots: int) -> None:
    graph = laid_out(MoEShape(layers, experts, 1), slots)
    places = [place for _, place in graph.nodes(data="pos")]
    assert len(places) == layers * (experts + 1) + slots + len(LANES)
    assert len(set(places)) == len(places)
    assert all(0 <= x <= 1 and 0 <= y <= 1 for x, y in places)


def test_experts_that_the_same_tokens_ask_for_are_tied() -> None:
    experts = np.array([[0, 1], [0, 1], [0, 2], [3, 4]])
    graph = together(experts, 6)
    assert graph.nodes[0]["uses"] == 3
    assert graph.edges[3, 4]["weight"] == pytest.approx(1)
    assert graph.edges[0, 1]["weight"] == pytest.approx(2 / np.sqrt(3 * 2))
    assert graph.degree[5] == 0
    assert all(0 <= x <= 1 and 0 <= y <= 1 for _, (x, y) in graph.nodes(data="pos"))
    assert dict(graph.nodes(data="pos")) == dict(together(experts, 6).nodes(data="pos"))


def test_an_expert_is_drawn_with_its_strongest_ties(trace: Any) -> None:
    graph = PlacementGraph(trace).together(2)
    assert graph.number_of_edges() <= 3 * 16
    assert min(graph.edges[edge]["weight"] for edge in graph.edges) > 0


def test_a_page_can_show_every_layers_second_view(trace: Any) -> None:
    widget = PlacementGraph(trace)
    assert widget._data["together"] == {}
    sent = widget.page_data()["together"]
    assert list(sent) == ["0", "1", "2", "3"]
    assert unpacked(sent["2"]["pos"]).shape == (16, 2)


def test_of_a_long_trace_the_first_windows_are_shown(trace: Any) -> None:
    widget = PlacementGraph(trace, "recency", "20%", limit_bytes=3000)
    shown = widget._limits["step"][1] + 1
    assert 1 <= shown < 20
    assert f"Of 20 windows the first {shown} are shown" in widget._notices[0]
    assert unpacked(widget._data["moves"]["window"]).max() < shown


@pytest.mark.parametrize(
    ("options", "words"),
    [({"policy": "recent"}, "policy is 'recent'; expected: .*recency"), ({"budget": "0%"}, "budget is '0%'"),
     ({"expert": 16}, "expert is 16; expected: 0 to 15, -1 for none"), ({"view": "x"}, "view is 'x'")],
)  # fmt: skip
def test_what_is_not_accepted_is_said(trace: Any, options: dict[str, Any], words: str) -> None:
    with pytest.raises(MoespacError, match=words):
        PlacementGraph(trace, **options)


def test_no_slots_a_dense_trace_and_one_layer_are_shown() -> None:
    assert PlacementGraph(one_text(1), "cpu-only")._data["slots"] == 0
    assert (
        PlacementGraph(one_text(2, gamma_max=3, steps=7), "recency", "50%", gamma=2)._limits["step"][0] == 0
    )
    one = made_up(MoEShape(layers=1, experts=4, top_k=2), gamma=2, steps=3)
    assert PlacementGraph(one, "recency", "50%").graph().has_node(("expert", 0, 3))
