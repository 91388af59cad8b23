"""Notebook 06's exercises: the solutions are right, and typical mistakes are told what they are, no more."""

from __future__ import annotations

from typing import Any

import numpy as np

from moespac_nb.policies import compose_policy
from moespac_nb.simulation.replay import replay
from tests.helpers.jupyter.lessons import Wrong, answer_tests, dense_traces

Copies = list[tuple[int, int, int]]
Expert = tuple[str, int, int]
Moves = list[tuple[str, str | None]]


def judge(copies: Copies, at_ms: int, expert: int) -> str:
    ends = {copied: end for copied, _, end in copies}
    if expert not in ends:
        return "miss"
    return "ready" if ends[expert] <= at_ms else "late"


def layer(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    cpu = device.submit("cpu", cpu_s, label="cpu")
    device.submit("gpu", ready_s, label="ready")
    device.wait(device.submit("gpu", late_s, after=[copy], label="late"))
    device.wait(cpu)
    return float(device.now())


def after(state: str, event: str) -> str:
    follows = {
        ("free", "wanted"): "loading",
        ("loading", "come"): "ready",
        ("loading", "failed"): "free",
        ("ready", "begins"): "pinned",
        ("ready", "wanted"): "loading",
        ("pinned", "through"): "ready",
    }
    return follows.get((state, event), state)


def moves(
    residents: list[Expert], requests: list[Expert], free: int, *, nearness: int = 1, beats: int = 1,
    in_order: bool = True,
) -> Moves:  # fmt: skip
    held, made = list(residents), []
    strongest = sorted(requests, key=lambda r: (-r[1], nearness * r[2])) if in_order else requests
    for request in strongest:
        goes = min(held, key=lambda r: (r[1], -r[2]), default=None)
        if free:
            free, goes = free - 1, None
        elif goes is None or request[1] - goes[1] < beats:
            continue
        else:
            held.remove(goes)
        held.append(request)
        made.append((request[0], goes and goes[0]))
    return made


RIGHT = {"06.1": judge, "06.2": layer, "06.3": after, "06.4": moves}


def begun_is_late(copies: Copies, at_ms: int, expert: int) -> str:
    under_way = {copied for copied, start, end in copies if start <= at_ms < end}
    return "late" if expert in under_way else "miss" if judge(copies, at_ms, expert) == "late" else judge(
        copies, at_ms, expert
    )  # fmt: skip


def racing(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    return layer(device, 0.0, ready_s, late_s, cpu_s)


def copy_first(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    device.wait(copy)
    return layer(device, copy, ready_s, late_s, cpu_s)


def one_after_the_other(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    device.submit("gpu", ready_s, label="ready")
    device.wait(device.submit("gpu", late_s, after=[copy], label="late"))
    device.wait(device.submit("cpu", cpu_s, label="cpu"))
    return float(device.now())


def late_first(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    events = [device.submit("gpu", late_s, after=[copy], label="late")]
    events += [device.submit("gpu", ready_s, label="ready"), device.submit("cpu", cpu_s, label="cpu")]
    for event in events:
        device.wait(event)
    return float(device.now())


def nobody_waits(device: Any, copy: Any, ready_s: float, late_s: float, cpu_s: float) -> float:
    device.submit("cpu", cpu_s, label="cpu")
    device.submit("gpu", ready_s, label="ready")
    device.submit("gpu", late_s, after=[copy], label="late")
    return float(device.now())


WRONG: dict[str, Wrong] = {
    "what is there by the end": ("06.1", lambda copies, at, e: judge(copies, 99, e), "had not come"),
    "ready once it has begun": (
        "06.1",
        lambda copies, at, e: (
            "ready" if any(c == e and s <= at for c, s, _ in copies) else judge(copies, at, e)
        ),
        "had not come",
    ),
    "late only once begun": ("06.1", begun_is_late, "had been given"),
    "come in that moment is late": ("06.1", lambda copies, at, e: judge(copies, at - 1, e), "had come"),
    "never a miss": (
        "06.1",
        lambda copies, at, e: "late" if judge(copies, at, e) == "miss" else judge(copies, at, e),
        "no copy",
    ),
    "hit": ("06.1", lambda copies, at, e: "hit", "is asked for"),
    "a race": ("06.2", racing, "its copy comes"),
    "the copy is waited for first": ("06.2", copy_first, "would do"),
    "one after the other": ("06.2", one_after_the_other, "would do"),
    "the late one first": ("06.2", late_first, "would do"),
    "nobody waits": ("06.2", nobody_waits, "while something computes"),
    "no time": ("06.2", lambda *case: layer(*case) and "done", "device.now()"),
    "no label": ("06.2", lambda d, copy, *s: d.wait(d.submit("gpu", s[0])) or True, "'ready'"),
    "a pinned slot is given away": (
        "06.3",
        lambda s, e: "loading" if e == "wanted" else after(s, e),
        "a layer reads",
    ),
    "what is loading is read": (
        "06.3",
        lambda s, e: "pinned" if e == "begins" else after(s, e),
        "cannot be read",
    ),
    "through is free": ("06.3", lambda s, e: "free" if e == "through" else after(s, e), "stays"),
    "a failed copy counts": ("06.3", lambda s, e: "ready" if e == "failed" else after(s, e), "no expert"),
    "room is never made": (
        "06.3",
        lambda s, e: s if (s, e) == ("ready", "wanted") else after(s, e),
        "makes room",
    ),
    "another word": ("06.3", lambda s, e: "evicted", "no s"),
    "first come, first served": ("06.4", lambda *case: moves(*case, in_order=False), "the highest score"),
    "the later layer first": ("06.4", lambda *case: moves(*case, nearness=-1), "sooner"),
    "equals displace": ("06.4", lambda *case: moves(*case, beats=0), "beats nobody"),
    "nobody is displaced": ("06.4", lambda *case: moves(*case, beats=99), "goes on"),
    "a free slot is not seen": (
        "06.4",
        lambda held, wanted, free: moves(held, wanted, 0),
        "goes on|nobody has",
    ),
    "names alone": ("06.4", lambda *case: [name for name, _ in moves(*case)], "pairs"),
}
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_the_gain_comes_from_where_the_notebook_says() -> None:
    """On-demand is behind no slots at all, and the steps become smaller."""
    plain = compose_policy("plain counts", rule="ema", admission=1)
    policies = ["on-demand", "cpu-only", "recency", plain, "next-window-oracle"]
    speeds = [
        [replay(trace, policy, "17%", gamma=4, timeline=False).tps_modelled for policy in policies]
        for trace in dense_traces().values()
    ]
    demand, cpu, recency, counts, oracle = np.exp(np.log(speeds).mean(axis=0))
    assert cpu / demand > recency / cpu > oracle / recency > 1
    assert counts < oracle
