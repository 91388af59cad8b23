"""Widgets of an imported trace, without token ids, gate weights and drafts: they say so, or do without."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moespac_nb import Trace, import_trace
from moespac_nb.utils.exceptions import MissingDataError
from moespac_widgets import LiveView, Race, Stepper, UtilityInspector
from tests.helpers.jupyter.all_widgets import MAKERS
from tests.helpers.traces.logs import WRITERS, made_up


def unpacked(packed: Any) -> np.ndarray:
    return np.frombuffer(packed["bytes"], packed["dtype"]).reshape(packed["shape"])


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> Trace:
    """Experts and nothing else."""
    path = tmp_path_factory.mktemp("log") / "warp.jsonl"
    WRITERS["warp"].write(path, made_up(positions=12))
    return import_trace(path)


@pytest.mark.parametrize("name", sorted(MAKERS))
def test_every_widget_shows_an_imported_trace(name: str, imported: Trace) -> None:
    make: Callable[[Trace], LiveView] = MAKERS[name]
    assert make(imported)._data


def test_the_stepper_shows_positions_and_says_so(imported: Trace) -> None:
    view = Stepper(imported)
    assert unpacked(view._data["window"]).tolist() == list(range(12))
    assert unpacked(view._data["emitted_ids"]).tolist() == list(range(1, 13))
    assert view._data["weight_unit"] == 0
    said = " ".join(view._notices)
    assert "no tokens" in said
    assert "no gate weights" in said


def test_the_race_shows_positions(imported: Trace) -> None:
    assert Race(imported)._data["pieces"][:2] == ["⟨1⟩", "⟨2⟩"]


def test_a_sensor_of_tokens_is_refused(imported: Trace) -> None:
    with pytest.raises(MissingDataError, match=r"warp-tokens, has no tokens.*'token-table'"):
        UtilityInspector(imported, sensor="token-table")


def test_strings_are_shown_where_the_log_has_them(tmp_path: Path) -> None:
    path = tmp_path / "atlas.jsonl"
    WRITERS["router_data"].write(path, made_up(positions=4))
    trace = import_trace(path)
    view = Stepper(trace)
    assert [view._data["pieces"][str(token)] for token in trace.window] == [
        trace.token_strings[token] for token in trace.window.tolist()
    ]
    assert np.all(unpacked(view._data["weights"]) > 0)
    assert view._notices == []
