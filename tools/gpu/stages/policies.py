"""Stage 9: the policies side by side on a model larger than its budget, beside what others do with it."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor

from moespac_nb import decode, offload
from moespac_nb.decoder.recording import trace_of
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.step import Step
from tools.gpu.decodes import logits_of, usage_of
from tools.gpu.lanes import busy_s, in_ms, window_s
from tools.gpu.made_model import Scripted, layers_that_fit, made_model
from tools.gpu.stage import Notes, Setup
from tools.gpu.timing import finish

POLICIES = ("spac-joint", "recency", "on-demand", "static-hot", "spac-paper")
BUDGETS, DRY_BUDGETS = ("17%", "50%", "10%", "25%"), ("50%", "10%")
GAMMA = 8
APART = 3e-2  # of the largest logit, in bfloat16
OTHER_MACHINE = "rtx4090"  # where stage 8 has left no profile
BASELINES_S = 25.0  # kept for what comes after the policies
ACCELERATE = "Accelerate's cpu_offload, no draft"
TABLE = "Routing and weights made, bfloat16, γ = 8, drafting in no time"


@dataclass(frozen=True, eq=False)
class Scene:
    """The made model on the host, and what it says when all of it is on the device."""

    model: Any
    prompt: list[int]
    new_ids: list[int]
    logits: Tensor
    usage: np.ndarray  # of another text with the same topics
    draft: Scripted
    warm: int  # windows that are not timed
    timed: int


def run(setup: Setup, notes: Notes) -> None:
    layers = layers_that_fit(setup)
    start = perf_counter()
    model = made_model(setup, layers)
    finish(setup.place)
    notes.fact("layers", layers)
    machine = setup.machine_file.name if setup.machine_file.is_file() else OTHER_MACHINE
    notes.fact("policies reckon with the machine", machine)
    notes.fact("parameters", sum(weight.numel() for weight in model.parameters()))
    notes.fact("made in, s", perf_counter() - start)
    scene = _scene(setup, notes, model)
    start = perf_counter()
    model.to("cpu")
    if setup.on_gpu:
        gc.collect()
        torch.cuda.empty_cache()
    notes.fact("moved to the host in, s", perf_counter() - start)
    runs: list[bool] = []
    for at, policy in enumerate(POLICIES):
        share_s = (notes.left_s - BASELINES_S * setup.on_gpu) / (len(POLICIES) - at)
        if share_s < 1:
            notes.cut(f"policies from {policy} on")
            break
        runs += _play(setup, notes, scene, policy, share_s)
    notes.claim(
        "every run says what the whole model says", bool(runs) and all(runs), f"{sum(runs)} of {len(runs)}"
    )
    try:
        _accelerate(setup, notes, scene)
    except Exception as error:  # another library's
        _broke(notes, ACCELERATE, "100%", error)


def _scene(setup: Setup, notes: Notes, model: Any) -> Scene:
    """The text is the plain model's own, token by token; then the same with the draft."""
    warm, timed = (1, 2) if setup.tiny else (4, 8)
    vocabulary = model.config.vocab_size
    prompts = np.random.default_rng(2).integers(vocabulary, size=(2, 16 if setup.tiny else 64)).tolist()
    count = (warm + timed) * (GAMMA + 1)
    usage = usage_of(_plain(model, prompts[0], None, 0, count // 2)[2])
    new_ids, seconds, _ = _plain(model, prompts[1], None, 0, count)
    notes.row(
        TABLE, policy="all resident, no draft", budget="100%", tokens_per_s=(len(new_ids) - 1) / seconds
    )
    draft = Scripted([*prompts[1], *new_ids], vocabulary, setup.place)
    drafted, seconds, steps = _plain(model, prompts[1], draft, warm, warm + timed)
    counted = sum(len(step.emitted) for step in steps[warm:])
    notes.row(TABLE, policy="all resident", budget="100%", tokens_per_s=counted / seconds,
              tokens_a_window=counted / timed, window_ms=1e3 * seconds / timed)  # fmt: skip
    notes.claim("speculation leaves the whole model's text", drafted == new_ids[: len(drafted)])
    _about_routing(notes, steps)
    return Scene(model, prompts[1], new_ids, logits_of(model, prompts[1], setup), usage, draft, warm, timed)


def _plain(
    model: Any, prompt: list[int], draft: Any, warm: int, windows: int
) -> tuple[list[int], float, list[Step]]:
    """New ids, the seconds of all windows but the first ones, and the windows."""
    decoding = decode(
        model,
        prompt,
        draft=draft,
        gamma=GAMMA if draft else 0,
        max_new_tokens=1024 - len(prompt),
        stop_ids=(),
    )
    times = []
    for _ in islice(decoding, windows):
        times.append(perf_counter())  # each step has been read by the host
    return decoding.new_ids, times[-1] - times[max(warm - 1, 0)], list(decoding.steps)


def _about_routing(notes: Notes, steps: Sequence[Step]) -> None:
    used = [step.counts > 0 for step in steps]
    share = np.mean([each.sum(1).mean() for each in used])
    notes.fact("experts a window uses in a layer, of all", f"{share:.1f} of {used[0].shape[1]}")
    again = [(a & b).sum() / b.sum() for a, b in pairwise(used)]
    notes.fact("of them used by the window before", f"{np.mean(again):.0%}")


def _play(setup: Setup, notes: Notes, scene: Scene, policy: str, share_s: float) -> list[bool]:
    """One offload, budget after budget; what is resident stays from one to the next."""
    said: list[bool] = []
    budgets = DRY_BUDGETS if setup.tiny else BUDGETS
    start = perf_counter()
    end = start + share_s
    machine = setup.machine_file if setup.machine_file.is_file() else OTHER_MACHINE
    run = None
    try:
        with offload(
            scene.model, budgets[0], policy=policy, device=setup.device, machine=machine,
            expert_usage=scene.usage, gamma=GAMMA,
        ) as run:  # fmt: skip
            notes.row("Offloading", policy=policy, s=perf_counter() - start)
            for at, budget in enumerate(budgets):
                now = perf_counter()
                if now > end and at:
                    notes.cut(f"{policy} from {budget} on")
                    break
                try:
                    run.resize(budget)
                    until = now + max(2.0, end - now) / (len(budgets) - at)
                    said.append(_row(setup, notes, scene, run, policy, budget, until))
                except Exception as error:
                    _broke(notes, policy, budget, error)
                    said.append(False)
    except Exception as error:
        if run is not None:
            raise  # the model may be half away
        _broke(notes, policy, budgets[0], error)
        said.append(False)
    return said


def _broke(notes: Notes, policy: str, budget: str, error: Exception) -> None:
    said = f"{type(error).__name__}: {error}"
    notes.row(TABLE, policy=policy, budget=budget, error=said)
    if "CUDA error" in said:  # nothing in this process can be computed any more
        raise error


def _row(setup: Setup, notes: Notes, scene: Scene, run: Any, policy: str, budget: str, until: float) -> bool:
    """One decode; of its timed windows as many as there is time for, two at least."""
    decoding = run.decode(
        scene.prompt, draft=scene.draft, gamma=GAMMA, max_new_tokens=len(scene.new_ids), stop_ids=()
    )
    list(islice(decoding, scene.warm))
    if setup.on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = run.counters
    steps: list[Step] = []
    while len(steps) < scene.timed and (len(steps) < 2 or perf_counter() < until):
        steps.append(next(decoding))
    after, windows_s = run.counters, run.windows_s[-len(steps) :]
    tokens = sum(len(step.emitted) for step in steps)
    change = {name: getattr(after, name) - getattr(before, name) for name in vars(after)}
    asked = change["ready"] + change["late"] + change["miss"]
    modelled = replay(trace_of(decoding), policy, budget, costs=run.costs, expert_usage=scene.usage)
    modelled_s = window_s(modelled.windows_s[-len(steps) :])
    cells: dict[str, Any] = {
        "slots": run.slots,
        "tokens_per_s": tokens / window_s(windows_s),
        "modelled_tokens_per_s": tokens / modelled_s if modelled_s else None,
        "windows": len(steps),
        "tokens_a_window": tokens / len(steps),
        "hit_rate": change["ready"] / asked if asked else None,
        "late_rate": change["late"] / asked if asked else None,
        "cpu_share": change["cpu_pairs"] / change["pairs"] if change["pairs"] else None,
        "MB_a_token": change["bytes"] / tokens / 1e6,
        **in_ms(busy_s(run.timeline, windows_s), len(steps)),
    }
    if setup.on_gpu:
        cells["peak_GPU_GB"] = torch.cuda.max_memory_allocated() / 1e9
    logits = logits_of(scene.model, scene.prompt, setup)
    cells["logits_apart"] = float((logits - scene.logits).abs().max() / scene.logits.abs().max())
    new_ids = list(chain.from_iterable(step.emitted.tolist() for step in decoding.steps))
    same = new_ids == scene.new_ids[: len(new_ids)] and cells["logits_apart"] <= APART
    notes.row(TABLE, policy=policy, budget=budget, **cells, same=same)
    return bool(same)


def _accelerate(setup: Setup, notes: Notes, scene: Scene) -> None:
    """Whole layers come to the device for each pass: 8 tokens, each a pass over the whole text."""
    try:
        from accelerate import cpu_offload
    except ImportError:
        notes.fact(ACCELERATE, "not run: accelerate is not installed")
        return
    cpu_offload(scene.model, execution_device=torch.device(setup.place))
    ids, times = list(scene.prompt), [perf_counter()]
    with torch.inference_mode():
        while len(times) <= 8 and notes.left_s > times[-1] - times[max(len(times) - 2, 0)]:
            logits = scene.model(torch.tensor([ids], device=setup.place), use_cache=False).logits
            ids.append(int(logits[0, -1].argmax()))
            times.append(perf_counter())
    made = ids[len(scene.prompt) :]
    if len(made) < 2:
        notes.cut(ACCELERATE)
        return
    notes.row(
        TABLE,
        policy=ACCELERATE,
        tokens_per_s=(len(made) - 1) / (times[-1] - times[1]),
        same=made == scene.new_ids[: len(made)],
    )
