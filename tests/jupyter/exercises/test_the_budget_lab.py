"""Notebook 07's exercises and what its prose says of its tables, which a new pair might change."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from moespac_exercises.lessons.the_budget_lab import GAMMAS, OFFERED, TARGET_TPS, plan
from moespac_nb import MoespacError
from moespac_nb.hardware.machine import list_machines, load_machine
from moespac_nb.policies import compose_policy, get_policy
from moespac_nb.simulation.replay import replay
from moespac_nb.trace.transforms.counterfactual import improve_draft
from tests.helpers.jupyter.lessons import Wrong, answer_tests, dense_traces


def ceiling(parts: dict[str, float], part: str) -> float:
    total = sum(parts.values())
    return total / (total - parts[part])


def link_allows(copies: float, expert_bytes: int, alpha_s: float, bytes_per_s: float) -> float:
    return 1 / (copies * (alpha_s + expert_bytes / bytes_per_s))


def slots_left(budget_bytes: int, draft_bytes: int, expert_bytes: int) -> int:
    return max(0, budget_bytes - draft_bytes) // expert_bytes


def two_ratios(ours: float, baselines: list[float]) -> tuple[float, float]:
    return ours / float(np.mean(baselines)), float(np.mean(ours / np.array(baselines)))


RIGHT: dict[str, Any] = {
    "07.1": ceiling,
    "07.2": link_allows,
    "07.3": slots_left,
    "07.4": two_ratios,
    "07.5": ["rtx3060", "recency", 0],
}


WRONG: dict[str, Wrong] = {
    "the share": ("07.1", lambda parts, part: parts[part] / sum(parts.values()), "1 or more"),
    "the share that is left": (
        "07.1",
        lambda parts, part: 1 - parts[part] / sum(parts.values()),
        "1 or more",
    ),
    "whole over part": ("07.1", lambda parts, part: sum(parts.values()) / max(parts[part], 1e-9), "how long"),
    "seconds a token": ("07.2", lambda *case: 1 / link_allows(*case), "seconds a token"),
    "no alpha": ("07.2", lambda n, size, alpha, rate: rate / (n * size), "beside its bytes"),
    "one copy": ("07.2", lambda n, size, alpha, rate: link_allows(1, size, alpha, rate), "one copy"),
    "below none": ("07.3", lambda room, draft, size: (room - draft) // size, "fewer than no slots"),
    "parts of an expert": ("07.3", lambda room, draft, size: max(0, room - draft) / size, "whole expert"),
    "a free draft": ("07.3", lambda room, draft, size: room // size, "without a draft"),
    "one number": ("07.4", lambda ours, others: ours / float(np.mean(others)), "two numbers"),
    "the other order": ("07.4", lambda ours, others: two_ratios(ours, others)[::-1], "other order"),
    "twice the first": ("07.4", lambda ours, others: [two_ratios(ours, others)[0]] * 2, "second"),
    "inverted": ("07.4", lambda ours, others: [1 / ratio for ratio in two_ratios(ours, others)], "returned"),
    "too slow": ("07.5", ["laptop4060", "recency", 4], "asked are"),
    "with its draft": ("07.5", ["rtx3060", "recency", 4], "asked are"),
    "more than is needed": ("07.5", ["h100", "recency", 0], "less device memory"),
    "it does not fit": ("07.5", ["t4", "recency", 0], "does not fit"),
    "it reads the future": ("07.5", ["rtx3060", "next-window-oracle", 0], "expected"),
    "two of three": ("07.5", ["rtx3060", "recency"], "expected"),
}
test_right, test_wrong = answer_tests(RIGHT, WRONG)


def test_a_plan_says_what_it_accepts() -> None:
    with pytest.raises(MoespacError, match="expected: cpu-only"):
        plan("rtx3060", "next-window-oracle", 0)
    with pytest.raises(MoespacError, match="does not fit t4"):
        plan("t4", "recency", 0)


def test_the_purchase_has_one_answer_and_needs_a_choice() -> None:
    def reaches(name: str, played: str, gamma: int) -> bool:
        return name != "t4" and plan(name, played, gamma).tps_modelled >= TARGET_TPS

    memory = {name: load_machine(name).memory_bytes for name in list_machines()}
    able = {name for name in memory if any(reaches(name, p, g) for p in OFFERED for g in GAMMAS)}
    smallest = min(able, key=lambda name: memory[name])
    assert smallest == "rtx3060"
    assert min(memory.values()) < memory[smallest]
    assert 0 < sum(reaches(smallest, p, g) for p in OFFERED for g in GAMMAS) < len(OFFERED) * len(GAMMAS) / 2


MEAN: dict[str, Any] = {"rule": "ema", "admission": 1}
CONTESTANTS = {
    "recency": get_policy("recency"),
    "one level": compose_policy("one level", K=1, **MEAN),
    "counts": compose_policy("counts", **MEAN),
    "rule": compose_policy("rule", rule="paper", admission=1),
    "spac-paper": get_policy("spac-paper"),
    "oracle": get_policy("next-window-oracle"),
    "cpu-only": get_policy("cpu-only"),
}


def speeds(budget: str, gamma: int, *names: str) -> np.ndarray:
    """Tokens a second, modelled: (names, domains)."""
    options = {"gamma": gamma, "timeline": False}
    traces, policies = dense_traces().values(), [CONTESTANTS[name] for name in names]
    return np.array([[replay(t, p, budget, **options).tps_modelled for t in traces] for p in policies])


def test_a_draft_pays_where_tokens_outgrow_experts() -> None:
    pays = speeds("17%", 4, "recency")[0] / speeds("17%", 0, "recency")[0]
    for speed, trace in zip(pays, dense_traces().values(), strict=True):
        rounds = list(trace.rounds(4))
        asks = np.mean([(step.counts > 0).sum(axis=1).mean() for step in rounds]) / trace.geometry.top_k
        yields = np.mean([len(step.emitted) for step in rounds])
        assert (speed > 1) == (yields > asks)
    assert [domain for domain, speed in zip(dense_traces(), pays, strict=True) if speed > 1] == ["math"]
    better = [improve_draft(trace, 1) for trace in dense_traces().values()]
    perfect = [replay(t, "recency", "17%", gamma=4, timeline=False).tps_modelled for t in better]
    gains = np.array(perfect) / speeds("17%", 0, "recency")[0]
    assert ((gains > 1) & (gains < 1.2)).all()


def test_the_steps_are_what_the_notebook_says_of_them() -> None:
    recency, one_level, counts, rule, oracle, base = speeds(
        "17%", 4, "recency", "one level", "counts", "rule", "oracle", "cpu-only"
    )

    def step(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(np.log(a / b).mean()))

    assert step(one_level, recency) > 1.03  # a memory helps
    assert abs(step(counts, one_level) - 1) < 0.03  # levels add next to nothing
    assert step(rule, counts) < 1
    assert step(oracle, counts) > 1.1
    assert step(speeds("25%", 4, "recency")[0], base) > 1.42


def test_hits_and_bytes_say_different_things() -> None:
    chat, options = dense_traces()["chat"], {"gamma": 4, "timeline": False}
    ways = [get_policy("recency"), get_policy("recency").missing("load"), get_policy("spac-paper")]
    recency, load, paper = (replay(chat, way, "50%", **options) for way in ways)
    assert load.hit_rate > recency.hit_rate
    assert load.tps_modelled < recency.tps_modelled / 2
    recency, _, paper = (replay(chat, way, "17%", **options) for way in ways)
    assert paper.tps_modelled > 0.9 * recency.tps_modelled
    assert paper.bytes_per_token < recency.bytes_per_token / 2
    assert recency.parts.link_wait_s < 0.01 * recency.parts.total_s
