"""Stage 6: the bundled pair and tiny models of five families say the same from slots as without."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from itertools import product
from typing import Any

import torch

from moespac_nb import offload
from tools.gpu.decodes import Case, bundled_pair, logits_of, slow_cpu, tiny_family
from tools.gpu.stage import Notes, Setup

FAMILIES = ("qwen3_moe", "mixtral", "olmoe", "deepseek_v2", "gpt_oss")
PAIR = "the bundled pair"
BUDGETS = ("15%", "40%", "100%")
POLICIES = ("on-demand", "recency", "static-hot", "spac-joint")
# How far two logits may be from the plain model's, of its largest: rounding adds in another order.
APART = {"float32": 1e-4, "bfloat16": 3e-2}
GAMMA = 4
FIRST = "One row a model and type: all its budgets and policies"


def run(setup: Setup, notes: Notes) -> None:
    cases: dict[tuple[str, str], Case] = {}
    for name, dtype in product((*FAMILIES, PAIR), APART):
        try:
            cases[name, dtype] = _case(name, dtype, setup)
        except Exception as error:  # one family's
            _broke(notes, name, dtype, "plain", "", error)
    tallies = {key: Tally() for key in cases}
    played = list(_mixed(POLICIES, BUDGETS))
    turns = list(product(played, cases))  # in this order, so that a cut leaves every model tried
    if setup.tiny:  # every model once, and each policy with each budget
        turns = list(zip(played, cases, strict=False))
    for done, ((policy, budget), key) in enumerate(turns):
        if notes.left_s < 3:
            notes.cut(f"{done} of {len(turns)} runs")
            break
        try:
            _compare(cases[key], key[1], policy, budget, setup, notes, tallies[key])
        except Exception as error:
            tallies[key].errors += 1
            _broke(notes, *key, policy, budget, error)
    for (name, dtype), tally in tallies.items():
        notes.row(FIRST, model=name, dtype=dtype, **vars(tally))
    _claims(notes, len(cases) == 2 * (len(FAMILIES) + 1), tallies)
    ready = [tally.experts_ready > 0 for tally in tallies.values()]
    notes.claim(
        "every model found experts ready in their slots", None if setup.tiny else all(ready),
        f"{sum(ready)} of {len(ready)}",
    )  # fmt: skip


class Tally:
    """What came of the runs of one model in one type."""

    def __init__(self) -> None:
        self.runs = self.tokens_equal = self.near_ties = self.tokens_differ = self.errors = 0
        self.logits_bit_equal = 0
        self.logits_apart = 0.0  # at most, of the largest logit
        self.experts_ready = 0
        self.runs_without_slots = 0


def _case(name: str, dtype: str, setup: Setup) -> Case:
    if name == PAIR:
        model, draft, prompt = bundled_pair(dtype)
        return Case.of(
            name, model, draft, prompt[:48], setup, gamma=GAMMA, new_tokens=6 if setup.tiny else 32
        )
    model, draft, prompt = tiny_family(name)
    model, draft = (_in(each, dtype) for each in (model, draft))
    return Case.of(name, model, draft, prompt, setup, gamma=GAMMA, new_tokens=6 if setup.tiny else 24)


def _in(model: Any, dtype: str) -> Any:
    return copy.deepcopy(model).to(getattr(torch, dtype))


def _mixed(policies: tuple[str, ...], budgets: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    """Every policy with every budget, both changing each time."""
    for turn in range(len(budgets)):
        for at, policy in enumerate(policies):
            yield policy, budgets[(at + turn) % len(budgets)]


def _compare(
    case: Case, dtype: str, policy: str, budget: str, setup: Setup, notes: Notes, tally: Tally
) -> None:
    with offload(
        case.model,
        budget,
        policy=policy,
        device=setup.device,
        costs=slow_cpu(),
        expert_usage=case.usage,
        gamma=GAMMA,
    ) as run:
        new_ids = case.decoded(run)
        logits = logits_of(case.model, case.prompt, setup)
    apart = float((logits - case.logits).abs().max() / case.logits.abs().max())
    found = case.difference(new_ids, max(apart, APART[dtype] / 10), setup)
    tally.runs += 1
    tally.tokens_equal += found == "equal"
    tally.near_ties += found == "near tie"
    tally.tokens_differ += found not in ("equal", "near tie")
    tally.logits_bit_equal += bool(torch.equal(logits, case.logits))
    tally.logits_apart = max(tally.logits_apart, apart)
    tally.experts_ready += run.counters.ready
    tally.runs_without_slots += run.counters.ready + run.counters.late + run.counters.loaded == 0
    if found not in ("equal", "near tie") or not apart <= APART[dtype]:
        notes.row(
            "Runs that are not the plain model's", model=case.name, dtype=dtype, policy=policy, budget=budget,
            tokens=found, logits_apart=apart,
        )  # fmt: skip


def _broke(notes: Notes, name: str, dtype: str, policy: str, budget: str, error: Exception) -> None:
    said = f"{type(error).__name__}: {error}"
    notes.row("Runs that raised an error", model=name, dtype=dtype, policy=policy, budget=budget, error=said)
    if "CUDA error" in said:  # nothing in this process can be computed any more
        raise error


def _claims(notes: Notes, all_there: bool, tallies: dict[tuple[str, str], Tally]) -> None:
    notes.claim("every model runs plainly on the device", all_there, f"{len(tallies)} models and types")
    for dtype, apart in APART.items():
        of = [tally for (_, its), tally in tallies.items() if its == dtype]
        runs = sum(tally.runs for tally in of)
        equal, ties = sum(tally.tokens_equal for tally in of), sum(tally.near_ties for tally in of)
        notes.claim(
            f"{dtype}: the text is the plain model's" + (", near ties apart" if dtype != "float32" else ""),
            runs > 0 and equal + (ties if dtype != "float32" else 0) == runs,
            f"{equal} of {runs} equal, {ties} near ties",
        )
        largest = max((tally.logits_apart for tally in of), default=0.0)
        notes.claim(
            f"{dtype}: no logit is apart by more than {apart:g} of the largest",
            runs > 0 and largest <= apart,
            f"{largest:.2g}; bit for bit equal in {sum(tally.logits_bit_equal for tally in of)} of {runs}",
        )
    unused = sum(tally.runs_without_slots for tally in tallies.values())
    errors = sum(tally.errors for tally in tallies.values())
    notes.claim("every run used its slots", unused == 0, f"{unused} did not")
    notes.claim("no run raised an error", errors == 0, f"{errors} did")
