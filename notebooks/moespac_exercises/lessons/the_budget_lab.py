"""Exercises of notebook 07: what bounds a speed, who pays for the draft, two means, a purchase."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from numbers import Real
from typing import Any

from hypothesis import strategies as st

from moespac_nb.datasets.traces import load_trace
from moespac_nb.hardware.budget import allot
from moespac_nb.hardware.machine import list_machines, load_machine
from moespac_nb.hardware.memory_plan import plan_memory
from moespac_nb.hardware.model import load_model_spec
from moespac_nb.simulation.replay import replay
from moespac_nb.simulation.result import Result
from moespac_nb.trace.trace import Trace
from moespac_nb.utils.exceptions import InvalidInputError, MoespacError

from ..exercise import Exercise

__all__ = ["CONTEXT", "EXERCISES", "GAMMAS", "MODEL", "OFFERED", "TARGET_TPS", "plan"]

MODEL, CONTEXT = "qwen3-30b-a3b-4bit", 4096
OFFERED = ("cpu-only", "on-demand", "recency", "spac-joint")
GAMMAS = (0, 4, 8)
TARGET_TPS = 700
TEXTS = 2  # of the domain: enough for a purchase, and replayed in a moment


@cache
def _chat() -> Trace:
    trace = load_trace("chat", mode="sample", dense=True, half="report")
    return trace[: int(trace.starts["steps"][TEXTS])]


@cache
def plan(on: str, policy: str, gamma: int) -> Result:
    """Return what a machine would do with the whole of its memory: all slots that fit beside everything else.

    on: a bundled machine. policy: one of OFFERED. gamma: one of GAMMAS; without a draft its bytes are free.
    """
    if policy not in OFFERED or gamma not in GAMMAS:
        raise InvalidInputError(
            f"the plan has policy {policy!r} and γ {gamma!r}; expected: {', '.join(OFFERED)}, and "
            f"{', '.join(map(str, GAMMAS))}"
        )
    room = plan_memory(on, MODEL, context=CONTEXT, draft=gamma > 0)
    if not room.fits:
        raise InvalidInputError(
            f"{MODEL} does not fit {on} with γ = {gamma}; expected: a machine that holds it"
        )
    return replay(
        _chat(),
        policy,
        f"{100 * room.share:.2f}%",
        machine=on,
        model=MODEL,
        gamma=gamma,
        context=CONTEXT,
        timeline=False,
    )


def _close(value: Any, right: float) -> bool:
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return bool(value == right or math.isclose(value, right, rel_tol=1e-6))


_SECONDS = st.sampled_from([0.0, 1.0, 2.0, 3.0, 5.0, 10.0])
_PARTS = st.fixed_dictionaries({"draft_s": _SECONDS, "cpu_wait_s": _SECONDS, "link_wait_s": _SECONDS})
_CEILINGS = st.tuples(_PARTS, st.sampled_from(["link_wait_s", "cpu_wait_s"])).filter(
    lambda case: sum(case[0].values()) > case[0][case[1]]
)


def _ceiling(
    answer: Callable[[dict[str, float], str], Any], case: tuple[Mapping[str, float], str]
) -> str | None:
    parts, part = case
    total_s = sum(parts.values())
    returned = answer(dict(parts), part)
    if _close(returned, total_s / (total_s - parts[part])):
        return None
    case_words = f"for parts {dict(parts)} without {part!r} it returned {returned!r}"
    if isinstance(returned, Real) and returned < 1:
        return f"{case_words}. Nobody becomes slower by not waiting: a ceiling is 1 or more"
    return f"{case_words}. Before, it took {total_s:g} s in all; how long does it take without the part?"


_FLOORS = st.tuples(
    st.sampled_from([1.0, 2.0, 8.0, 50.0]),  # copies a token
    st.sampled_from([1_000_000, 9_437_184]),  # bytes of an expert
    st.sampled_from([0.0, 1e-4, 3e-4]),  # what a copy costs beside its bytes
    st.sampled_from([1e9, 25.2e9]),  # the link
)


def _floor(answer: Callable[..., Any], case: tuple[float, int, float, float]) -> str | None:
    copies, expert_bytes, alpha_s, bytes_per_s = case
    right = 1 / (copies * (alpha_s + expert_bytes / bytes_per_s))
    returned = answer(*case)
    if _close(returned, right):
        return None
    case_words = (
        f"for {copies:g} copies a token, of {expert_bytes} bytes, with {alpha_s:g} s each beside "
        f"{bytes_per_s:g} bytes a second, it returned {returned!r}"
    )
    if _close(returned, 1 / right):
        return f"{case_words}. Those are seconds a token; asked are tokens a second"
    if _close(returned, bytes_per_s / (copies * expert_bytes)):
        return f"{case_words}. That leaves out what each copy costs beside its bytes"
    if _close(returned, right * copies):
        return f"{case_words}. That is for one copy a token, and here there are others"
    return f"{case_words}. The copies of one token must all pass the link, one after another"


_CHARGED = ("qwen3-30b-a3b", "qwen3-30b-a3b-4bit", "deepseek-v2-lite")


def _charged(answer: Callable[[int, int, int], Any], case: tuple[str, int]) -> str | None:
    name, per_cent = case
    model = load_model_spec(name)
    found = allot("device-equal", f"{per_cent}%", model, draft=True, context=CONTEXT)
    budget_bytes = allot("slots-equal", f"{per_cent}%", model, draft=True, context=CONTEXT).budget_bytes
    returned = answer(budget_bytes, found.draft_bytes, model.expert_bytes)
    if _close(returned, found.slots):
        return None
    case_words = (
        f"for a budget of {budget_bytes} bytes, a draft of {found.draft_bytes} and experts of "
        f"{model.expert_bytes} it returned {returned!r}"
    )
    if isinstance(returned, Real) and returned < 0:
        return f"{case_words}. There is no such thing as fewer than no slots"
    if isinstance(returned, Real) and returned % 1:
        return f"{case_words}. A slot is room for one whole expert"
    if _close(returned, budget_bytes // model.expert_bytes):
        return f"{case_words}. Those are the slots of one without a draft"
    return f"{case_words}. What is left for experts once the draft is there, and how many whole ones fit?"


_SPEEDS = st.sampled_from([1.0, 2.0, 4.0, 5.0, 10.0])
_TABLES = st.tuples(_SPEEDS, st.lists(_SPEEDS, min_size=1, max_size=4))


def _means(answer: Callable[[float, list[float]], Any], case: tuple[float, Sequence[float]]) -> str | None:
    ours, baselines = case
    returned = answer(ours, list(baselines))
    case_words = f"for ours {ours:g} and baselines {[*baselines]} it returned {returned!r}"
    if not isinstance(returned, list | tuple) or len(returned) != 2:
        return f"{case_words}; expected: two numbers, the ratio to the mean and the mean of the ratios"
    to_mean = ours / (sum(baselines) / len(baselines))
    of_ratios = sum(ours / one for one in baselines) / len(baselines)
    if _close(returned[0], to_mean) and _close(returned[1], of_ratios):
        return None
    if _close(returned[1], to_mean) and _close(returned[0], of_ratios):
        return f"{case_words}. Those are the two, in the other order"
    if all(isinstance(one, Real) for one in returned) and returned[1] < returned[0] * (1 - 1e-9):
        return f"{case_words}. The mean of the ratios is never less than the ratio to the mean"
    which = (
        "second, the mean of the ratios" if _close(returned[0], to_mean) else "first, the ratio to the mean"
    )
    return f"{case_words}. Look at the {which}"


def _purchase(answer: Sequence[Any], _case: None) -> str | None:
    chosen = list(answer)
    if len(chosen) != 3:
        return f"the plan is {chosen}; expected: machine, policy and γ, such as ['h100', 'cpu-only', 0]"
    name, played, gamma = chosen
    if name not in list_machines() or played not in OFFERED or gamma not in GAMMAS:
        return (
            f"the plan is {chosen}; expected: a machine of {', '.join(list_machines())}; a policy of "
            f"{', '.join(OFFERED)}; and γ of {', '.join(map(str, GAMMAS))}"
        )
    try:
        found = plan(name, played, gamma)
    except MoespacError as refused:
        return f"the plan is {chosen}, and {refused}"
    makes = f"{name} with {played} and γ = {gamma} makes {found.tps_modelled:.0f} tokens a second (modelled)"
    if found.tps_modelled < TARGET_TPS:
        return f"{makes}; asked are {TARGET_TPS}"
    size = load_machine(name).memory_bytes
    if any(_reaches(other) for other in list_machines() if load_machine(other).memory_bytes < size):
        return f"{makes}. That is enough, but a machine with less device memory can do it, too"
    return None


def _reaches(on: str) -> bool:
    """Whether any plan on this machine is fast enough."""
    for policy in OFFERED:
        for gamma in GAMMAS:
            if not plan_memory(on, MODEL, context=CONTEXT, draft=gamma > 0).fits:
                continue
            if plan(on, policy, gamma).tps_modelled >= TARGET_TPS:
                return True
    return False


EXERCISES = (
    Exercise("07.1", "A ceiling", takes="a function of (parts, part)", cases=_CEILINGS, fault=_ceiling),
    Exercise(
        "07.2",
        "What the link allows",
        takes="a function of (copies, expert_bytes, alpha_s, bytes_per_s)",
        cases=_FLOORS,
        fault=_floor,
    ),
    Exercise(
        "07.3",
        "Who pays for the draft?",
        takes="a function of (budget_bytes, draft_bytes, expert_bytes)",
        cases=st.tuples(st.sampled_from(_CHARGED), st.integers(1, 100)),
        fault=_charged,
    ),
    Exercise(
        "07.4", "Two means of one table", takes="a function of (ours, baselines)", cases=_TABLES, fault=_means
    ),
    Exercise("07.5", "A purchase", takes="a list of machine, policy, γ", cases=(None,), fault=_purchase),
)
