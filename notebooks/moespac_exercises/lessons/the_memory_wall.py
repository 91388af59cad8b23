"""Exercises of notebook 01: an expert's bytes, read or compute, copy or stay, how many fit, LRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from moespac_nb.hardware.costs import Costs, cost_model
from moespac_nb.hardware.machine import list_machines
from moespac_nb.hardware.model import list_model_specs, load_model_spec
from moespac_nb.trace.cache_bounds import lru_hits, one_hot

from ..exercise import Exercise

__all__ = ["EXERCISES", "MOST", "pays_from"]

MOST = 64  # positions that are tried
CLOSE = 1e-9


def pays_from(cost: Costs) -> int:
    """Return the fewest positions from which copying an expert to the GPU beats computing it on the CPU.

    Parameters
    ----------
    cost : Costs
        Of a machine and a model.

    Returns
    -------
    int
        0 if not even MOST are enough.

    Examples
    --------
    >>> from moespac_nb import cost_model
    >>> pays_from(cost_model("a100", "mixtral-8x7b-4bit"))
    19
    """
    pays = (n for n in range(1, MOST + 1) if cost.copy_s() + cost.gpu_s(n) < cost.cpu_s(n))
    return next(pays, 0)


def _bytes(answer: Callable[[int, int, int], Any], case: tuple[int, int, int]) -> str | None:
    hidden, width, bits = case
    returned, right = answer(hidden, width, bits), 3 * hidden * width * bits / 8
    if abs(returned - right) <= 0.5:
        return None
    call = f"for hidden size {hidden}, width {width} and {bits} bits a weight it returned {returned}. "
    if abs(returned - 8 * right) <= 0.5:
        return call + "That is bits; eight of them are a byte"
    if abs(returned - right / 3) <= 0.5:
        return call + "That is one of its matrices; it has a gate, an up and a down projection"
    return call + f"Its three matrices have {hidden} x {width} weights each"


def _seconds(answer: Callable[..., Any], case: tuple[int, int, int, int]) -> str | None:
    positions, size, per_s, flops = case
    returned = answer(positions, size, per_s, flops)
    right = max(size / per_s, positions * size / flops)  # bf16: one weight of 2 bytes is 2 flops a position
    if abs(returned - right) <= CLOSE * max(1.0, right):
        return None
    rates = f"{per_s} bytes/s, {flops} flops/s"
    call = f"for {positions} positions, {size} bytes, {rates} it returned {returned:g}. "
    if abs(returned - size / per_s - positions * size / flops) <= CLOSE:
        return call + "That is one after the other; reading and computing go on at the same time"
    if abs(returned - positions * right) <= CLOSE and positions > 1:
        return call + "The weights are read once, whoever uses them"
    read, compute = size / per_s, positions * size / flops
    return call + f"To read takes {read:g} s, to compute {compute:g} s: which of them is waited for?"


def _pays(answer: Callable[[Costs], Any], case: tuple[str, str]) -> str | None:
    on, model = case
    cost = cost_model(on, model)
    returned, right = answer(cost), pays_from(cost)
    if returned == right and not isinstance(returned, bool):
        return None
    call = f"{model} on {on}: it returned {returned!r}. "
    if isinstance(returned, bool) or not isinstance(returned, int) or not 0 <= returned <= MOST:
        return call + f"Asked is a whole number, 1 to {MOST}, or 0 if it never pays"
    if returned == 0:
        return call + "It does pay from some number of positions on"
    there, here = cost.copy_s() + cost.gpu_s(returned), cost.cpu_s(returned)
    words = f"For {returned} positions, copying and computing takes {1e3 * there:.3g} ms, staying"
    return f"{call}{words} {1e3 * here:.3g} ms{': it pays earlier, too' if there < here else ''}"


def _slots(answer: Callable[..., Any], case: tuple[int, int, int, int]) -> str | None:
    memory, taken, size, experts = case
    returned, right = answer(memory, taken, size, experts), min(max(0, memory - taken) // size, experts)
    call = (
        f"with {memory} bytes of memory, {taken} of them taken, and {experts} experts of {size} bytes it "
        f"returned {returned!r}. "
    )
    if returned == right and not isinstance(returned, bool):
        return None
    if not float(returned).is_integer():
        return call + "Half an expert computes nothing"
    if returned < 0:
        return call + "There are no fewer than no slots"
    if returned > experts:
        return call + "There are not so many experts"
    return call + f"{returned} of them take {returned * size} bytes; {max(0, memory - taken)} are left"


_EXPERTS = 5
_ASKED = st.tuples(st.lists(st.integers(0, _EXPERTS - 1), max_size=10), st.integers(1, 4))


def _lru(answer: Callable[[list[int], int], Any], case: tuple[list[int], int]) -> str | None:
    accesses, slots = case
    returned = answer(list(accesses), slots)
    used = one_hot(np.array(accesses, int).reshape(-1, 1, 1), _EXPERTS)
    right = int(lru_hits(used, slots).sum())
    if returned == right and not isinstance(returned, bool):
        return None
    words = f"for {accesses} and {slots} slot(s) it returned {returned!r}. "
    first = len(set(accesses))
    if returned > len(accesses) - first:
        return words + f"{first} of the {len(accesses)} are asked for the first time, and cannot be there yet"
    if returned == _first_in_first_out(accesses, slots):
        return words + "That is if the one that came first goes first, however lately it was used"
    return words + ("There are fewer" if returned > right else "There are more")


def _first_in_first_out(accesses: list[int], slots: int) -> int:
    resident: list[int] = []
    hits = 0
    for expert in accesses:
        hits += expert in resident
        resident = resident if expert in resident else [*resident, expert][-slots:]
    return hits


_PAIRS = tuple(
    (on, model) for model in list_model_specs() for on in list_machines() if load_model_spec(model).experts
)

EXERCISES = (
    Exercise(
        "01.1",
        "What an expert weighs",
        takes="a function of (hidden, width, bits)",
        cases=st.tuples(st.integers(1, 4096), st.integers(1, 2048), st.sampled_from((16, 8, 4))),
        fault=_bytes,
    ),
    Exercise(
        "01.2",
        "Read or compute?",
        takes="a function of (positions, size_bytes, bytes_per_s, flops_per_s)",
        cases=st.tuples(*(st.integers(1, most) for most in (64, 1000, 100, 10_000))),
        fault=_seconds,
    ),
    Exercise("01.3", "Copy it, or leave it?", takes="a function of (cost)", cases=_PAIRS, fault=_pays),
    Exercise(
        "01.4",
        "How many fit?",
        takes="a function of (memory, taken, expert, experts)",
        cases=st.tuples(*(st.integers(least, most) for least, most in ((0, 100), (0, 60), (1, 9), (1, 12)))),
        fault=_slots,
    ),
    Exercise("01.5", "Last used, last to go", takes="a function of (asked, slots)", cases=_ASKED, fault=_lru),
)
