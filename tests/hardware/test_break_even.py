"""The precision at which a prefetch pays: by hand, and as it must go with each cost."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moespac_nb.engine.devices import SharedBusDevice
from moespac_nb.hardware.break_even import break_even_precision
from moespac_nb.utils.exceptions import InvalidInputError
from tests.helpers.checked_device import (
    COSTS,
)  # a copy takes 2 s, an expert 0.5 s from its slot, 4 s on the CPU


def test_by_hand() -> None:
    # A miss on the CPU takes 3.5 s more than a hit; half of a copy is 1 s.
    assert break_even_precision(COSTS, 0.5) == pytest.approx(1 / 3.5)
    # A miss that is loaded takes a whole copy more.
    assert break_even_precision(COSTS, 0.25, miss="load") == pytest.approx(1.5 / 2)
    assert break_even_precision(COSTS, 1.0) == 0


def test_a_shared_bus_makes_a_hidden_copy_cost() -> None:
    both = COSTS.cpu_bytes_per_s + COSTS.link_bytes_per_s
    shared = replace(COSTS, bus_bytes_per_s=both / 2)
    assert break_even_precision(shared, 1.0) == pytest.approx(COSTS.copy_s() / 3.5)
    assert break_even_precision(replace(COSTS, bus_bytes_per_s=2 * both), 1.0) == 0


@given(alpha_s=st.floats(0, 5), bus=st.floats(0.3, 3))
def test_a_hidden_copy_costs_what_the_device_of_a_shared_bus_charges(alpha_s: float, bus: float) -> None:
    bus_bytes_per_s = bus * (COSTS.cpu_bytes_per_s + COSTS.link_bytes_per_s)
    costs = replace(COSTS, copy_alpha_s=alpha_s, bus_bytes_per_s=max(bus_bytes_per_s, COSTS.cpu_bytes_per_s))
    device = SharedBusDevice(costs.bus_bytes_per_s)
    size_bytes = 100 * costs.expert_bytes
    seconds = size_bytes / costs.cpu_bytes_per_s  # of a CPU lane that reads all the time
    computed = device.submit("cpu", seconds, size_bytes=size_bytes)
    device.submit("link", costs.copy_s(), size_bytes=costs.expert_bytes)
    device.wait(computed)
    saved_s = costs.cpu_s(1) - costs.gpu_s(1)
    charged = break_even_precision(costs, 1.0) * saved_s
    assert charged == pytest.approx(device.now() - seconds, rel=1e-6, abs=1e-6 * seconds)


def test_where_a_miss_takes_no_longer_nothing_pays() -> None:
    same = replace(COSTS, cpu_bytes_per_s=COSTS.gpu_bytes_per_s, cpu_flops_per_s=COSTS.gpu_flops_per_s)
    assert break_even_precision(same, 0.5) == math.inf


def test_a_dial_is_an_array_of_shares() -> None:
    dial = break_even_precision(COSTS, np.linspace(0, 1, 5))
    assert np.all(np.diff(dial) < 0)


@pytest.mark.parametrize(
    "options", [{"hidden_share": 1.5}, {"hidden_share": -0.1}, {"positions": 0}, {"miss": "cheaper"}]
)
def test_bad_input_is_refused(options: dict[str, object]) -> None:
    with pytest.raises(InvalidInputError):
        break_even_precision(COSTS, **{"hidden_share": 0.5, **options})  # type: ignore[arg-type]
