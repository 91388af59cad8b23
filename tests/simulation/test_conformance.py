"""The replay does what the table in docs/conformance.md says, event by event."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from moespac_nb.engine.log import Log, SlotChange, WindowStart
from moespac_nb.engine.placement import Counters, LayerDispatch
from moespac_nb.policies import get_policy
from moespac_nb.simulation.replay import replay
from tests.helpers.checked_device import COSTS
from tests.helpers.traces.steps import text

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "conformance.md").read_text("utf-8")
ROWS = [[cell.strip() for cell in row.split("|")[1:-1]] for row in re.findall(r"^\| \d.*", PAGE, re.M)]


def numbers(cell: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d", cell)]


@pytest.fixture(scope="module")
def played() -> tuple[list[list[str]], Counters]:
    """The replay, in the words of the table."""
    windows = [([[[expert]] for expert in numbers(row[1])], 0) for row in ROWS]
    log: Log = []
    policy = get_policy("on-demand").missing("cheaper")
    result = replay(text([], windows), policy, "50%", costs=replace(COSTS, planning_s=0.0), log=log)
    resident: dict[int, int] = {}
    rows: list[list[str]] = []

    def words(experts: list[int]) -> str:
        return " ".join(map(str, sorted(experts))) or "–"

    for entry in log:
        if isinstance(entry, WindowStart):
            rows.append(
                [str(len(rows) + 1), ROWS[len(rows)][1], words([*resident.values()]), "–", "–", "–", ""]
            )
        elif isinstance(entry, SlotChange) and entry.loading:
            copied = f"{entry.key} ({'free' if entry.evicted < 0 else entry.evicted})"
            rows[-1][4] = copied if rows[-1][4] == "–" else f"{rows[-1][4]}, {copied}"
            resident[entry.slot] = entry.key
        elif isinstance(entry, LayerDispatch):
            rows[-1][3], rows[-1][5] = words(entry.ready), words(entry.cpu)
        if rows:
            rows[-1][6] = words([*resident.values()])
    return rows, result.counters


def test_every_event_is_as_written(played: tuple[list[list[str]], Counters]) -> None:
    assert len(ROWS) == 6
    assert played[0] == ROWS


def test_the_sums_are_as_written(played: tuple[list[list[str]], Counters]) -> None:
    c = played[1]
    sums = (c.ready + c.miss, c.ready, c.miss, c.copies, c.miss - c.copies, c.evictions, c.pairs, c.cpu_pairs)
    closing = PAGE[PAGE.index("In all:") :]
    assert sums == tuple(map(int, re.findall(r"\d+", closing)))


def test_nothing_that_an_event_uses_is_evicted_inside_it() -> None:
    for _, asked, *_, copied, _, _ in ROWS:
        assert not set(numbers(asked)) & {int(old) for old in re.findall(r"\((\d)\)", copied)}
