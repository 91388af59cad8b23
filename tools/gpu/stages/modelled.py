"""Stage 8: this machine's constants, and how far what is modelled with them is from what is measured."""

from __future__ import annotations

from typing import Any

from moespac_nb import offload
from moespac_nb.decoder.recording import trace_of
from moespac_nb.hardware import calibration, measurement
from moespac_nb.policies.timing import measure_planning_s
from moespac_nb.simulation.replay import replay
from tools.gpu.decodes import Case, bundled_pair
from tools.gpu.lanes import busy_s, in_ms, window_s
from tools.gpu.stage import Notes, Setup

POLICIES = ("on-demand", "recency", "spac-joint")
BUDGET = "25%"
GAMMA = 8
WITHIN = 0.15


def run(setup: Setup, notes: Notes) -> None:
    if setup.tiny:  # too little for constants that mean anything
        calibration.QUICK = measurement.Effort(buffer_bytes=2**20, experts=1, repeats=1)
    measured = calibration.calibrate(planning_s=measure_planning_s, quick=True)
    calibration.write_machine(measured, setup.machine_file)
    for name, value in sorted(measured.values.items()):
        notes.row("This machine", constant=name, value=value, how=measured.how[name])
    target, draft, prompt = bundled_pair()
    new_tokens = 12 if setup.tiny else 96
    case = Case.of("the pair", target, draft, prompt[:64], setup, gamma=GAMMA, new_tokens=new_tokens)
    for policy in POLICIES:
        if notes.left_s < 2:
            notes.cut(f"policies from {policy} on")
            break
        _beside(setup, notes, case, policy)


def _beside(setup: Setup, notes: Notes, case: Case, policy: str) -> None:
    options: dict[str, Any] = {"draft": case.draft, "gamma": GAMMA, "max_new_tokens": case.new_tokens}
    with offload(
        case.model,
        BUDGET,
        policy=policy,
        device=setup.device,
        machine=setup.machine_file,
        expert_usage=case.usage,
        gamma=GAMMA,
    ) as run:
        list(run.decode(case.prompt, **options, stop_ids=()))  # kernels are compiled and caches filled
        before = len(run.windows_s)
        decoding = run.decode(case.prompt, **options, stop_ids=())
        list(decoding)
        windows_s, costs = run.windows_s[before:], run.costs
    trace = trace_of(decoding)
    result = replay(trace, policy, BUDGET, costs=costs, expert_usage=case.usage)
    both = {
        "measured": busy_s(run.timeline, windows_s),
        "modelled": busy_s(result.timeline, result.windows_s),
    }
    tokens, count = len(decoding.new_ids), len(windows_s)
    for what, lanes in both.items():
        notes.row(
            f"The bundled pair at {BUDGET}, the same windows: a window's lanes", policy=policy, time=what,
            tokens_per_s=tokens / lanes["window"], **in_ms(lanes, count),
        )  # fmt: skip
    ratio = window_s(result.windows_s) / window_s(windows_s)
    notes.claim(
        f"{policy}: the modelled windows take what the measured ones do, within {WITHIN:.0%}",
        abs(ratio - 1) <= WITHIN if setup.on_gpu else None,
        f"modelled / measured = {ratio:.3g}",
    )
