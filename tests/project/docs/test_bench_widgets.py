"""The benchmark of the widgets: its tables are those of the gallery, and what misses a bound is named."""

from __future__ import annotations

import copy
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import moespac_widgets
from moespac_widgets import LiveView
from moespac_widgets.base.assets import bundle


@pytest.fixture
def figures(root: Path) -> dict[str, Any]:
    return json.loads((root / "docs/gallery/bench.json").read_text(encoding="utf-8"))


def test_every_live_widget_is_measured(figures: dict[str, Any]) -> None:
    from tools.bench.browser.shown import CASES

    public = [getattr(moespac_widgets, name) for name in moespac_widgets.__all__]
    live = {kind.__name__ for kind in public if isinstance(kind, type) and issubclass(kind, LiveView)}
    live.remove("LiveView")
    assert set(CASES) == live | {"Dashboard"}
    for part in ("travels", "48x128", "8x64"):
        assert set(CASES) <= set(figures[part])


def test_the_gallerys_tables_are_those_of_the_figures(root: Path, figures: dict[str, Any]) -> None:
    from tools.bench.browser.report import written

    page = (root / "docs/gallery.md").read_text(encoding="utf-8")
    assert written(page, figures) == page
    with pytest.raises(ValueError, match="places <!-- bench: travels -->"):
        written("no marker", figures)


def test_no_widget_misses_a_bound_alone(figures: dict[str, Any]) -> None:
    from tools.bench.browser.report import missed

    assert {line.split(" is ")[0] for line in missed(figures)} <= {"48x128 notebook: websocket_mb"}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda one: one["inputs"]["slider"].update(p95_ms=201), ", slider: p95_ms is 201, the bound 200"),
        (lambda one: one["inputs"]["key"].update(median_ms=101), ", key: median_ms is 101, the bound 100"),
        (lambda one: one.update(painted_s=one["ran_s"] + 1.5), ": paint_s is 1.5, the bound 1.0"),
        (lambda one: one["scrub_100"].update(backlog_ms=900), ": backlog_ms is 900, the bound 200"),
        (lambda one: one.update(websocket_mb=6.5), ": websocket_mb is 6.5, the bound 6.0"),
        (lambda one: one.update(heap_mb=[30.0, 33.0, 36.0]), ": the heap went from 30.0 to 36.0 MB"),
    ],
)
def test_what_misses_a_bound_is_named(figures: dict[str, Any], change: Any, words: str) -> None:
    from tools.bench.browser.report import missed

    worse = {"48x128": {"Stepper": copy.deepcopy(figures["48x128"]["Stepper"])}}
    change(worse["48x128"]["Stepper"])
    assert missed(worse) == [f"48x128 Stepper{words}"]


def test_the_published_sizes_of_scripts_are_about_todays(figures: dict[str, Any]) -> None:
    for name, one in figures["travels"].items():
        if name != "Dashboard":
            script = getattr(moespac_widgets, name).SCRIPT
            assert one["script"] == pytest.approx(len(bundle(script).encode()), rel=0.05)


@pytest.mark.parametrize(("is_many", "most_apart"), [(False, 0), (True, 8)])
def test_256_colours_differ_by_nothing_that_is_seen(is_many: bool, most_apart: int) -> None:
    from tools.docs.palette_png import png

    across = np.linspace(0, 255, 600)
    many = np.stack([np.tile(row, (50, 1)) for row in (across, 255 - across, 0 * across)], axis=2)
    many[:, ::2, 2] = 60
    few = np.random.default_rng(0).integers(0, 6, (40, 30, 3)) * 50
    pixels = (many if is_many else few).astype(np.uint8)
    screenshot = io.BytesIO()
    Image.fromarray(pixels).save(screenshot, "PNG")
    picture = Image.open(io.BytesIO(png(screenshot.getvalue())))
    assert len(picture.getcolors()) <= 256
    assert np.abs(np.asarray(picture.convert("RGB")).astype(int) - pixels).max() <= most_apart
