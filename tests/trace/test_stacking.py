"""Layers laid side by side: the trace's own text, another text's routing in each copy, no row made up."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.trace.editing import concatenate
from moespac_nb.trace.schema import COLUMNS, EXPERT_CHANNELS
from moespac_nb.trace.trace import Trace
from moespac_nb.trace.transforms.stacking import source_layers, stack_layers
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.traces.steps import text as text_of
from tests.helpers.traces.strategies import ANY_TRACE


def text(prompt: list[list[int]], windows: list[tuple[list[list[int]], int]]) -> Trace:
    """A text of top k 1: of each position the expert of each layer."""
    routed = [([[[expert] for expert in position] for position in window], n) for window, n in windows]
    return text_of([[[expert] for expert in position] for position in prompt], routed)


@given(trace=ANY_TRACE, layers=st.integers(1, 9))
def test_all_but_routing_is_the_traces_own(trace: Trace, layers: int) -> None:
    stacked = stack_layers(trace, layers)
    assert (stacked.geometry.layers, len(stacked)) == (layers, len(trace))
    for name, array in trace.columns.items():
        if "layers" not in COLUMNS[name].shape:
            assert np.array_equal(getattr(stacked, name), array, equal_nan=array.dtype.kind == "f"), name


@given(trace=ANY_TRACE, layers=st.integers(3, 9))
def test_the_first_copy_is_the_trace_and_others_are_rows_of_it(trace: Trace, layers: int) -> None:
    recorded = trace.geometry.layers
    stacked = stack_layers(trace, layers)
    assert np.array_equal(stacked.experts[:, :recorded], trace.experts)
    rows = {row.tobytes() for row in trace.experts}
    for first in range(0, layers - recorded + 1, recorded):
        copy = np.ascontiguousarray(stacked.experts[:, first : first + recorded])
        assert {row.tobytes() for row in copy} <= rows


def test_a_copy_reads_the_next_text_step_by_step() -> None:
    """By hand: two texts of one layer; the second is shorter, and begins again."""
    long = text([[0], [0]], [([[0], [1]], 1), ([[2], [3]], 0), ([[1], [0]], 1)])
    short = text([[3]], [([[3], [3], [2]], 1), ([[2]], 0)])
    stacked = stack_layers(concatenate([long, short]), 2)
    assert stacked.experts[:, :, 0].tolist() == [
        [0, 3], [1, 3],  # the long text's first window, beside the short one's first two positions
        [2, 2], [3, 2],  # the short one's second has one position, which is read again
        [1, 3], [0, 3],  # and it is over
        [3, 0], [3, 1], [2, 0],
        [2, 2],
    ]  # fmt: skip
    assert stacked.prompt_experts[:, :, 0].tolist() == [[0, 3], [0, 3], [3, 0]]


def test_a_lone_text_is_read_at_another_place() -> None:
    alone = text([[0]], [([[expert]], 0) for expert in (0, 1, 2, 3)])
    stacked = stack_layers(alone, 2)
    assert stacked.experts[:, :, 0].tolist() == [[0, 2], [1, 3], [2, 0], [3, 1]]


@given(trace=ANY_TRACE)
def test_channels_of_experts_are_stacked_too(trace: Trace) -> None:
    from dataclasses import replace

    from moespac_nb.trace.schema import Channel

    counts = {"verified": len(trace.window), "drafted": len(trace.draft_probs)}
    made = {
        name: Channel(rows, np.full((counts[rows], 2, 3), 1, np.int16))
        for name, rows in EXPERT_CHANNELS.items()
    }
    stacked = stack_layers(replace(trace, channels=made), 5)
    for name, channel in stacked.channels.items():
        assert channel.values.shape[:2] == (counts[made[name].rows], 5)
        assert set(np.unique(channel.values)) <= {-1, 1}


def test_fewer_layers_are_spaced_evenly_and_as_many_are_the_trace() -> None:
    trace = text([[0, 1, 2]], [([[1, 2, 3], [0, 0, 0]], 1)])
    assert stack_layers(trace, 3) is trace
    assert stack_layers(trace, 2).experts[0, :, 0].tolist() == [1, 3]
    assert source_layers(24, 48).tolist() == [*range(24)] * 2


@pytest.mark.parametrize("layers", [0, -1, 1.5, True])
def test_what_is_no_number_of_layers_is_refused(layers: object) -> None:
    with pytest.raises(InvalidInputError, match="layers is"):
        stack_layers(text([[0]], [([[0]], 0)]), layers)  # type: ignore[arg-type]
