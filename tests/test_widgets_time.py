"""The widgets of time, without a browser: what is sent, what is refused, and that sums agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_up import made_up
from traces import one_text

from moespac_nb import MoespacError
from moespac_nb.devices import Operation
from moespac_nb.replay import Result, replay
from moespac_nb.step import Geometry
from moespac_nb.timeline import chrome_trace
from moespac_widgets import Timeline
from moespac_widgets.timeline import LANES, waits

LOCAL = made_up(Geometry(4, 16, 2), gamma=4, steps=30, seed=1)


def result(name: str = "recency", budget: str = "25%", trace: Any = LOCAL, **options: Any) -> Result:
    return replay(trace, name, budget, **options)


def unpacked(packed: dict[str, Any]) -> np.ndarray:
    return np.frombuffer(packed["bytes"], packed["dtype"]).reshape(packed["shape"]).astype(float)


# -- timeline ---------------------------------------------------------------------------------------------


def test_every_operation_is_sent_with_its_lane_its_times_and_its_size() -> None:
    results = [result(), result("on-demand")]
    data = Timeline(*results)._data
    for sent, of in zip(data["results"].values(), results, strict=True):
        by_lane = [op for lane in LANES for op in of.timeline if op.lane == lane]
        assert sum(sent["lane_counts"]) == len(by_lane)
        begin, length = (unpacked(sent[name]) * data["tick_s"] for name in ("begin", "length"))
        assert begin == pytest.approx([op.start for op in by_lane], abs=1e-8)
        assert length == pytest.approx([op.end - op.start for op in by_lane], abs=1e-8)
        labels = [data["labels"][int(i)][0] for i in unpacked(sent["what"])]
        assert labels == [op.label for op in by_lane]
        assert [data["sizes"][int(i)] for i in unpacked(sent["size"])] == [op.size_bytes for op in by_lane]


@pytest.mark.parametrize("name", ["recency", "on-demand", "cpu-only", "next-window-oracle"])
@pytest.mark.parametrize("budget", ["5%", "50%"])
def test_waiting_for_copies_alone_adds_up_to_what_the_replay_says(name: str, budget: str) -> None:
    played = result(name, budget)
    opened = played.windows_s[0][0]
    copies = sum(end - max(begin, opened) for what, begin, end in waits(played.timeline)
                 if what == "copy" and end > opened)  # fmt: skip
    assert copies == pytest.approx(played.parts.link_wait_s, abs=1e-9)


def test_waits_are_the_gaps_and_where_the_cpu_lane_is_alone() -> None:
    ran = [Operation("gpu", "L0 dense", 0.0, 1.0), Operation("cpu", "L0 cpu", 0.5, 3.0),
           Operation("link", "copy L0 E0", 0.0, 5.0, 7), Operation("gpu", "L0 gpu", 5.0, 6.0),
           Operation("cpu", "L1 cpu", 6.0, 7.0), Operation("cpu", "L1 cpu", 7.0, 8.0)]  # fmt: skip
    assert waits(ran) == [("cpu", 1.0, 3.0), ("copy", 3.0, 5.0), ("cpu", 6.0, 8.0)]
    assert waits([]) == []


def test_a_timeline_too_long_to_send_shows_whole_windows_and_says_which() -> None:
    played = result()
    whole = len(played.timeline)
    part = Timeline(played, first=10, limit_bytes=11 * (whole // 3))
    (notice,) = part._notices
    sent = part._data["results"]["0"]
    begins = unpacked(sent["begin"]) * part._data["tick_s"]
    assert 0 < sum(sent["lane_counts"]) <= whole // 3
    assert notice.startswith("Shown: windows 10 to ")
    last = int(notice.split()[4])
    assert begins.min() >= played.windows_s[10][0] - 1e-6
    assert begins.max() <= played.windows_s[last][1] + 1e-6
    assert f"first={last + 1})" in notice
    assert (part.step, part._data["windows"]) == (10, [10, last])
    assert Timeline(played)._notices == []


def test_results_are_told_apart_by_what_differs_between_them() -> None:
    def called(*results: Result) -> list[str]:
        return [each["name"] for each in Timeline(*results)._data["results"].values()]

    assert called(result()) == ["recency"]
    assert called(result(), result("on-demand")) == ["recency", "on-demand"]
    assert called(result(), result(budget="50%")) == ["recency, 25%", "recency, 50%"]
    assert called(result(), result(machine="t4")) == ["recency, rtx4090", "recency, t4"]
    fan = one_text(2, fan=3, steps=9)
    assert called(result(trace=fan, budget="50%", gamma=1), result(trace=fan, budget="50%")) == [
        "recency, γ = 1", "recency, as recorded"]  # fmt: skip


def test_what_has_no_timeline_is_refused() -> None:
    for given, words in [
        ((), "0 results; accepted: one to 4"),
        ((result(),) * 5, "5 results"),
        ((LOCAL,), "a result is Trace"),
        (
            (result(timeline=False),),
            r"'recency' has no timeline; accepted: one of replay\(…, timeline=True\)",
        ),
    ]:
        with pytest.raises(MoespacError, match=words):
            Timeline(*given)
    with pytest.raises(MoespacError, match="first is 30; accepted: 0 to 29"):
        Timeline(result(), first=30)


def test_all_results_are_saved_for_perfetto_each_as_a_process(tmp_path: Path) -> None:
    results = [result(), result("on-demand")]
    path = Timeline(*results).to_perfetto(tmp_path / "both.json")
    events = json.loads(path.read_text())["traceEvents"]
    for number, of in enumerate(results, 1):
        own = [{**event, "pid": 1} for event in events if event["pid"] == number]
        assert (
            own == json.loads(json.dumps(chrome_trace(of.timeline, f"modelled: {of.policy}")))["traceEvents"]
        )
