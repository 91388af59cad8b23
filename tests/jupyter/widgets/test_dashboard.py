"""The dashboard without a browser: one step for all, nothing left behind, and the command that writes it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from ipywidgets.widgets.widget import _instances

from moespac_nb import MoespacError, Trace, load_trace
from moespac_nb.cli import main as cli
from moespac_nb.trace.step import MoEShape
from moespac_widgets import Dashboard, PlacementGraph
from tests.helpers.traces.strategies import one_text
from tools.support.synthetic_trace import made_up

SMALL = made_up(MoEShape(4, 16, 2), gamma=4, steps=12, seed=1)


@pytest.fixture(scope="module")
def dashboard() -> Dashboard:
    return Dashboard(SMALL, "recency", "25%", step=2)


def steps(dashboard: Dashboard) -> list[int]:
    return [view.step for view in dashboard.views if "step" in view.view_names()]


def test_a_step_set_in_any_view_is_that_of_all_and_is_set_once(dashboard: Dashboard) -> None:
    assert steps(dashboard) == [2] * 5
    seen: list[tuple[str, int]] = []
    for view in (dashboard.stepper, dashboard.demand, dashboard.placement, dashboard.timeline):
        view.observe(lambda change: seen.append((type(change["owner"]).__name__, change["new"])), "step")
    for at, view in enumerate([dashboard.timeline, dashboard.stepper, dashboard.demand, dashboard.placement]):
        seen.clear()
        view.step = 5 + at
        assert steps(dashboard) == [5 + at] * 5
        assert len(seen) == len(set(seen)) == 4
    dashboard.step = 1
    assert (dashboard.step, *steps(dashboard)) == (1,) * 6
    with pytest.raises(MoespacError, match="step is 12; expected: 0 to 11"):
        dashboard.step = 12
    assert steps(dashboard) == [1] * 5


def test_what_the_browser_moves_is_linked_there(dashboard: Dashboard) -> None:
    dashboard.step = 1
    dashboard.demand.set_state({"step": 7})
    assert steps(dashboard) == [1, 7, 1, 1, 1]  # until the browser, which has moved the others, says so too
    for view in dashboard.views:
        others = {other.model_id for other in dashboard.views if other is not view}
        assert set(view._linked["step"]) == others
    dashboard.step = 7
    assert steps(dashboard) == [7] * 5


def test_all_views_are_of_the_same_replay(dashboard: Dashboard) -> None:
    played = dashboard.placement.residency.result
    assert dashboard.timeline._played[0].tps == played.tps_modelled
    assert dashboard.lab.result.tps_modelled == played.tps_modelled
    assert dashboard.lab.view_code.startswith("budget=25&")
    assert "machine=rtx4090&model=qwen3-30b-a3b&policy=recency" in dashboard.lab.view_code


def test_a_long_trace_is_shown_from_its_beginning_and_said_so() -> None:
    short = Dashboard(SMALL, "recency", events=20)
    assert [view._limits["step"] for view in short._stepping] == [[0, 4]] * 5
    assert short.stepper._notices[0].startswith("Of the trace’s 12 steps the first 5 are replayed")


def test_every_view_has_every_step() -> None:
    big = made_up(MoEShape(2, 2048, 2), gamma=1, steps=400)
    assert PlacementGraph(big, "recency")._limits["step"][1] < 399
    assert [view._limits["step"] for view in Dashboard(big, "recency")._stepping] == [[0, 399]] * 5


def test_a_policy_that_knows_other_texts_is_told_of_them() -> None:
    told = Dashboard(SMALL, "static-hot", expert_usage=made_up(MoEShape(4, 16, 2), gamma=4, steps=12, seed=2))
    assert told.lab.policy == "static-hot"
    with pytest.raises(MoespacError, match="static-hot"):
        Dashboard(SMALL, "static-hot")


def test_closing_it_leaves_nothing() -> None:
    before = set(_instances)
    made = Dashboard(SMALL, "recency")
    assert len(set(_instances) - before) > 10
    made.close()
    made.close()
    assert set(_instances) == before


# -- the command ------------------------------------------------------------------------------------------


def called(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = cli.main(["dashboard", *map(str, arguments)])
    return code, *capsys.readouterr()


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    one_text(2, gamma_max=2, steps=5).save(tmp_path / "own.npz")
    return tmp_path / "own.npz"


def test_the_command_writes_the_page_of_its_trace(capsys: Any, trace: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    asked = ("--policy", "recency", "--budget", "50%", "--machine", "t4", "--gamma", 1)
    code, out, err = called(capsys, trace, "--html", page, *asked, "--model", "olmoe-1b-7b", "--json")
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said["title"] == "own.npz: recency, 50% of the experts; olmoe-1b-7b on t4, modelled"
    assert said["bytes"] == page.stat().st_size
    html = page.read_text(encoding="utf-8")
    assert said["title"] in html
    for script in ("stepper", "demand_map", "placement_graph", "timeline", "budget_lab"):
        assert f'"{script}.js": () =>' in html
    assert sorted(path.name for path in tmp_path.iterdir()) == ["own.npz", "page.html"]


def test_a_domain_is_its_bundled_fan(monkeypatch: pytest.MonkeyPatch) -> None:
    from moespac_widgets.views import dashboard as module

    asked = []

    def bundled(domain: str, **chosen: str) -> Trace:
        asked.append((domain, *(chosen[name] for name in ("mode", "dense", "half"))))
        return SMALL

    monkeypatch.setattr(module, "load_trace", bundled)
    assert Dashboard("math", "static-hot").title.startswith("math: static-hot, 17% ")
    assert sorted(asked) == [("math", "sample", True, "report"), ("math", "sample", True, "tune")]


def test_the_command_takes_texts_for_a_policy_to_count_in(capsys: Any, trace: Path, tmp_path: Path) -> None:
    asked = (trace, "--policy", "static-hot", "--budget", "50%", "--html", tmp_path / "page.html")
    assert "how often other texts used each expert" in called(capsys, *asked)[2]
    assert called(capsys, *asked, "--expert-usage", trace)[0] == 0


def test_synthetic_routing_is_labelled_and_knows_usage_from_its_other_half(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from moespac_widgets.views import dashboard as module

    halves = []

    def loaded(name: str, half: str) -> Trace:
        halves.append(half)
        return load_trace(name, half=half)

    monkeypatch.setattr(module, "load_trace", loaded)
    dashboard = Dashboard("synthetic:gpt-oss-20b,tokens=6,texts=2", "static-hot", "25%")
    title = "gpt-oss-20b,tokens=6,texts=2 (synthetic, fitted): static-hot, 25% of the experts"
    assert dashboard.title.startswith(title)
    assert sorted(halves) == ["report", "tune"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("maths",), "'maths' is neither a file nor a domain; expected: .*did you mean 'math'"),
        (("{trace}", "--policy", "spac-joins"), "did you mean 'spac-joint'"),
        (("{trace}", "--budget", "0%"), "budget is '0%'; expected"),
        (("{trace}", "--gamma", "7"), "gamma"),
        (("{trace}", "--machine", "rtx4080"), "did you mean 'rtx4090'"),
        (("{trace}", "--html", "{folder}/absent/p.html"), "expected: a file that ends in .html, in a folder"),
        (("{trace}", "--html", "{folder}/p.txt"), "expected: a file that ends in .html, in a folder"),
    ],
)
def test_bad_input_is_one_clear_line_and_nothing_is_written(
    capsys: Any, trace: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    filled = [each.format(trace=trace, folder=tmp_path) for each in arguments]
    code, out, err = called(capsys, "--html", tmp_path / "p.html", *filled)
    assert (code, out) == (2, "")
    assert err.startswith("moespac: ")
    assert err.count("\n") == 1
    assert re.search(said, err), err
    assert [path.name for path in tmp_path.iterdir()] == ["own.npz"]
