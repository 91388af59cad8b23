"""The figures of a run: what they show is what ran, what was resident, and what a replay came to."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import plotly.io
import pytest

from moespac_nb import MoespacError
from moespac_nb.engine.devices import Operation, VirtualDevice
from moespac_nb.engine.engine import Engine
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import MoEShape
from moespac_widgets import budget_figure, busy, parts_figure, timeline_figure
from tests.helpers.checked_device import COSTS
from tools.support.synthetic_trace import made_up

TRACE = made_up(MoEShape(3, 12, 2), gamma=3, steps=6)
RAN = [
    Operation("link", "copy L0 E1", 0.0, 4.0, 100),
    Operation("gpu", "L0 dense", 1.0, 2.0),
    Operation("gpu", "L0 gpu", 4.0, 5.0),
    Operation("link", "copy L1 E2", 4.0, 8.0, 100, True),
]


def test_every_operation_is_a_bar_in_its_lane_at_its_time() -> None:
    ran = replay(TRACE, "recency", "50%").timeline
    figure = timeline_figure(ran)
    bars = [
        (lane, start, length)
        for bar in figure.data
        for lane, start, length in zip(bar.y, bar.base, bar.x, strict=True)
    ]
    assert len(bars) == len(ran)
    wanted = [(one.lane, 1e3 * one.start, 1e3 * (one.end - one.start)) for one in ran]
    for shown, own in zip(sorted(bars), sorted(wanted), strict=True):
        assert shown[0] == own[0]
        assert shown[1:] == pytest.approx(own[1:], abs=1e-4)


def test_a_timeline_tells_kinds_apart_and_how_busy_lanes_are() -> None:
    figure = timeline_figure(RAN, 1.0, 5.0, label="made up")
    assert {bar.name: len(bar.x) for bar in figure.data} == {
        "attention, router, head": 1, "experts from slots": 1, "an expert is copied": 1, "failed": 1,
    }  # fmt: skip
    assert busy(RAN, 1.0, 5.0) == {"gpu": 0.5, "link": 1.0}
    assert figure.layout.title.text == "made up. 1000.0 to 5000.0 ms, busy: gpu 50%, link 100%"
    assert tuple(figure.layout.xaxis.range) == (1000, 5000)
    assert "0.00 MB, failed" in next(bar for bar in figure.data if bar.name == "failed").customdata[0]


@pytest.mark.parametrize("span", [(-1.0, 2.0), (2.0, 2.0)])
def test_a_span_that_is_none_is_refused(span) -> None:
    with pytest.raises(MoespacError, match="expected: from 0 s on"):
        timeline_figure(RAN, *span)
    with pytest.raises(MoespacError, match="no operations to show"):
        timeline_figure([])


def test_resident_is_what_may_be_read_now() -> None:
    device = VirtualDevice()
    engine = Engine(device, 2, 4, 3, COSTS)
    wanted = np.zeros((2, 4), bool)
    wanted[0, 2] = wanted[1, 3] = True
    engine.set_priorities(wanted * 1.0, wanted)
    engine.pump()
    assert not engine.slots.resident().any()  # under way
    device.charge(COSTS.copy_s())
    engine.pump()
    assert engine.slots.resident().tolist() == [[False, False, True, False], [False] * 4]
    engine.drain()
    assert (engine.slots.resident() == wanted).all()
    engine.layer(0, [2], [1])
    assert (engine.slots.resident() == wanted).all()  # pinned


def test_every_replay_is_a_point_and_what_does_not_fit_is_open() -> None:
    asked = {"machine": "rtx3060", "model": "mixtral-8x7b"}
    results = [
        replay(TRACE, name, share, **asked) for share in ("100%", "10%") for name in ("recency", "cpu-only")
    ]
    figure = budget_figure(results)
    assert [line.name for line in figure.data if line.showlegend] == ["recency", "cpu-only"]
    speed = figure.data[0]
    assert list(speed.x) == [10, 100]
    assert list(speed.y) == [results[2].tps_modelled, results[0].tps_modelled]
    assert [symbol.endswith("open") for symbol in speed.marker.symbol] == [
        not results[2].fits,
        not results[0].fits,
    ]
    assert not results[0].fits
    assert figure.layout.title.text.startswith("modelled: mixtral-8x7b on rtx3060, slots-equal; ")


def test_sizes_are_shown_as_sizes() -> None:
    figure = budget_figure([replay(TRACE, "recency", "100MB")])
    assert figure.layout.xaxis.title.text == "budget, GB"
    assert figure.data[0].x[0] == pytest.approx(0.1)


def test_unlike_replays_are_not_drawn_as_one_figure() -> None:
    results = [replay(TRACE, "recency", "50%", machine=on) for on in ("t4", "a100")]
    with pytest.raises(
        MoespacError, match=r"differ in machine: .*expected: replays of one trace on one machine"
    ):
        budget_figure(results)
    with pytest.raises(MoespacError, match="no results to show"):
        budget_figure([])


def test_a_bar_is_all_of_a_tokens_time() -> None:
    results = [replay(TRACE, name, "50%") for name in ("recency", "on-demand")]
    figure = parts_figure(results)
    assert list(figure.data[0].y) == ["recency", "on-demand"]
    for at, one in enumerate(results):
        assert sum(part.x[at] for part in figure.data) == pytest.approx(1e3 / one.tps_modelled)
    slower = max(results, key=lambda one: one.parts.total_s)
    assert figure.layout.title.text.startswith(f"modelled: {slower.policy} takes longest")
    assert len({(part.marker.color, part.marker.pattern.shape) for part in figure.data}) == len(figure.data)


def test_bars_that_could_not_be_told_apart_are_refused() -> None:
    with pytest.raises(MoespacError, match="some of them the same"):
        parts_figure([replay(TRACE, "recency", "50%")] * 2)
    with pytest.raises(MoespacError, match="no results to show"):
        parts_figure([])


@pytest.mark.parametrize("kind", ["svg", "png"])
def test_the_camera_of_a_figure_saves_a_picture_for_slides(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(plotly.io.renderers, "default", "plotly_mimetype")
    figure = timeline_figure([Operation("gpu", "L0 gpu", 0.0, 1.0)])
    assert figure.config["toImageButtonOptions"]["format"] == "svg"
    saved = figure.saving(kind)
    assert saved is figure
    expected = {"format": kind, "scale": {"svg": 1, "png": 3}[kind]}
    assert figure.config == {"toImageButtonOptions": expected}
    bundle = figure._repr_mimebundle_()
    assert bundle
    assert all(f'"format": "{kind}"' in json.dumps(each) for each in bundle.values())
    figure.write_html(tmp_path / "f.html", include_plotlyjs="directory")
    written = (tmp_path / "f.html").read_text(encoding="utf-8")
    assert json.dumps({"toImageButtonOptions": expected})[1:-1].replace(" ", "") in written.replace(" ", "")


def test_a_figure_is_saved_as_no_other_kind() -> None:
    with pytest.raises(MoespacError, match="kind is 'gif'; expected: svg, png"):
        timeline_figure([Operation("gpu", "L0 gpu", 0.0, 1.0)]).saving("gif")
